package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Client asks servers for files. It alone knows the credentials, and adds them to
// requests for their own origin only, also after redirects.
type Client struct {
	// Token is sent as a bearer token to the origin of TokenFor.
	Token    string
	TokenFor *url.URL
	// Stall is how long a server may be silent.
	Stall time.Duration
	// Retries is how many tries in a row may bring nothing new before one request is given up.
	Retries int
	// FirstWait is the wait before the second try, a second when it is 0.
	FirstWait time.Duration
	Log       *slog.Logger

	http *http.Client
}

var (
	errStalled = errors.New("the server has sent nothing for too long")
	// errChanged says that the server's file is not that of the first answer any more.
	errChanged = errors.New("the file changes at the server while it is fetched")
)

// Use makes the client send its requests by t. Each connection is one of
// HTTP/1.1: in HTTP/2 all ranges would share one, and its limit.
func (c *Client) Use(t *http.Transport) {
	t = t.Clone()
	t.ForceAttemptHTTP2 = false
	t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	if t.TLSClientConfig != nil {
		t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	t.DisableCompression = true
	t.MaxIdleConnsPerHost = 64
	c.http = &http.Client{Transport: t, CheckRedirect: checkRedirect}
}

// Close ends connections that are kept open for the next request.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func checkRedirect(r *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= 10:
		return record.Failf(record.FetchFailed, "more than ten redirects")
	case via[0].URL.Scheme == "https" && r.URL.Scheme != "https":
		return record.Failf(record.FetchFailed, "redirected from https to plain http at %s", r.URL.Host)
	}
	return nil
}

// statusError is an answer that is none of success.
type statusError struct{ res *http.Response }

func (e *statusError) Error() string { return "the server answers " + e.res.Status }

// get asks for a range of the source's file ("bytes=0-9"), and with ifRange only
// of that version of it. The caller closes the answer's body.
func (c *Client) get(ctx context.Context, s Source, span, ifRange string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept-Encoding", "identity")
	r.Header.Set("User-Agent", "step-runner")
	r.Header.Set("Range", span)
	if ifRange != "" {
		r.Header.Set("If-Range", ifRange)
	}
	hc := *c.http
	hc.Transport = &guard{client: c, source: s, base: c.http.Transport}
	res, err := hc.Do(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusPartialContent {
		res.Body.Close()
		return nil, &statusError{res}
	}
	return res, nil
}

// guard adds the credentials to one request and its redirects, and ends it when
// the server falls silent.
type guard struct {
	client *Client
	source Source
	base   http.RoundTripper
}

func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	timer := time.AfterFunc(g.client.Stall, func() { cancel(errStalled) })
	r = r.Clone(ctx)
	g.authorize(r)
	res, err := g.base.RoundTrip(r)
	timer.Stop()
	if err != nil {
		defer cancel(nil)
		return nil, stalledOr(ctx, err)
	}
	res.Body = &watched{body: res.Body, stall: g.client.Stall, ctx: ctx, cancel: cancel, timer: timer}
	return res, nil
}

func (g *guard) authorize(r *http.Request) {
	r.Header.Del("Authorization")
	// The Referer of a redirect would tell the other host the query.
	r.Header.Del("Referer")
	own := sameOrigin(r.URL, g.source.URL)
	switch {
	case !MayCarryToken(r.URL):
	case own && g.source.Userinfo != nil:
		password, _ := g.source.Userinfo.Password()
		r.SetBasicAuth(g.source.Userinfo.Username(), password)
	case g.client.Token != "" && sameOrigin(r.URL, g.client.TokenFor):
		r.Header.Set("Authorization", "Bearer "+g.client.Token)
	}
	if !own {
		g.client.Log.Debug("redirected to another host", "host", r.URL.Host)
	}
}

func stalledOr(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

// watched is an answer's body that ends when its bytes stop coming.
type watched struct {
	body   io.ReadCloser
	stall  time.Duration
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func (w *watched) Read(b []byte) (int, error) {
	// Only the server's silence counts, not our own slowness between reads.
	w.timer.Reset(w.stall)
	n, err := w.body.Read(b)
	w.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		err = stalledOr(w.ctx, err)
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	defer w.cancel(nil)
	return w.body.Close()
}
