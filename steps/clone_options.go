package steps

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/repo"
)

// repoOptions turns the flags into what package repo wants. The address is set
// also on an error, as soon as it is known.
func (s *Clone) repoOptions(j *Job) (repo.Options, error) {
	o := repo.Options{
		Revision: s.Revision, Depth: s.Depth, Submodules: s.Submodules, Shared: j.Workspace.Path("clones"),
		Clean: s.Existing == "clean", MaxBackups: s.MaxBackups, Retries: s.Retries, CAFile: s.CAFile,
		// The step's own log is to have every try.
		Log: slog.New(slog.NewTextHandler(j.Out, nil)), Progress: cloneProgress(j), FirstWait: s.firstWait,
	}
	o.Lock = func(ctx context.Context, dir string) (func(), error) { return lockClone(ctx, j, o.Log, dir) }
	if s.Depth < 0 || s.MaxBackups < 0 || s.Retries < 0 {
		return o, record.Failf(record.Usage, "--depth, --max-backups and --retries cannot be negative")
	}
	if s.URL == "" {
		return o, record.Failf(record.Usage, "no repository is given").WithHint("give --url, or set %s", s.variable("URL"))
	}
	addr, inURL, err := repo.ParseAddress(s.URL)
	if err != nil {
		return o, err
	}
	o.Address = addr
	for _, secret := range inURL.Secrets() {
		j.Secrets.Add(secret)
	}
	if o.Credentials, err = s.credentials(j, addr, inURL); err != nil {
		return o, err
	}
	if o.Proxy, err = j.proxy(s.Proxy); err != nil {
		return o, err
	}
	o.Dir, err = s.ownDir(j)
	return o, err
}

// variable is the name of the step's own variable with this end.
func (s *Clone) variable(end string) string {
	if s.Tests {
		return "STEP_RUNNER_CLONE_TESTS_" + end
	}
	return "STEP_RUNNER_CLONE_" + end
}

// credentials chooses the token for addr. One that was given must not go in plain
// text to another machine; one that happens to be in the environment is for its
// own host only, and left alone elsewhere.
func (s *Clone) credentials(j *Job, addr repo.Address, inURL *repo.Credentials) (*repo.Credentials, error) {
	token, err := j.givenToken(s.variable("TOKEN"), s.TokenFile)
	if err != nil {
		return nil, err
	}
	cred := inURL
	if token != "" {
		cred = basicToken(token)
	}
	switch {
	case cred != nil && addr.IsFile():
		return nil, nil
	case cred != nil && !addr.MayCarryToken():
		return nil, record.Failf(record.BadInput, "%s is plain http: a token would be readable on the way, so it is not sent", addr).WithHint("use the https URL of the repository")
	case cred != nil:
		if inURL != nil {
			j.Note("the repository's URL holds credentials; they are kept out of the clone, the records and the logs, but a token file is safer")
		}
		return cred, nil
	case addr.MayCarryToken() && slices.Contains(ambientHosts(j), addr.Host()):
		token = cmp.Or(j.Getenv("GITHUB_TOKEN"), j.Getenv("GH_TOKEN"), j.Getenv("GIT_TOKEN"))
	}
	if token == "" {
		return nil, nil
	}
	j.Secrets.Add(token)
	return basicToken(token), nil
}

// basicToken is how GitHub, GitLab and Gitea take a token: as a password; the
// user is GitHub's own name for that.
func basicToken(token string) *repo.Credentials {
	return &repo.Credentials{User: "x-access-token", Password: token}
}

// givenToken is the token in the file, else in the variable, "" when there is none.
func (j *Job) givenToken(variable, file string) (string, error) {
	token, from := j.Getenv(variable), variable
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", record.Failf(record.BadInput, "--token-file: %w", err)
		}
		token, from = string(b), "--token-file "+file
		if strings.TrimSpace(token) == "" {
			return "", record.Failf(record.BadInput, "%s is empty", from)
		}
	}
	token = strings.TrimSpace(token)
	j.Secrets.Add(token)
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", record.Failf(record.BadInput, "%s is no token: it has spaces, line breaks or characters outside ASCII", from)
	}
	return token, nil
}

// ambientHosts are those for which GITHUB_TOKEN and the like are meant.
func ambientHosts(j *Job) []string {
	hosts := []string{"github.com"}
	if u, err := url.Parse(j.Getenv("GITHUB_SERVER_URL")); err == nil && u.Host != "" {
		hosts = append(hosts, strings.ToLower(u.Host))
	}
	return hosts
}

// proxy finds the proxy of a request: the one that was given, else that of the
// environment.
func (j *Job) proxy(given string) (func(*url.URL) (*url.URL, error), error) {
	if given == "" {
		env := func(name string) string { return cmp.Or(j.Getenv(name), j.Getenv(strings.ToLower(name))) }
		c := httpproxy.Config{HTTPProxy: env("HTTP_PROXY"), HTTPSProxy: env("HTTPS_PROXY"), NoProxy: env("NO_PROXY")}
		for _, p := range []string{c.HTTPProxy, c.HTTPSProxy} {
			if u, err := url.Parse(p); err == nil {
				hideProxyPassword(j, u)
			}
		}
		return c.ProxyFunc(), nil
	}
	u, err := url.Parse(given)
	if err != nil || u.Host == "" {
		return nil, record.Failf(record.BadInput, "--proxy is no URL such as http://HOST:PORT")
	}
	hideProxyPassword(j, u)
	return func(*url.URL) (*url.URL, error) { return u, nil }, nil
}

func hideProxyPassword(j *Job, u *url.URL) {
	if password, ok := u.User.Password(); ok {
		j.Secrets.Add(password)
	}
}

// ownDirs are the directories of the workspace that are not for a clone.
var ownDirs = []string{"runs", "clones", "venvs", "cache", "locks", "artifacts", "datasets"}

// ownDir is where --dir is, "" when it was not given. Its parents are made, and
// must not lead out of the workspace.
func (s *Clone) ownDir(j *Job) (string, error) {
	if s.Dir == "" {
		return "", nil
	}
	dir := filepath.Clean(s.Dir)
	first, _, _ := strings.Cut(dir, string(filepath.Separator))
	if !filepath.IsLocal(dir) || dir == "." {
		return "", record.Failf(record.BadInput, "--dir %s is not inside the workspace", s.Dir)
	}
	if slices.Contains(ownDirs, first) || strings.HasPrefix(first, ".") {
		return "", record.Failf(record.BadInput, "--dir %s: %s/ is step-runner's own directory in the workspace", s.Dir, first)
	}
	root, err := os.OpenRoot(j.Workspace.Dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(dir), 0o775); err != nil {
		return "", cloneEscape("--dir "+s.Dir, err)
	}
	parent, err := root.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return "", cloneEscape("--dir "+s.Dir, err)
	}
	parent.Close()
	return j.Workspace.Path(dir), nil
}

// cloneEscape is the failure of a path from outside: bad input, unless the
// system says that it is the disk or a permission.
func cloneEscape(what string, err error) error {
	if record.AsFailure(err).Kind == record.Internal {
		return record.Failf(record.BadInput, "%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// lockClone takes the lock on dir, by its name in the workspace: that may be
// mounted elsewhere in another container.
func lockClone(ctx context.Context, j *Job, log *slog.Logger, dir string) (func(), error) {
	rel, err := filepath.Rel(j.Workspace.Dir, dir)
	if err != nil {
		return nil, err
	}
	wait := time.AfterFunc(2*time.Second, func() { log.Info("waiting for another run that clones to the same place", "dir", dir) })
	defer wait.Stop()
	sum := sha256.Sum256([]byte(rel))
	return j.Workspace.LockContext(ctx, "clone-"+hex.EncodeToString(sum[:8]))
}

// cloneProgress tells the bytes received, a few times a second at most; nothing
// of a clone that is there in a moment.
func cloneProgress(j *Job) func(int64) {
	last := time.Now()
	return func(n int64) {
		if now := time.Now(); now.Sub(last) > 200*time.Millisecond {
			last = now
			j.Console.Progress("clone: %.1f MB received", float64(n)/1e6)
		}
	}
}
