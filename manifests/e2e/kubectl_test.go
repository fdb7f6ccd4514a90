//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tool runs a program and returns what it printed; what it says on stderr is in the error.
func tool(ctx context.Context, stdin io.Reader, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &complaint
	// A grandchild that holds the pipes must not hold us.
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.Bytes(), nil
}

// kubectl runs it in the namespace of the tests.
func (c *cluster) kubectl(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	return tool(ctx, stdin, append(c.kubectlArgv(), args...)...)
}

func (c *cluster) kubectlArgv() []string {
	argv := []string{"kubectl", "--namespace", c.ns}
	if name := os.Getenv("E2E_CONTEXT"); name != "" {
		argv = append(argv, "--context", name)
	}
	return argv
}

// get decodes one object, such as "pipelinerun/NAME", or a list.
func (c *cluster) get(ctx context.Context, into any, args ...string) error {
	out, err := c.kubectl(ctx, nil, append([]string{"get", "-o", "json"}, args...)...)
	if err != nil {
		return err
	}
	return json.Unmarshal(out, into)
}

// create makes obj and fills it with what the cluster has made of it.
func (c *cluster) create(ctx context.Context, obj any) error {
	data, err := json.Marshal(obj)
	if err != nil {
		return err
	}
	out, err := c.kubectl(ctx, bytes.NewReader(data), "create", "-o", "json", "-f", "-")
	if err != nil {
		return err
	}
	return json.Unmarshal(out, obj)
}

// apply makes or changes the objects of YAML or JSON documents.
func (c *cluster) apply(ctx context.Context, docs []byte) error {
	_, err := c.kubectl(ctx, bytes.NewReader(docs), "apply", "--server-side", "-f", "-")
	return err
}

// until polls f every two seconds, until it says yes or ctx ends. A busy cluster may fail to
// answer once: only the last error counts.
func until(ctx context.Context, what string, f func() (bool, error)) error {
	for {
		ok, err := f()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx)), err)
		case <-time.After(2 * time.Second):
		}
	}
}

// forward returns the address at which a port of the thing can be reached from here, past
// any NetworkPolicy, until the test ends.
func (c *cluster) forward(t *testing.T, thing, port string) string {
	t.Helper()
	argv := append(c.kubectlArgv(), "port-forward", thing, ":"+port)
	cmd := exec.Command(argv[0], argv[1:]...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "kubectl port-forward")
	_, rest, ok := strings.Cut(line, "127.0.0.1:")
	require.True(t, ok, line)
	// What it says of each connection must not fill the pipe.
	go io.Copy(io.Discard, out)
	number, _, _ := strings.Cut(rest, " ")
	return "http://127.0.0.1:" + number
}
