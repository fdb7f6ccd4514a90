//go:build e2e

// Package e2e runs the Pipelines on the cluster of the current kube context, and
// looks at what they leave. `make e2e` is how it is run; ../README.md has the rest.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// shared is the cluster as TestMain has set it up. Tests change nothing of it.
var shared *cluster

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	// What a signal ends is cleaned up like what has failed.
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	start := time.Now()
	c, err := setUp(ctx)
	if c != nil {
		defer c.tearDown()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	fmt.Printf("e2e: namespace %s is ready after %s\n", c.ns, time.Since(start).Round(time.Second))
	shared = c
	// The tests know nothing of ctx, and would go on.
	context.AfterFunc(ctx, func() {
		c.tearDown()
		os.Exit(130)
	})
	code := m.Run()
	c.table.print(os.Stdout, time.Since(start))
	return code
}
