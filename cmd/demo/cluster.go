package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/step-runner/step-runner/steps/gittest"
	"github.com/step-runner/step-runner/steps/leak"
)

// private is the first element of the paths of repositories that need the token.
const private = "private"

// inCluster is `demo serve` and `demo search`.
func inCluster(out io.Writer, command string, args []string) error {
	fs := flag.NewFlagSet("demo "+command, flag.ExitOnError)
	dir := fs.String("dir", ".", "serve: the bare repositories, below "+private+"/ for holders of the token; search: where to look")
	token := fs.String("token-file", "", "file that holds the token")
	listen := fs.String("listen", ":8443", "serve: address")
	cert := fs.String("cert", "tls.crt", "serve: certificate, in PEM")
	key := fs.String("key", "tls.key", "serve: its key, in PEM")
	if err := fs.Parse(args); err != nil {
		return err
	}
	b, err := os.ReadFile(*token)
	if err != nil {
		return err
	}
	secret := strings.TrimSpace(string(b))
	if secret == "" {
		return fmt.Errorf("%s is empty", *token)
	}
	if command == "search" {
		files, err := leak.Search(*dir, secret)
		fmt.Fprintln(out, files, "files")
		return err
	}
	return serve(out, *dir, *listen, *cert, *key, secret)
}

// serve serves the repositories in dir, and the files in its data/, over HTTPS until a
// signal comes.
func serve(out io.Writer, dir, listen, cert, key, token string) error {
	git, err := gittest.NewHandler(dir)
	if err != nil {
		return err
	}
	git.RequireToken(private, token)
	mux := http.NewServeMux()
	mux.Handle("/", git)
	mux.Handle("/data/", http.FileServer(http.Dir(dir)))
	s := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: time.Minute}
	ctx, stop := untilSignal()
	defer stop()
	context.AfterFunc(ctx, func() { s.Close() })
	fmt.Fprintln(out, "demo: serving", dir, "on", listen)
	if err := s.ListenAndServeTLS(cert, key); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
