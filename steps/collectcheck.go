package steps

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// take reads one file, checks it, and puts it into the publication.
func (c *collection) take(ctx context.Context, name string) error {
	to := c.stage(name)
	a, err := artifacts.ReadArtifact(ctx, c.dir, name, c.j.Secrets, to)
	if ctx.Err() != nil && err != nil {
		return err
	}
	if err == nil && !a.Leaked && !c.j.Secrets.Contains([]byte(name)) {
		c.keep(to)
		c.found[name] = a
		if err := c.wrong(a); err != nil {
			c.facts.Invalid = append(c.facts.Invalid, fmt.Sprintf("%s: %v", name, err))
		}
		return nil
	}
	c.drop(to, name)
	if err != nil {
		c.facts.Invalid = append(c.facts.Invalid, fmt.Sprintf("%s: it cannot be read: %v", name, err))
		return nil
	}
	c.facts.Leaked = append(c.facts.Leaked, name)
	if c.isLog(name) {
		c.faults = append(c.faults, c.remove(name))
	}
	return nil
}

// collectStaged takes the bytes of a file for the publication. It never fails: a
// volume that is full must not keep the file from being checked.
type collectStaged struct {
	f   *os.File
	err error
}

func (s *collectStaged) Write(p []byte) (int, error) {
	if s.f != nil && s.err == nil {
		_, s.err = s.f.Write(p)
	}
	return len(p), nil
}

func (c *collection) stage(name string) *collectStaged {
	s := &collectStaged{}
	if c.pub != nil {
		s.f, s.err = c.pub.Create(name)
	}
	return s
}

// keep ends a staged file for good.
func (c *collection) keep(s *collectStaged) {
	if s.f != nil {
		s.err = errors.Join(s.err, s.f.Sync(), s.f.Close())
	}
	if s.err != nil {
		c.abandon(s.err)
	}
}

// drop takes a staged file out again.
func (c *collection) drop(s *collectStaged, name string) {
	if s.f != nil {
		s.f.Close()
	}
	if c.pub == nil || s.f == nil {
		return
	}
	if err := c.pub.Remove(name); err != nil {
		// What could not be taken out must not be published.
		c.abandon(err)
	}
}

// wrong is why a file is not what it should be, nil when it is.
func (c *collection) wrong(a artifacts.Artifact) error {
	if f, ok := c.recorded[a.Name]; ok && f.SHA256 != a.SHA256 {
		return fmt.Errorf("it has changed since step %d (%s) wrote it", f.by.Step, f.by.Name)
	}
	if a.Problem != nil {
		return a.Problem
	}
	for _, p := range collectParts {
		if a.Name == c.j.Variant.FileName(p.base, p.ext) && a.Form != p.form {
			return fmt.Errorf("its root element is <%s>, not <%s>", a.Form, p.form)
		}
	}
	return nil
}

// require finds out what is missing.
func (c *collection) require() {
	for _, name := range slices.Sorted(maps.Keys(c.recorded)) {
		f := c.recorded[name]
		if f.by.Status == record.StatusSucceeded && !c.has(name) {
			c.miss(name, "step %d (%s) has written it, but it is gone", f.by.Step, f.by.Name)
		}
	}
	if len(c.Require) > 0 {
		c.requireGlobs()
		return
	}
	for _, p := range collectParts {
		switch {
		case c.hasPart(p):
		case p.form == artifacts.FormCoverage && c.withoutCoverage():
			c.j.Note("there is no coverage report: step 6 (pytest) had to do without pytest-cov")
		default:
			c.miss(c.j.Variant.FileName(p.base, p.ext), "step %d (%s) %s", p.step.Step, p.step.Name, c.excuse(p.step))
		}
	}
}

// has says whether the file is there, be it that it may not be published.
func (c *collection) has(name string) bool {
	_, ok := c.found[name]
	return ok || slices.Contains(c.facts.Leaked, name)
}

func (c *collection) miss(name, format string, args ...any) {
	c.facts.Missing = append(c.facts.Missing, name+": "+fmt.Sprintf(format, args...))
}

func (c *collection) requireGlobs() {
	for _, glob := range c.Require {
		matches := func(name string) bool { ok, err := path.Match(glob, name); return ok && err == nil }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(c.found)), matches) && !slices.ContainsFunc(c.facts.Leaked, matches) {
			c.miss(glob, "no file in the run's artifacts matches")
		}
	}
}

// hasPart says whether the step has recorded a file of the part's form, or one
// with the part's own name, whatever is the matter with it.
func (c *collection) hasPart(p collectPart) bool {
	standard := c.j.Variant.FileName(p.base, p.ext)
	for name, f := range c.recorded {
		if f.by.ID == p.step && c.has(name) && (name == standard || c.found[name].Form == p.form) {
			return true
		}
	}
	return false
}

// withoutCoverage says whether pytest succeeded but could not get the plugin that
// measures coverage: it goes on then, and the run must not fail for it here.
func (c *collection) withoutCoverage() bool {
	i := slices.IndexFunc(c.v.Records, func(r *record.Record) bool { return r.ID == record.Pytest })
	if i < 0 || c.v.Records[i].Status != record.StatusSucceeded {
		return false
	}
	versions := c.v.Records[i].Facts.(*record.PytestFacts).Env.Versions
	return versions["pytest"] != "" && versions["pytest-cov"] == ""
}

// excuse is what the step's record says about why it has not written a file.
func (c *collection) excuse(id record.ID) string {
	i := slices.IndexFunc(c.v.Records, func(r *record.Record) bool { return r.ID == id })
	switch {
	case slices.ContainsFunc(c.v.Unreadable, func(u artifacts.Unreadable) bool { return u.ID == id }):
		return "has no record that can be read"
	case i < 0:
		return "has no record"
	case c.v.Records[i].Status == record.StatusSucceeded:
		return "has recorded none"
	}
	return fmt.Sprintf("has status %s", c.v.Records[i].Status)
}
