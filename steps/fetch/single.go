package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"

	"github.com/step-runner/step-runner/artifacts/record"
)

// single fetches the whole file in one piece: the server gives no ranges.
func (g *download) single(ctx context.Context) error {
	if !g.head.marked && g.source.SHA256 == "" {
		return record.Failf(record.FetchFailed, "the server says neither how long the file is nor where it ends, so that a broken download could not be told").WithHint("give the file's sha256")
	}
	g.Note("%s: the server gives no ranges; one connection, and a download that breaks off begins again", g.source)
	g.result.Connections = 1
	first := true
	return g.again(ctx, noProgress, g.retried, func(ctx context.Context) error {
		if !first {
			g.head.close()
			if err := g.probe(ctx); err != nil {
				return err
			}
			if g.head.ranges {
				return errChanged
			}
		}
		first = false
		return g.stream()
	})
}

func (g *download) stream() error {
	if err := g.space(g.head.Size); err != nil {
		return err
	}
	if err := wipe(g.Dir); err != nil {
		return err
	}
	f, err := os.OpenFile(dataPath(g.Dir), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o664)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	told := &teller{g: g}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, h, told)}, &counter{g.head.body, &g.received}, make([]byte, 256<<10))
	if err != nil {
		return err
	}
	if n == 0 {
		return record.Failf(record.DatasetInvalid, "the server's file is empty")
	}
	return g.finish(f, hex.EncodeToString(h.Sum(nil)), n)
}

// teller tells the progress of a stream.
type teller struct {
	g *download
	n int64
}

func (t *teller) Write(b []byte) (int, error) {
	t.n += int64(len(b))
	t.g.Progress(t.n, t.g.head.Size)
	return len(b), nil
}
