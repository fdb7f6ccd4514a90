// Command demo runs the workflow, the lite variant of it unless told otherwise, on the
// sample repositories in testdata: it serves them over HTTP on loopback ports, the second
// one to holders of a token only, and the data that the notebook reads, runs step-runner,
// and checks what that left. It needs no GPU, no cluster and no account.
//
// `demo serve` and `demo search` are for the tests on a cluster: they serve
// repositories there, and look for the token in what runs have left.
package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/gittest"
)

// grace is what step-runner gets to collect and summarise after a TERM.
const grace = 30 * time.Second

func main() {
	if len(os.Args) > 1 && (os.Args[1] == "serve" || os.Args[1] == "search") {
		if err := inCluster(os.Stdout, os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "demo:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run())
}

type demo struct {
	workspace, runner, tools, testdata string
	variant                            artifacts.Variant
	// extra are arguments of step-runner's.
	extra []string

	id, token string
	data      *data
	// dir is outside the workspace: the repositories and the token's file.
	dir string
}

func run() int {
	d := demo{id: artifacts.NewRunID(time.Now())}
	flag.StringVar(&d.workspace, "workspace", ".cache/demo", "workspace of the run")
	flag.StringVar(&d.runner, "runner", "bin/step-runner", "the program to run")
	flag.StringVar(&d.tools, "tools", ".cache/tools", "virtual environment that has the Python tools")
	flag.StringVar(&d.testdata, "testdata", "testdata", "directory of the sample repositories")
	flag.StringVar((*string)(&d.variant), "variant", string(artifacts.Lite), "lite or original")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: demo [flags] [-- further flags of step-runner run]")
		flag.PrintDefaults()
	}
	flag.Parse()
	d.extra = flag.Args()

	ctx, stop := untilSignal()
	defer stop()
	start := time.Now()
	code, err := d.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return max(code, record.ExitCode(err))
	}
	d.report(os.Stdout, code, time.Since(start))
	if err := d.check(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo: CHECKS FAILED:", err)
		return max(code, 1)
	}
	return code
}

// untilSignal is a context that ends, with the signal as its cause, when this
// process is told to stop.
func untilSignal() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		if sig, ok := <-got; ok {
			cancel(record.BySignal(sig.(syscall.Signal)))
		}
	}()
	return ctx, func() { signal.Stop(got); cancel(nil) }
}

// run returns step-runner's exit code.
func (d *demo) run(ctx context.Context) (int, error) {
	for _, p := range []*string{&d.workspace, &d.runner, &d.tools} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return 1, err
		}
		*p = abs
	}
	dir, err := os.MkdirTemp("", "step-runner-demo-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	d.dir = dir
	server, err := gittest.New(dir)
	if err != nil {
		return 1, err
	}
	defer server.Close()
	if d.data, err = serveData(d.tools); err != nil {
		return 1, err
	}
	defer d.data.server.Close()
	argv, err := d.argv(server)
	if err != nil {
		return 1, err
	}
	fmt.Println("demo:", filepath.Base(argv[0]), argv[1:])
	res, err := child.Exec{}.Run(ctx, child.Spec{
		Argv: argv,
		Env:  append(os.Environ(), "PATH="+filepath.Join(d.tools, "bin")+":"+os.Getenv("PATH")),
		Out:  os.Stderr, Stdout: os.Stdout,
		Limits: child.Limits{Grace: grace},
	})
	return res.ExitCode, err
}

// argv makes the two repositories and the command line that clones them.
func (d *demo) argv(server *gittest.Server) ([]string, error) {
	notebooks, err := d.repository(server, "notebooks-repo")
	if err != nil {
		return nil, err
	}
	tests, err := d.repository(server, "tests-repo")
	if err != nil {
		return nil, err
	}
	d.token = newToken()
	tests.RequireToken(d.token)
	tokenFile := filepath.Join(d.dir, "token")
	if err := os.WriteFile(tokenFile, []byte(d.token+"\n"), 0o600); err != nil {
		return nil, err
	}
	return append(append([]string{
		d.runner, "run", "--variant", string(d.variant), "--workspace", d.workspace, "--run", d.id,
		"--gpu", "optional",
		"--clone-url", notebooks.URL, "--clone-require", "notebooks",
		"--clone-tests-url", tests.URL, "--clone-tests-token-file", tokenFile,
	}, d.data.flags(d.variant)...), d.extra...), nil
}

func (d *demo) repository(server *gittest.Server, name string) (*gittest.Repo, error) {
	repo, err := server.NewRepo(name)
	if err != nil {
		return nil, err
	}
	_, err = repo.CommitDir("main", filepath.Join(d.testdata, name))
	return repo, err
}

// newToken has characters that base64, URLs and JSON each write differently, so
// that the search for it afterwards is a hard one.
func newToken() string {
	b := make([]byte, 24)
	rand.Read(b)
	return "demo+" + base64.StdEncoding.EncodeToString(b) + "/&<%>="
}
