package steps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// collection is one run of collect.
type collection struct {
	*Collect
	j *Job
	v artifacts.Verdict
	// run is the run's directory, dir its artifacts; neither can be left by a link.
	run, dir *os.Root
	// pub is nil when there is nothing to publish to, and pubErr says why.
	pub    *artifacts.Publication
	pubErr error
	// found are the files of the run's artifacts, by name.
	found map[string]artifacts.Artifact
	// recorded are the outputs that steps recorded, by name.
	recorded map[string]collectRecorded
	manifest artifacts.Manifest
	// faults are what went wrong with the collecting itself.
	faults []error
}

type collectRecorded struct {
	record.File
	by *record.Record
}

// collectPart is one of the four files that the seed's users count on.
type collectPart struct {
	step      record.ID
	form      string
	base, ext string
}

var collectParts = []collectPart{
	{record.Papermill, artifacts.FormNotebook, "output_analysis", ".ipynb"},
	{record.Nbconvert, artifacts.FormPage, "output_analysis", ".html"},
	{record.Pytest, artifacts.FormCoverage, "coverage", ".xml"},
	{record.Pytest, artifacts.FormJUnit, "pytest_results", ".xml"},
}

// collectedLogs are the logs that the seed's users look for among the artifacts.
var collectedLogs = []record.ID{record.Papermill, record.Nbconvert, record.Pytest}

// open opens the run's directories and removes what an attempt before this one
// has added to them.
func (c *collection) open() (err error) {
	r := c.j.Env.Run
	if c.run, err = os.OpenRoot(r.Dir); err != nil {
		return err
	}
	// Code of the run may have put a link in the directory's place.
	if fi, err := c.run.Lstat("artifacts"); err != nil || !fi.IsDir() {
		return record.Failf(record.BadWorkspace, "%s is not a directory any more", r.Path("artifacts"))
	}
	if c.dir, err = c.run.OpenRoot("artifacts"); err != nil {
		return err
	}
	c.recorded = map[string]collectRecorded{}
	for _, rec := range c.v.Records {
		if rec.Step >= record.Collect.Step {
			continue
		}
		for _, f := range rec.Outputs {
			if name, ok := strings.CutPrefix(f.Path, "artifacts/"); ok {
				c.recorded[name] = collectRecorded{f, rec}
			}
		}
	}
	c.manifest = artifacts.Manifest{Schema: record.Schema, Run: r.ID, Variant: c.j.Variant, Files: []artifacts.ManifestFile{}}
	return nil
}

func (c *collection) close() {
	if c.pub != nil {
		c.pub.Close()
	}
	for _, root := range []*os.Root{c.dir, c.run} {
		if root != nil {
			root.Close()
		}
	}
}

// begin begins the publication. Without one, everything else is done all the same.
func (c *collection) begin(ctx context.Context) {
	c.pub, c.pubErr = c.j.Env.Run.Publish(ctx)
}

func (c *collection) abandon(err error) {
	if c.pubErr == nil {
		c.pubErr = err
	}
	if c.pub != nil {
		c.pub.Close()
		c.pub = nil
	}
}

// gather reads every file that is to be collected.
func (c *collection) gather(ctx context.Context) error {
	c.copyLogs()
	names, refused, err := artifacts.List(c.dir)
	if err != nil {
		return err
	}
	c.found = map[string]artifacts.Artifact{}
	for _, name := range refused {
		c.refuse(path.Join("artifacts", name))
	}
	for _, name := range names {
		switch {
		case c.isOwn(name):
		case c.wants(name):
			if err := c.take(ctx, name); err != nil {
				return err
			}
		default:
			c.facts.LeftOut = append(c.facts.LeftOut, name)
			c.j.Note("artifacts/%s was not collected: no step recorded it, and no --optional names it", name)
		}
	}
	return nil
}

func (c *collection) refuse(name string) {
	c.facts.Refused = append(c.facts.Refused, name)
	c.j.Note("%s is a link or a device and was not collected", name)
}

// copyLogs puts the logs beside the artifacts. They are copies: a step that runs
// again begins its log anew.
func (c *collection) copyLogs() {
	for _, id := range collectedLogs {
		name := logName(id)
		if _, taken := c.recorded[name]; taken {
			continue
		}
		err := c.dir.Remove(name)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			err = c.copyLog(name)
		}
		if err != nil {
			c.faults = append(c.faults, fmt.Errorf("log %s: %w", name, err), c.remove(name))
		}
	}
}

func (c *collection) copyLog(name string) error {
	from := path.Join("logs", name)
	fi, err := c.run.Lstat(from)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		c.refuse(from)
		return nil
	}
	src, err := c.run.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := c.dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o664)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// remove removes a copied log that must not stay.
func (c *collection) remove(name string) error {
	if err := c.dir.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// isOwn says whether collect and summary write the file themselves.
func (c *collection) isOwn(name string) bool {
	return slices.Contains([]string{artifacts.ManifestName, artifacts.SumsName, artifacts.Lite.SummaryName(), artifacts.Original.SummaryName()}, name)
}

// wants says whether the file is to be collected: a step recorded it, it is one
// of the seed's, or a glob names it.
func (c *collection) wants(name string) bool {
	if _, ok := c.recorded[name]; ok || c.isLog(name) {
		return true
	}
	if c.isPart(name) {
		return true
	}
	return slices.ContainsFunc(append(append([]string{}, c.Require...), c.Optional...), func(glob string) bool {
		ok, err := path.Match(glob, name)
		return err == nil && ok
	})
}

func (c *collection) isPart(name string) bool {
	return slices.ContainsFunc(collectParts, func(p collectPart) bool { return name == c.j.Variant.FileName(p.base, p.ext) })
}

func (c *collection) isLog(name string) bool {
	return slices.ContainsFunc(collectedLogs, func(id record.ID) bool { return name == logName(id) })
}
