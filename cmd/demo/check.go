package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/steps/leak"
)

// published are the nine files that a run leaves, by the names that the seed gave
// them.
func (d *demo) published() []string {
	v := d.variant
	return []string{
		"artifacts/" + v.FileName("output_analysis", ".ipynb"),
		"artifacts/" + v.FileName("output_analysis", ".html"),
		"artifacts/" + v.FileName("coverage", ".xml"),
		"artifacts/" + v.FileName("pytest_results", ".xml"),
		"artifacts/" + v.FileName("pytest_report", ".html"),
		"artifacts/papermill.log",
		"artifacts/jupyter_nbconvert.log",
		"artifacts/pytest_output.log",
		d.variant.SummaryName(),
	}
}

func (d *demo) report(w io.Writer, code int, took time.Duration) {
	fmt.Fprintf(w, "\ndemo: step-runner's exit code is %d, after %s\n", code, took.Round(time.Second))
	for _, line := range [][2]string{
		{"summary", d.variant.SummaryName()},
		{"notebook", "artifacts/" + d.variant.FileName("output_analysis", ".html")},
		{"tests", "artifacts/" + d.variant.FileName("pytest_report", ".html")},
		{"artifacts", "artifacts/"},
		{"records", "runs/" + d.id + "/records/"},
	} {
		fmt.Fprintf(w, "  %-10s %s\n", line[0], d.workspace+"/"+line[1])
	}
}

// check looks at what was left, and believes no record.
func (d *demo) check(w io.Writer) error {
	var errs []error
	for _, name := range d.published() {
		info, err := os.Stat(filepath.Join(d.workspace, name))
		switch {
		case err != nil:
			errs = append(errs, err)
		case info.Size() == 0:
			errs = append(errs, fmt.Errorf("%s is empty", name))
		}
	}
	sums, err := checkSums(filepath.Join(d.workspace, "artifacts"))
	errs = append(errs, err, d.checkData())
	files, err := leak.Search(d.workspace, d.token)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Fprintf(w, "  %-10s %s as served, read from ./h5/ by the notebook, in %d requests", "data", dataFile, len(d.data.server.Requests(d.data.path)))
	if d.variant == artifacts.Lite {
		fmt.Fprintf(w, "; %d of %d cells, %d of %d genes", liteCells, allCells, liteGenes, allGenes)
	}
	fmt.Fprintf(w, "\n  %-10s all %d published files are there, %d digests match SHA256SUMS, the token is in none of %d files\n",
		"checks", len(d.published()), sums, files)
	return nil
}

// checkSums does what `sha256sum -c SHA256SUMS` does in dir, and counts the lines.
func checkSums(dir string) (int, error) {
	b, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		return 0, err
	}
	n := 0
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); n++ {
		want, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok {
			return n, fmt.Errorf("SHA256SUMS: line %d is malformed", n+1)
		}
		f, err := artifacts.Digest(filepath.Join(dir, name))
		if err != nil {
			return n, err
		}
		if f.SHA256 != want {
			return n, fmt.Errorf("%s does not match its digest in SHA256SUMS", name)
		}
	}
	if n == 0 {
		return n, errors.New("SHA256SUMS is empty")
	}
	return n, nil
}
