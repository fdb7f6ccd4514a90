package subsample

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// Cached is Cut that keeps what was cut in the workspace's cache/subsample, under
// a name of all that it depends on, so that the next run copies it. Runs that want
// the same wait for the one that cuts. Nobody gets a link to what is kept.
func (c Cutter) Cached(ctx context.Context, ws *artifacts.Workspace, in, out string, o Options, named []Named) (Result, error) {
	w, err := c.open(in, out, o, named)
	if err != nil {
		return Result{}, err
	}
	defer w.close()
	if err := w.digest(); err != nil {
		return Result{}, err
	}
	key, err := w.key(ctx)
	if err != nil {
		return Result{}, err
	}
	unlock, err := ws.LockContext(ctx, lockName(key))
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	kept := ws.Path("cache", "subsample", key)
	m, err := take(ctx, kept, w.temp())
	if err != nil {
		// Not there, or not what it was when it was put there.
		if m, err = w.cutInto(ctx, ws, kept); err != nil {
			return Result{}, err
		}
	}
	m.Source = w.source
	return m.Result, w.finish(ctx, m)
}

func lockName(key string) string { return "subsample-" + key }

// key is a digest of all that the output depends on.
func (w *work) key(ctx context.Context) (string, error) {
	program, err := programDigest()
	if err != nil {
		return "", err
	}
	v, err := w.program(ctx, "versions")
	if err != nil {
		return "", err
	}
	o := w.o
	o.KeepGenes = nil // They are in named.
	text, err := json.Marshal([]any{w.source.SHA256, filepath.Ext(w.in), o, w.named, program, v.Versions})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16]), err
}

// take copies what is kept to temp when it is whole and as it was.
func take(ctx context.Context, kept, temp string) (*Manifest, error) {
	text, err := os.ReadFile(filepath.Join(kept, "manifest.json"))
	if err != nil {
		return nil, err
	}
	m := &Manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, err
	}
	if err := copyPath(ctx, filepath.Join(kept, "data"), temp); err != nil {
		return nil, errors.Join(err, os.RemoveAll(temp))
	}
	got, err := digestPath(temp)
	if err == nil && got.SHA256 != m.Output.SHA256 {
		err = errors.New("the kept data has changed")
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(temp))
	}
	// What was used last is removed last. Who may not set the time has its data all the same.
	_ = os.Chtimes(filepath.Join(kept, "manifest.json"), time.Time{}, time.Now())
	return m, nil
}

// cutInto cuts to w.temp() and keeps a copy. That it cannot be kept is no failure.
// When the disk is full, what is kept goes first.
func (w *work) cutInto(ctx context.Context, ws *artifacts.Workspace, kept string) (*Manifest, error) {
	m, err := w.cut(ctx)
	if f := record.AsFailure(err); f != nil && f.Kind == record.DiskFull && w.prune(ws, 0) > 0 {
		if err := os.RemoveAll(w.temp()); err != nil {
			return nil, err
		}
		m, err = w.cut(ctx)
	}
	if err != nil || m.Way == record.WayWhole {
		return m, err
	}
	if err := w.unchanged(); err != nil {
		return nil, err
	}
	if err := w.keep(ctx, kept, m); err != nil {
		w.Log.Warn("what was cut could not be kept for the next run", "error", err)
	}
	w.prune(ws, keptMost)
	return m, ctx.Err()
}

func (w *work) keep(ctx context.Context, kept string, m *Manifest) error {
	if err := os.MkdirAll(filepath.Dir(kept), 0o775); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(kept), "."+filepath.Base(kept)+".*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := copyPath(ctx, w.temp(), filepath.Join(dir, "data")); err != nil {
		return err
	}
	if m.Output, err = digestPath(w.temp()); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "manifest.json"), text, 0o664), os.Chmod(dir, 0o775), os.RemoveAll(kept)); err != nil {
		return err
	}
	return os.Rename(dir, kept)
}
