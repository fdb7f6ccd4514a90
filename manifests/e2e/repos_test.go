//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// private is the first element of the repositories' paths; below it the server asks
// for the token.
const private = "private"

// files are a repository's, by their paths.
type files map[string]string

// sample is a copy of the files in testdata/name.
func sample(name string) (files, error) {
	dir := filepath.Join("..", "..", "testdata", name)
	all := files{}
	return all, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		all[filepath.ToSlash(rel)] = string(data)
		return err
	})
}

// with is a copy that has the changes in it.
func (f files) with(changes files) files {
	all := maps.Clone(f)
	maps.Copy(all, changes)
	return all
}

// url is where the pods find a repository: at the Service's address, since the
// cluster's DNS may take its time.
func (c *cluster) url(repo string) string {
	return "https://" + c.gitIP + "/" + private + "/" + repo + ".git"
}

// commit makes the branch of the repository a commit that holds exactly these files,
// serves it, and returns its hash.
func (c *cluster) commit(ctx context.Context, repo, branch string, all files) (string, error) {
	c.repoLock.Lock()
	defer c.repoLock.Unlock()
	bare := filepath.Join(c.dir, repo+".git")
	if _, err := tool(ctx, nil, "git", "init", "--quiet", "--bare", "--initial-branch", "main", bare); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(c.dir, "work-")
	if err != nil {
		return "", err
	}
	for path, content := range all {
		if err := writeFile(filepath.Join(work, path), content); err != nil {
			return "", err
		}
	}
	git := func(args ...string) (string, error) {
		out, err := tool(ctx, nil, append([]string{"git", "--git-dir", bare, "--work-tree", work, "-c", "user.name=e2e", "-c", "user.email=e2e@example.org"}, args...)...)
		return strings.TrimSpace(string(out)), err
	}
	if _, err := git("add", "--all", "."); err != nil {
		return "", err
	}
	tree, err := git("write-tree")
	if err != nil {
		return "", err
	}
	hash, err := git("commit-tree", "-m", repo+" "+branch, tree)
	if err != nil {
		return "", err
	}
	if _, err := git("update-ref", "refs/heads/"+branch, hash); err != nil {
		return "", err
	}
	return hash, c.upload(ctx, bare, "/repos/"+private+"/"+repo+".git")
}

func writeFile(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

// upload copies the directory into the pod of the server.
func (c *cluster) upload(ctx context.Context, dir, to string) error {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if _, err := c.inPod(ctx, "server", nil, "mkdir", "-p", to); err != nil {
		return err
	}
	_, err := c.inPod(ctx, "server", &b, "tar", "-xf", "-", "--no-same-owner", "-C", to)
	return err
}
