//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// cluster is a namespace with the manifests, a volume, and a server of repositories.
type cluster struct {
	ns     string
	images images
	// token is what the repositories ask for, hook what signs the events.
	token, hook string
	// gitIP is the address of the server of repositories inside the cluster.
	gitIP string
	// dir holds this side's copies of the repositories.
	dir      string
	repoLock sync.Mutex
	// commits are the heads of the repositories' main branches.
	commits map[string]string
	table   table
	storage []byte
}

// setUp returns what tearDown has to undo even when it fails.
func setUp(ctx context.Context) (*cluster, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Minute, errors.New("setting up took more than 30 minutes"))
	defer cancel()
	dir, err := os.MkdirTemp("", "step-runner-e2e-")
	if err != nil {
		return nil, err
	}
	c := &cluster{
		ns: os.Getenv("E2E_NAMESPACE"), token: newToken(), hook: rand.Text(),
		dir: dir, commits: map[string]string{},
	}
	if c.ns == "" {
		c.ns = "step-runner-e2e-" + hex.EncodeToString(randomBytes(3))
	}
	if _, err := c.kubectl(ctx, nil, "get", "crd", "pipelines.tekton.dev", "stepactions.tekton.dev", "eventlisteners.triggers.tekton.dev"); err != nil {
		return c, fmt.Errorf("the current kube context has no cluster with Tekton Pipelines and Triggers: %w", err)
	}
	if c.images, err = findImages(ctx); err != nil {
		return c, err
	}
	if _, err := c.kubectl(ctx, nil, "create", "namespace", c.ns); err != nil {
		return c, err
	}
	for _, step := range []func(context.Context) error{c.setUpStorage, c.setUpAddress, c.setUpManifests, c.setUpServer, c.setUpRepos} {
		if err := step(ctx); err != nil {
			return c, err
		}
	}
	return c, nil
}

// setUpStorage applies the file E2E_STORAGE, in which $NAMESPACE is the namespace: a volume
// for clusters that make none by themselves.
func (c *cluster) setUpStorage(ctx context.Context) error {
	name := os.Getenv("E2E_STORAGE")
	if name == "" {
		return nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	c.storage = []byte(strings.ReplaceAll(string(data), "$NAMESPACE", c.ns))
	return c.apply(ctx, c.storage)
}

// setUpRepos serves the demo's repositories, and small ones.
func (c *cluster) setUpRepos(ctx context.Context) error {
	notebooks, err := sample("notebooks-repo")
	if err != nil {
		return err
	}
	tests, err := sample("tests-repo")
	if err != nil {
		return err
	}
	for repo, all := range map[string]files{
		"notebooks":       notebooks,
		"tests":           tests,
		"small-notebooks": smallNotebooks(),
		"small-tests":     smallTests(tests),
	} {
		if c.commits[repo], err = c.commit(ctx, repo, "main", all); err != nil {
			return fmt.Errorf("repository %s: %w", repo, err)
		}
	}
	return nil
}

// tearDown removes everything, unless E2E_KEEP says that somebody wants to look at it.
func (c *cluster) tearDown() {
	defer os.RemoveAll(c.dir)
	if os.Getenv("E2E_KEEP") != "" {
		fmt.Printf("e2e: namespace %s is kept\n", c.ns)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c.kubectl(ctx, nil, "delete", "namespace", c.ns, "--ignore-not-found")
	c.kubectl(ctx, nil, "delete", "clusterrole,clusterrolebinding", "--ignore-not-found", c.clusterName(triggersRole))
	if c.storage != nil {
		c.kubectl(ctx, strings.NewReader(string(c.storage)), "delete", "--ignore-not-found", "-f", "-")
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// newToken has characters that base64, URLs and JSON each write differently.
func newToken() string {
	return "e2e+" + base64.StdEncoding.EncodeToString(randomBytes(24)) + "/&<%>="
}
