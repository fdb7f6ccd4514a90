package repo

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/step-runner/step-runner/artifacts/record"
)

// The bounds of the wait between tries, and of one that a server may ask for.
const (
	firstWait   = time.Second
	longestWait = 30 * time.Second
	longestAsk  = 5 * time.Minute
)

// retrier tries again what is worth it, with one budget for all requests of a
// clone. It is a loop around whole operations: a download that breaks off after
// its header is an error like any other. Which errors are worth it, and what
// Retry-After says, is go-retryablehttp's knowledge.
type retrier struct {
	// left is how many more tries there may be; used counts those that there were.
	left, used int
	first      time.Duration
	log        *slog.Logger
}

// do runs op until it succeeds, fails for good, or no tries are left.
func (t *retrier) do(ctx context.Context, what string, g *guard, op func(context.Context) error) error {
	for try := 0; ; try++ {
		err := op(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		again, wait, why := t.judge(ctx, err, g, try)
		if !again {
			t.log.Warn("a try failed, for good", "what", what, "try", t.used+1, "error", err)
			return final(err, what, why)
		}
		t.log.Warn("a try failed", "what", what, "try", t.used+1, "error", err, "next_in", wait.Round(time.Millisecond))
		t.left, t.used = t.left-1, t.used+1
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

func (t *retrier) judge(ctx context.Context, err error, g *guard, try int) (again bool, wait time.Duration, why string) {
	if settled(err) || g.origin.IsFile() {
		return false, 0, ""
	}
	// With an answer whose status is good it is the body that broke off.
	res := g.answer()
	if res == nil || res.StatusCode == http.StatusOK {
		again, _ = retryablehttp.ErrorPropagatedRetryPolicy(ctx, nil, err)
	} else {
		again, _ = retryablehttp.ErrorPropagatedRetryPolicy(ctx, res, nil)
	}
	if !again {
		return false, 0, ""
	}
	wait = retryablehttp.DefaultBackoff(t.first, longestWait, try, res)
	wait += time.Duration(rand.Int64N(int64(wait)/2 + 1))
	switch {
	case t.left <= 0 && t.used > 0:
		return false, 0, fmt.Sprintf(" (tried %d times)", t.used+1)
	case t.left <= 0:
		return false, 0, ""
	case wait > longestAsk+longestAsk/2:
		return false, 0, fmt.Sprintf(" (the server asks to wait %s)", wait.Round(time.Second))
	}
	return true, wait, ""
}

// final is the failure of an operation that is given up.
func final(err error, what, why string) error {
	if settled(err) {
		return err
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // It would repeat the URL.
	}
	f := record.Failf(record.CloneFailed, "%s: %w%s", what, err, why)
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		f.WithHint("give the certificate of your company's proxy or server with --ca-file")
	}
	return f
}

// settled says whether err is one that another try would only repeat.
func settled(err error) bool {
	var f *record.Failure
	return errors.As(err, &f) || isLocal(err) || errors.Is(err, errNotOurs)
}
