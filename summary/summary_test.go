package summary

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
)

var update = flag.Bool("update", false, "write the goldens anew")

func number[T any](n T) *T { return &n }

// passed returns the records of a run that passed, in which every list and
// every text of the facts is filled.
func passed() []*record.Record {
	digest := func(c string) string { return strings.Repeat(c, 64) }
	file := func(name, c string, n int64) record.File {
		return record.File{Path: "artifacts/" + name, Bytes: n, SHA256: digest(c)}
	}
	committed := time.Date(2026, 11, 20, 8, 0, 0, 0, time.FixedZone("", 3600))
	nb, page := file("output_analysis_lite.ipynb", "a", 1_234_567), file("output_analysis_lite.html", "b", 2_345_678)
	cov, junit := file("coverage_lite.xml", "c", 4096), file("pytest_results_lite.xml", "d", 999)
	slowest := []record.Cell{{Number: 7, Source: "\n# Neighbours\nsc.pp.neighbors(adata)", Seconds: 61.25}, {Number: 2, Source: "import scanpy as sc", Seconds: 3.5}}
	facts := []any{
		&record.SetupFacts{
			Versions: map[string]string{"python": "3.12.1", "papermill": "2.7.0"}, Python: "/usr/bin/python3",
			GPUFacts: record.GPUFacts{Driver: "580.159.04", CUDA: "13.0", GPUs: []record.GPU{
				{Index: 0, Name: "NVIDIA H100 80GB HBM3", UUID: "GPU-1", MemoryTotalBytes: number(uint64(85520809984)), MemoryFreeBytes: number(uint64(85000000000))},
				{Index: 1, Name: "NVIDIA H100 80GB HBM3", UUID: "GPU-2"},
			}},
		},
		&record.CloneFacts{URL: "https://github.com/example/blueprints.git", Dir: "/w/clones/b/1a", Commit: strings.Repeat("1a", 20), CommitterDate: &committed},
		&record.PapermillFacts{Cells: record.Cells{Total: 13, Run: 12, Skipped: 1}, Seconds: 70, Slowest: slowest, Notebooks: []record.Notebook{
			{Input: "/w/clones/b/1a/notebooks/01_scRNA_analysis_preprocessing.ipynb", Output: nb.Path, Cells: record.Cells{Total: 13, Run: 12, Skipped: 1}, Seconds: 70, Prepared: []string{"cell 13 shuts the kernel down: tagged skip-execution"}, AllowedErrors: []record.CellError{{Name: "KeyError", Value: "'x'", Cell: 4}}, RMM: managed(), Watch: watched(), Lite: lite()},
		}},
		&record.NbconvertFacts{Pages: []record.Page{{Input: nb.Path, Output: page.Path}}},
		&record.CloneFacts{URL: "https://github.com/example/tests.git", Revision: "v1.2", Commit: strings.Repeat("2b", 20)},
		&record.PytestFacts{Tests: 9, Passed: 7, Skipped: 1, XFailed: 1, Coverage: number(87.25), Seconds: 4.2, Env: record.TestEnv{Installer: "uv", Python: "3.12.1", Cached: true}},
		&record.CollectFacts{Count: 4, Bytes: 3_585_340, Published: true},
	}
	start := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	var rs []*record.Record
	for i, id := range record.Workflow[:7] {
		end := start.Add(time.Duration(i*i)*7*time.Second + 400*time.Millisecond)
		rs = append(rs, &record.Record{
			Schema: record.Schema, ID: id, Run: "demo", Variant: "lite", Status: record.StatusSucceeded, Started: start, Ended: &end,
			Argv: []string{"step-runner", "run"}, ExitCode: number(0), Log: "logs/" + id.String() + ".log", Outputs: []record.File{}, Facts: facts[i],
			Children: []record.Child{{Argv: []string{"python", "-m", id.Name}, Seconds: 1}},
		})
		start = end
	}
	rs[2].Outputs, rs[3].Outputs, rs[5].Outputs = []record.File{nb}, []record.File{page}, []record.File{cov, junit}
	rs[5].Notes = []string{"poetry is not there: uv is used"}
	rs[6].Inputs, rs[6].Outputs = []record.File{nb, page, cov, junit}, []record.File{file("manifest.json", "e", 700), file("papermill.log", "f", 0)}
	return rs
}

// lite is a notebook of which one file was cut before the run.
func lite() *record.Lite {
	before, after := record.Shape{Cells: 1_200_000, Genes: 60_000}, record.Shape{Cells: 50_000, Genes: 10_000}
	return &record.Lite{
		Way: record.LiteCut, MaxCells: 50_000, MaxGenes: 10_000,
		Placed: []record.LitePlaced{{Path: "./h5/dli_census.h5ad", Manifest: "work/x.subsample.json", Subsample: record.Subsample{Way: record.WayCut, Before: before, After: after}}},
		Reads:  []record.LiteRead{{Path: "./h5/dli_census.h5ad", Reader: "h5py", Way: "placed", Before: before, After: after}},
	}
}

// managed is a notebook whose own pool was held within the policy.
func managed() *record.RMM {
	override := record.RMMOverride{Call: "reinitialize", Asked: `{"devices": [0, 1]}`, Applied: `{"devices": [0]}`}
	return &record.RMM{
		Policy: record.RMMPolicy{Mode: "pool", LimitBytes: number(uint64(4 << 30))}, PeakBytes: 3 << 30, Allocations: 12, Overrides: 1,
		Processes: []record.RMMProcess{{PID: 7, State: "applied", Overrides: []record.RMMOverride{override}}},
	}
}

// watched is a notebook that was watched on two GPUs.
func watched() *record.Watch {
	gib := func(n float64) *uint64 { return number(uint64(n * (1 << 30))) }
	return &record.Watch{
		File: "logs/gpu.ndjson", IntervalSeconds: 0.1, Samples: 700, GPUSamples: 700, HostPeakBytes: 9 << 30, CgroupPeakBytes: gib(11), CgroupLimitBytes: gib(32),
		Devices: []record.WatchedGPU{
			{Index: 0, UUID: "GPU-1", TotalBytes: gib(80), BeforeBytes: gib(0.5), PeakBytes: gib(3.5), AfterBytes: gib(0.5), UtilizationPercent: number(41.7), Watts: number(301.2)},
			{Index: 1, UUID: "GPU-2"},
		},
		Cells: []record.CellUse{
			{Number: 2, Source: "import scanpy as sc", Seconds: 3.5, HostPeakBytes: gib(1)},
			{Number: 7, Source: "\n# Neighbours\nsc.pp.neighbors(adata)", Seconds: 61.25, GPUPeakBytes: gib(3.5), HostPeakBytes: gib(9), UtilizationPercent: number(93.4)},
		},
		CellsTimed: 12, XIDsWatched: true, XIDs: []record.XIDReport{{UUID: "GPU-1", Code: 31, Class: "application", Meaning: "GPU memory page fault", Count: 2}, {UUID: "GPU-1", Code: 999, Class: "other", Count: 1}},
		Leaked:   []record.GPULeak{{PID: 77, Name: "dask", Bytes: gib(2)}, {PID: 78, Name: "python"}},
		Timeline: &record.Timeline{Seconds: 70, GPUBytes: []uint64{0, 1 << 30, 2 << 30, 7 << 29}, HostBytes: []uint64{1 << 30, 9 << 30, 0}},
	}
}

// Of many cells those are shown that took longest, and that with each peak.
func TestTopCells(t *testing.T) {
	var cells []record.CellUse
	for i := range 30 {
		cells = append(cells, record.CellUse{Number: i + 1, Seconds: float64(i), HostPeakBytes: number(uint64(100 - i))})
	}
	cells[3].GPUPeakBytes = number(uint64(5))
	var numbers []int
	for _, c := range topCells(cells) {
		numbers = append(numbers, c.Number)
	}
	assert.Equal(t, []int{1, 4, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30}, numbers)
	assert.Empty(t, topCells(nil))
}

func ends(r *record.Record, s record.Status, f *record.Failure, child record.Child) {
	r.Status, r.Failure, r.ExitCode, r.Children = s, f, number(record.ExitCode(f)), []record.Child{child}
}

func skips(rs ...*record.Record) {
	for _, r := range rs {
		ends(r, record.StatusSkipped, record.Failf(record.NotRun, "step 3 (papermill) of run demo has failed"), record.Child{})
		r.Children, r.Outputs, r.Inputs, r.Notes = nil, []record.File{}, nil, nil
	}
	rs[0].Facts = &record.NbconvertFacts{}
}

// fetching puts data before the notebooks of a run.
func fetching(rs []*record.Record) []*record.Record {
	at := rs[1].Ended.Add(time.Second)
	return slices.Insert(rs, 2, &record.Record{
		Schema: record.Schema, ID: record.FetchData, Run: "demo", Variant: "lite", Status: record.StatusSucceeded, Started: *rs[1].Ended, Ended: &at,
		ExitCode: number(0), Log: "logs/0-fetch-data.log", Outputs: []record.File{}, Facts: &record.FetchFacts{Datasets: []record.Dataset{
			{Name: "dli_census", URL: "https://example.com/h5/dli_census.h5ad", Format: "plain", Dir: "/w/datasets/dli_census", Bytes: 1 << 30, SHA256: strings.Repeat("9", 64)},
			{Name: "more", URL: "https://example.com/more.tar.gz", Format: "tar.gz", Dir: "/w/datasets/more", Bytes: 1 << 20, SHA256: strings.Repeat("8", 64), Cached: true},
		}},
	})
}

func dataFailed() []*record.Record {
	rs := notebookFailed()
	skips(rs[3:6]...)
	skips(rs[2])
	rs[2].Facts, rs[2].Failure, rs[4].Facts = &record.PapermillFacts{}, record.Failf(record.NotRun, "fetch-data of run demo has failed"), &record.CloneFacts{}
	rs = fetching(rs)
	rs[2].Facts.(*record.FetchFacts).Datasets = rs[2].Facts.(*record.FetchFacts).Datasets[:1]
	rs[2].Facts.(*record.FetchFacts).Datasets[0].Bytes, rs[2].Facts.(*record.FetchFacts).Datasets[0].SHA256 = 0, ""
	ends(rs[2], record.StatusFailed, record.Failf(record.FetchNotFound, "dataset dli_census from https://example.com/h5/dli_census.h5ad: 404 Not Found"), record.Child{})
	rs[2].Children = nil
	return rs
}

func notebookFailed() []*record.Record {
	rs := passed()
	f := rs[2].Facts.(*record.PapermillFacts)
	f.Cells, f.Notebooks[0].Cells = record.Cells{Total: 13, Run: 2, Failed: 1, Skipped: 10}, record.Cells{Total: 13, Run: 2, Failed: 1, Skipped: 10}
	f.Error = &record.CellError{Name: "ValueError", Value: "matrix is empty\n  after filtering", Cell: 3, Source: "adata = adata[adata.obs.n_genes > 1e9]\nsc.pp.pca(adata)"}
	f.Notebooks[0].Error, f.Notebooks[0].Kind = f.Error, record.NotebookFailed
	ends(rs[2], record.StatusFailed, record.Failf(record.NotebookFailed, "01_scRNA_analysis_preprocessing.ipynb: cell 3 raised ValueError: matrix is empty"), record.Child{Argv: []string{"python", "-m", "papermill", "in.ipynb", "out.ipynb"}, ExitCode: 1, Seconds: 12.5})
	skips(rs[5])
	rs[5].Facts = &record.PytestFacts{}
	ends(rs[6], record.StatusFailed, record.Failf(record.ArtifactMissing, "missing artifacts: coverage_lite.xml: step 6 (pytest) has status skipped"), record.Child{})
	rs[6].Children, rs[6].Inputs = nil, rs[6].Inputs[:2]
	rs[6].Facts = &record.CollectFacts{Count: 2, Bytes: 3_580_245, Published: true, Missing: []string{"coverage_lite.xml: step 6 (pytest) has status skipped"}}
	return rs
}

func testsFailed() []*record.Record {
	rs := passed()
	f := rs[5].Facts.(*record.PytestFacts)
	f.Passed, f.Failures, f.Errors, f.Coverage = 5, 1, 1, nil
	f.Failed = []record.Testcase{
		{Name: "test_umap[lite]", Classname: "tests.test_page", Outcome: "failure", Seconds: 0.25, Message: "AssertionError: no UMAP in the page\nassert 'UMAP' in html\n"},
		{Name: "test_page", Outcome: "error", Seconds: 61, Message: "fixture teardown: OSError"},
	}
	ends(rs[5], record.StatusFailed, record.Failf(record.TestsFailed, "2 of 9 tests failed: test_umap[lite], test_page"), record.Child{Argv: []string{"python", "-m", "pytest"}, ExitCode: 1, Seconds: 4.5})
	return rs
}

func interrupted() []*record.Record {
	rs := passed()[:3]
	rs[2].Facts, rs[2].Ended, rs[2].Children = &record.PapermillFacts{}, nil, nil
	rs[2].Status, rs[2].Failure, rs[2].ExitCode = record.StatusInterrupted, record.Failf(record.Killed, "papermill was killed before it could write its result"), number(137)
	rs[0].Facts.(*record.SetupFacts).GPUFacts = record.GPUFacts{GPUError: "no NVIDIA driver library in this container"}
	for _, r := range rs {
		r.Argv = []string{"step-runner", r.Name, "--run=demo"} // Each in a pod of its own.
	}
	return rs
}

func stopped() []*record.Record {
	rs := notebookFailed()
	ends(rs[2], record.StatusInterrupted, record.BySignal(syscall.SIGTERM), record.Child{Argv: []string{"python"}, ExitCode: -1, Signal: "terminated", Seconds: 3})
	rs[2].Facts.(*record.PapermillFacts).Error = nil
	rs[6].Facts = &record.CollectFacts{
		Missing: []string{"coverage_lite.xml: step 6 (pytest) has status skipped"}, Invalid: []string{"output_analysis_lite.ipynb: not a notebook: unexpected EOF"},
		Leaked: []string{"env.txt"}, Refused: []string{"artifacts/link"}, LeftOut: []string{"core.123"},
	}
	return rs
}

func report(rs []*record.Record, unreadable ...artifacts.Unreadable) *Report {
	v := artifacts.Verdict{Records: rs, Unreadable: unreadable}
	v.Word, v.First, v.Failure = record.Judge(rs)
	if len(unreadable) > 0 && v.Word != record.RunFailed {
		v.Word, v.First, v.Failure = record.RunFailed, nil, record.AsFailure(unreadable[0].Err)
	}
	return &Report{Run: "demo", Variant: artifacts.Lite, Runner: "1.0.0", Verdict: v}
}

func TestGoldens(t *testing.T) {
	original := report(passed())
	original.Variant = artifacts.Original
	original.Records[2].Facts.(*record.PapermillFacts).Notebooks[0].Lite = nil
	_, corrupt := record.Decode(strings.NewReader(`{"schema":1`))
	for name, r := range map[string]*Report{
		"passed":          report(passed()),
		"passed-original": original,
		"fetched":         report(fetching(passed())),
		"data-failed":     report(dataFailed()),
		"notebook-failed": report(notebookFailed()),
		"tests-failed":    report(testsFailed()),
		"incomplete":      report(passed()[:5]),
		"interrupted":     report(interrupted()),
		"stopped":         report(stopped()),
		"unreadable":      report(passed()[1:], artifacts.Unreadable{ID: record.Setup, Err: record.Failf(record.BadInput, "record 1-setup.json: %w", corrupt)}),
		"nothing":         report(nil),
		"hostile":         report(hostile(strings.Join(nasty, ""))),
	} {
		t.Run(name, func(t *testing.T) {
			got := string(r.Markdown(Limit))
			path := filepath.Join("testdata", name+".md")
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
			assert.Equal(t, got, string(r.Markdown(Limit)), "the same records give the same bytes")
		})
	}
}

// TestCompletedLineOnlyWhenPassed tries every status of every step, and no record.
func TestCompletedLineOnlyWhenPassed(t *testing.T) {
	for i := range 7 {
		for _, s := range []record.Status{record.StatusSucceeded, record.StatusFailed, record.StatusSkipped, record.StatusInterrupted, record.StatusTimedOut, record.StatusRunning, ""} {
			for _, v := range []artifacts.Variant{artifacts.Lite, artifacts.Original} {
				rs := passed()
				switch s {
				case record.StatusSucceeded:
				case "":
					rs = append(rs[:i], rs[i+1:]...)
				case record.StatusRunning:
					rs[i].Status, rs[i].ExitCode, rs[i].Ended = s, nil, nil
				default:
					ends(rs[i], s, record.Failf(record.NotRun, "%s", record.CompletedMessage), record.Child{})
				}
				r := report(rs)
				r.Variant = v
				text := string(r.Markdown(Limit))
				assert.Equal(t, s == record.StatusSucceeded, strings.Contains(text, record.CompletedMessage), "step %d %s", i+1, s)
				assert.Equal(t, s == record.StatusSucceeded, strings.HasPrefix(text, "# ✅ PASSED"))
				assert.Equal(t, v == artifacts.Lite, strings.Contains(strings.SplitN(text, "\n", 2)[0], "LITE"))
			}
		}
	}
	text := string(report(passed(), artifacts.Unreadable{ID: record.Pytest, Err: errors.New("boom")}).Markdown(Limit))
	assert.NotContains(t, text, record.CompletedMessage)
	assert.True(t, strings.HasPrefix(text, "# ❌ FAILED (LITE)"))
}

func TestLongListsAreCutAndTheVerdictIsNot(t *testing.T) {
	rs := testsFailed()
	f := rs[5].Facts.(*record.PytestFacts)
	for i := range 3000 {
		f.Failed = append(f.Failed, record.Testcase{Name: fmt.Sprintf("test_%d", i), Outcome: "failure", Message: strings.Repeat("long 😀", 1000)})
		rs[6].Inputs = append(rs[6].Inputs, record.File{Path: fmt.Sprintf("artifacts/%d-%s", i, strings.Repeat("|", 250)), SHA256: strings.Repeat("a", 64)})
		rs[5].Notes = append(rs[5].Notes, strings.Repeat("<|>", 200))
	}
	rs[5].Failure.Message = strings.Repeat("x\n", 1<<20)
	for _, limit := range []int{Limit, MinLimit} {
		text := string(report(rs).Markdown(limit))
		assert.LessOrEqual(t, len(text), limit)
		assert.True(t, strings.HasPrefix(text, "# ❌ FAILED (LITE): step 6 (pytest), `tests-failed`\n"))
		assert.Regexp(t, `\n\d+ tests more not shown`, text)
		assert.Regexp(t, `\n\d+ files more not shown`, text)
		assert.Contains(t, text, "[… the middle is left out …]")
		assert.Contains(t, text, "| 8 | summary |")
	}
}

func TestRedact(t *testing.T) {
	rs := hostile("ghp_secret_token")
	r := report(rs)
	r.Redact = strings.NewReplacer("ghp_secret_token", "***").Replace
	text := string(r.Markdown(Limit))
	assert.NotContains(t, text, "ghp")
	assert.Contains(t, text, "`***`")
}

func TestSeconds(t *testing.T) {
	for s, want := range map[float64]string{
		0: "0.0 s", 0.04: "0.0 s", 0.05: "0.1 s", 59.94: "59.9 s", 59.96: "1 m 00 s", 61: "1 m 01 s", 3599.4: "59 m 59 s", 3599.6: "1 h 00 m", 7380: "2 h 03 m", -1: "–",
	} {
		assert.Equal(t, want, seconds(s), s)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 1<<20 - 1: "1.0 MiB", 1536: "1.5 KiB", 80 << 30: "80.0 GiB", 3 << 40: "3.0 TiB", 5 << 50: "5120.0 TiB",
	} {
		assert.Equal(t, want, size(n), n)
	}
}
