package artifacts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// The files that collect adds to a run's artifacts.
const (
	ManifestName = "manifest.json"
	SumsName     = "SHA256SUMS"
)

// Manifest lists the artifacts of a run that were published. The summary is not
// in it: it is written later, and tells of it.
type Manifest struct {
	Schema  int            `json:"schema"`
	Run     string         `json:"run"`
	Variant Variant        `json:"variant"`
	Files   []ManifestFile `json:"files"`
}

// ManifestFile is one artifact.
type ManifestFile struct {
	// Path is relative to the manifest, with slashes.
	Path      string `json:"path"`
	Bytes     int64  `json:"bytes"`
	SHA256    string `json:"sha256"`
	MediaType string `json:"media_type"`
	// Step is the record of the step that wrote it, like "3-papermill"; absent when
	// no record vouches for the file.
	Step string `json:"step,omitempty"`
	// Problem is why the file is not what it should be; absent when it is.
	Problem string `json:"problem,omitempty"`
}

// Encode writes m as indented JSON.
func (m *Manifest) Encode(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(m)
}

// Sums writes the lines of SHA256SUMS: the manifest's own, then those of its files.
func (m *Manifest) Sums(w io.Writer, manifestSHA256 string) error {
	lines := []string{sumLine(manifestSHA256, ManifestName)}
	for _, f := range m.Files {
		lines = append(lines, sumLine(f.SHA256, f.Path))
	}
	_, err := io.WriteString(w, strings.Join(lines, ""))
	return err
}

// sumEscapes is how coreutils writes names that would break its lines.
var sumEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)

// sumLine is a line as sha256sum writes it: a backslash before the digest says
// that the name is escaped.
func sumLine(sum, name string) string {
	escaped := sumEscapes.Replace(name)
	if escaped != name {
		return `\` + sum + "  " + escaped + "\n"
	}
	return sum + "  " + name + "\n"
}

// ReadManifest reads the manifest of a directory of artifacts.
func ReadManifest(dir *os.Root) (*Manifest, error) {
	f, err := dir.Open(ManifestName)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// One that somebody else has put there may be anything.
	d := json.NewDecoder(io.LimitReader(f, 64<<20))
	d.DisallowUnknownFields()
	m := &Manifest{}
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestName, err)
	}
	return m, m.valid()
}

func (m *Manifest) valid() error {
	if m.Schema != record.Schema || !runID.MatchString(m.Run) {
		return errors.New(ManifestName + " is not step-runner's")
	}
	return nil
}

// lists says whether name is the manifest's, or one of the files that lie beside
// it, or a directory of one.
func (m *Manifest) lists(name string) bool {
	if slices.Contains([]string{".", ManifestName, SumsName, Lite.SummaryName(), Original.SummaryName()}, name) {
		return true
	}
	return slices.ContainsFunc(m.Files, func(f ManifestFile) bool {
		return f.Path == name || strings.HasPrefix(f.Path, name+"/")
	})
}
