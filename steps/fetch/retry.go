package fetch

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/step-runner/step-runner/artifacts/record"
)

// The bounds of the wait between tries, and of one that a server may ask for.
const (
	longestWait = 30 * time.Second
	longestAsk  = 5 * time.Minute
)

// again runs op until it succeeds, fails for good, or has brought nothing new
// c.Retries times in a row; progress grows with what it brings. Which errors are
// worth it, and what Retry-After says, is go-retryablehttp's knowledge. retried is
// told of each further try.
func (c *Client) again(ctx context.Context, progress func() int64, retried func(), op func(context.Context) error) error {
	before := progress()
	for try := 0; ; try++ {
		err := op(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if now := progress(); now > before {
			before, try = now, 0
		}
		wait, ok := c.judge(ctx, err, try)
		if !ok {
			return final(err, try)
		}
		c.Log.Warn("a request failed", "error", unquoted(err), "try", try+1, "next_in", wait.Round(time.Millisecond))
		retried()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// judge says whether another try is worth it, and after which wait.
func (c *Client) judge(ctx context.Context, err error, try int) (time.Duration, bool) {
	if settled(err) || try >= c.Retries {
		return 0, false
	}
	var res *http.Response
	if s := (*statusError)(nil); errors.As(err, &s) {
		res, err = s.res, nil
	}
	if again, _ := retryablehttp.ErrorPropagatedRetryPolicy(ctx, res, err); !again {
		return 0, false
	}
	wait := retryablehttp.DefaultBackoff(cmp.Or(c.FirstWait, time.Second), longestWait, try, res)
	wait += time.Duration(rand.Int64N(int64(wait)/2 + 1))
	return wait, wait <= longestAsk+longestAsk/2
}

// settled says whether err is one that another try would only repeat: a verdict,
// a change of the file, or an error of this machine's file system.
func settled(err error) bool {
	var f *record.Failure
	var p *os.PathError
	return errors.As(err, &f) || errors.As(err, &p) || errors.Is(err, errChanged) || errors.Is(err, syscall.ENOSPC)
}

// final is the failure of a request that is given up.
func final(err error, tries int) error {
	if settled(err) {
		return err
	}
	err = unquoted(err)
	why := ""
	if tries > 0 {
		why = fmt.Sprintf(" (tried %d times)", tries+1)
	}
	kind := record.FetchFailed
	if s := (*statusError)(nil); errors.As(err, &s) {
		switch s.res.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			kind = record.FetchAuth
		case http.StatusNotFound, http.StatusGone:
			kind = record.FetchNotFound
		}
	}
	f := record.Failf(kind, "%w%s", err, why)
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		f.WithHint("give the certificate of your company's proxy or server with --ca-file")
	}
	return f
}

// unquoted is err without the URL, whose query may hold a signature.
func unquoted(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}
