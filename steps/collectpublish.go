package steps

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

// list fills in the manifest and the record. The record's inputs let the verdict
// see that a step has run again since; its outputs are what collect added.
func (c *collection) list() {
	for _, name := range slices.Sorted(maps.Keys(c.found)) {
		a := c.found[name]
		c.manifest.Files = append(c.manifest.Files, c.entry(a))
		c.facts.Bytes += a.Bytes
		file := record.File{Path: "artifacts/" + name, Bytes: a.Bytes, SHA256: a.SHA256}
		if _, recorded := c.recorded[name]; !recorded && c.isLog(name) {
			c.j.Rec.Outputs = append(c.j.Rec.Outputs, file)
		} else {
			c.j.Rec.Inputs = append(c.j.Rec.Inputs, file)
		}
	}
	c.facts.Count = len(c.found)
}

func (c *collection) entry(a artifacts.Artifact) artifacts.ManifestFile {
	f := artifacts.ManifestFile{Path: a.Name, Bytes: a.Bytes, SHA256: a.SHA256, MediaType: a.MediaType}
	from, recorded := c.recorded[a.Name]
	switch {
	case recorded:
		f.Step = from.by.ID.String()
	case c.isLog(a.Name):
		id := collectedLogs[slices.IndexFunc(collectedLogs, func(id record.ID) bool { return a.Name == logName(id) })]
		f.Step = id.String()
	case c.isPart(a.Name):
		f.Problem = "no step has recorded it"
	}
	if err := c.wrong(a); err != nil {
		f.Problem = err.Error()
	}
	return f
}

// publish writes the lists beside the run's artifacts and puts all of it in the
// place of the workspace's.
func (c *collection) publish() {
	var manifest, sums bytes.Buffer
	sum := sha256.New()
	err := c.manifest.Encode(&manifest)
	sum.Write(manifest.Bytes())
	err = errors.Join(err, c.manifest.Sums(&sums, hex.EncodeToString(sum.Sum(nil))))
	err = errors.Join(err, c.write(artifacts.ManifestName, manifest.Bytes()), c.write(artifacts.SumsName, sums.Bytes()))
	if err != nil {
		c.faults = append(c.faults, err)
	}
	if c.pub == nil {
		return
	}
	if err := c.pub.Commit(c.j.Now()); err != nil {
		c.abandon(err)
		return
	}
	c.facts.Published = true
	for _, note := range c.pub.Notes {
		c.j.Note("%s", note)
	}
}

// write puts a file into the run's artifacts and into the publication.
func (c *collection) write(name string, text []byte) error {
	s := c.stage(name)
	_, _ = s.Write(text) // It keeps its own error for the end.
	c.keep(s)
	path := c.j.Env.Run.Path("artifacts", name)
	if err := artifacts.WriteText(path, text); err != nil {
		return err
	}
	return c.j.Output(path)
}

// verdict is the gravest fault, with all others named.
func (c *collection) verdict() error {
	all := c.failures()
	if len(all) == 0 {
		c.j.Log.Info("collected", "files", c.facts.Count, "bytes", c.facts.Bytes)
		return nil
	}
	f := all[0]
	for _, other := range all[1:] {
		f.Message += "; also: " + other.Message
	}
	return f
}

func (c *collection) failures() (all []*record.Failure) {
	if n := len(c.facts.Leaked); n > 0 {
		all = append(all, record.Failf(record.SecretLeaked, "artifacts that hold a secret and were not published: %s", collectNames(c.facts.Leaked)))
	}
	if c.pubErr != nil {
		all = append(all, c.unpublished())
	}
	if err := errors.Join(c.faults...); err != nil {
		all = append(all, record.AsFailure(fmt.Errorf("artifacts of run %s: %w", c.j.Env.Run.ID, err)))
	}
	if len(c.facts.Invalid) > 0 {
		all = append(all, record.Failf(record.ArtifactInvalid, "artifacts that are not what they should be: %s", collectNames(c.facts.Invalid)))
	}
	if len(c.facts.Missing) > 0 {
		all = append(all, record.Failf(record.ArtifactMissing, "missing artifacts: %s", collectNames(c.facts.Missing)))
	}
	return all
}

// unpublished says what is left where. No space, a limit and a signal keep their class.
func (c *collection) unpublished() *record.Failure {
	kind := record.AsFailure(c.pubErr).Kind
	f := record.AsFailure(c.pubErr)
	if !slices.Contains([]record.Kind{record.DiskFull, record.TimedOut, record.Signaled}, kind) {
		f = record.Failf(record.PublishFailed, "%w", c.pubErr)
	}
	return f.Within("%s was not replaced and is as before; this run's own files are in %s", c.j.Env.Workspace.Path("artifacts"), c.j.Env.Run.Path("artifacts"))
}

// collectNames joins what a message can hold of a list; all of it is in the facts.
func collectNames(list []string) string {
	const most = 10
	if n := len(list) - most; n > 0 {
		return fmt.Sprintf("%s; and %d more", strings.Join(list[:most], "; "), n)
	}
	return strings.Join(list, "; ")
}
