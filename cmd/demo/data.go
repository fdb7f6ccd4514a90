package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/steps/fetch/fetchtest"
)

// What the data holds, and what a lite run is to keep of it: less than all, so that
// something is cut.
const (
	allCells, allGenes   = 700, 765
	liteCells, liteGenes = 500, 600
)

const (
	dataName = "dli_census"
	// dataFile is what the notebook calls the file.
	dataFile = "dli_census.h5ad"
	// dataChunk is less than the file, so that it comes in several ranges.
	dataChunk = 256 << 10
)

// data is the file that the notebook reads, on a server of its own.
type data struct {
	server      *fetchtest.Server
	path        string
	url, sha256 string
}

// serveData serves the real data set that is in scanpy's wheel, behind a redirect, as
// archives of such data are.
func serveData(tools string) (*data, error) {
	found, err := filepath.Glob(filepath.Join(tools, "lib", "python3*", "site-packages", "scanpy", "datasets", "10x_pbmc68k_reduced.h5ad"))
	if err != nil || len(found) != 1 {
		return nil, errors.Join(err, fmt.Errorf("scanpy's data set is not in %s: run make tools", tools))
	}
	content, err := os.ReadFile(found[0])
	if err != nil {
		return nil, err
	}
	d := &data{server: fetchtest.New(), path: "/files/pbmc68k.h5ad", sha256: fetchtest.Sum(content)}
	file := d.server.Put(d.path, content)
	d.url = d.server.Handle("/latest", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, file, http.StatusFound) })
	return d, nil
}

// flags are those by which a run fetches the data and, in the lite variant, cuts it.
func (d *data) flags(v artifacts.Variant) []string {
	flags := []string{
		"--fetch-data-dataset", fmt.Sprintf("%s=%s#file=%s&sha256=%s", dataName, d.url, dataFile, d.sha256),
		"--fetch-data-chunk-size", fmt.Sprint(dataChunk),
	}
	if v == artifacts.Lite {
		flags = append(flags, "--papermill-max-cells", fmt.Sprint(liteCells), "--papermill-max-genes", fmt.Sprint(liteGenes))
	}
	return flags
}

// checkData compares what the notebook has read with what was served: by the file in the
// workspace, and by what page and summary show.
func (d *demo) checkData() error {
	f, err := artifacts.Digest(filepath.Join(d.workspace, "datasets", dataName, dataFile))
	if err != nil {
		return err
	}
	if f.SHA256 != d.data.sha256 {
		return fmt.Errorf("%s is not the file that was served", f.Path)
	}
	page, err := os.ReadFile(filepath.Join(d.workspace, "artifacts", d.variant.FileName("output_analysis", ".html")))
	if err != nil {
		return err
	}
	summary, err := os.ReadFile(filepath.Join(d.workspace, d.variant.SummaryName()))
	if err != nil {
		return err
	}
	cells, genes, banner := allCells, allGenes, ""
	if d.variant == artifacts.Lite {
		cells, genes = liteCells, liteGenes
		banner = fmt.Sprintf("%d of %d cells, %d of %d genes", liteCells, allCells, liteGenes, allGenes)
	}
	var errs []error
	for _, want := range []string{"Read from: h5/" + dataFile, fmt.Sprintf("Cells loaded: %d\n", cells), fmt.Sprintf("Genes loaded: %d\n", genes)} {
		if !bytes.Contains(page, []byte(want)) {
			errs = append(errs, fmt.Errorf("the page does not say %q", strings.TrimSpace(want)))
		}
	}
	// The image data of the page's plots has no colon.
	for label, text := range map[string][]byte{"LITE: ": page, "(LITE)": summary} {
		if lite := bytes.Contains(text, []byte(label)); lite != (banner != "") || !bytes.Contains(text, []byte(banner)) {
			errs = append(errs, fmt.Errorf("%q with %q is not right in the %s variant", label, banner, d.variant))
		}
	}
	return errors.Join(errs...)
}
