package repo

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// errStalled ends a request whose server says nothing any more.
var errStalled = errors.New("the server has sent nothing for too long")

// stallAfter is how long a server may be silent. A pack is often computed before
// its first byte, but git's server sends a sign of life every five seconds.
const stallAfter = 2 * time.Minute

// guard is the transport under go-git. It alone knows the credentials, and adds
// them to requests for their own origin only, also after redirects; go-git,
// whose errors and configuration files are not ours, never has them.
type guard struct {
	base   http.RoundTripper
	origin Address
	cred   *Credentials
	stall  time.Duration
	log    *slog.Logger
	// onBytes is told of each piece of an answer.
	onBytes func(n int)

	mu sync.Mutex
	// last is the latest answer's head, nil when there was none.
	last *http.Response
	// strayed is the host that a redirect led to, "" when none did.
	strayed string
}

// NewTransport makes the transport for all requests of one clone or download. caFile, when
// it is not "", is a file, or a directory of files, with further root certificates in PEM.
func NewTransport(caFile string, proxy func(*url.URL) (*url.URL, error)) (*http.Transport, error) {
	t := &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			if proxy == nil {
				return nil, nil
			}
			return proxy(r.URL)
		},
		DialContext:         (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 30 * time.Second,
		ForceAttemptHTTP2:   true,
	}
	if caFile == "" {
		return t, nil
	}
	roots, err := rootCAs(caFile)
	if err != nil {
		return nil, err
	}
	t.TLSClientConfig = &tls.Config{RootCAs: roots}
	return t, nil
}

func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	timer := time.AfterFunc(g.stall, func() { cancel(errStalled) })
	r = r.Clone(ctx)
	r.Header.Del("Authorization")
	if !g.origin.covers(r.URL) {
		g.stray(r.URL)
	} else if g.cred != nil {
		r.SetBasicAuth(g.cred.User, g.cred.Password)
	}
	res, err := g.base.RoundTrip(r)
	g.note(res)
	if err != nil {
		timer.Stop()
		defer cancel(nil)
		return nil, stalledOr(ctx, err)
	}
	timer.Stop()
	res.Body = &watched{body: res.Body, g: g, ctx: ctx, cancel: cancel, timer: timer}
	return res, nil
}

func stalledOr(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

func (g *guard) note(res *http.Response) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = res
}

func (g *guard) stray(u *url.URL) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.strayed != u.Host {
		g.strayed = u.Host
		g.log.Info("redirected to another host; no credentials are sent there", "host", u.Host)
	}
}

// answer returns the latest answer's head, nil when the latest request had none.
func (g *guard) answer() *http.Response {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// watched counts an answer's bytes and ends it when they stop coming.
type watched struct {
	body   io.ReadCloser
	g      *guard
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func (w *watched) Read(b []byte) (int, error) {
	// Only the server's silence counts, not our own slowness between reads.
	w.timer.Reset(w.g.stall)
	n, err := w.body.Read(b)
	w.timer.Stop()
	w.g.onBytes(n)
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
