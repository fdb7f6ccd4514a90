package record

import (
	"fmt"
	"time"
)

// newFacts returns an empty facts value for the step called name.
func newFacts(name string) (any, error) {
	switch name {
	case "setup":
		return &SetupFacts{}, nil
	case "gpu-check":
		return &GPUFacts{}, nil
	case "clone":
		return &CloneFacts{}, nil
	case "papermill":
		return &PapermillFacts{}, nil
	case "nbconvert":
		return &NbconvertFacts{}, nil
	case "pytest":
		return &PytestFacts{}, nil
	case "collect":
		return &CollectFacts{}, nil
	case "summary", "run":
		return &VerdictFacts{}, nil
	case "install":
		return &InstallFacts{}, nil
	}
	return nil, fmt.Errorf("unknown step %q", name)
}

// SetupFacts says what the container and the workspace offer.
type SetupFacts struct {
	// Versions maps a tool ("python", "papermill", "uv", …) to its version.
	Versions map[string]string `json:"versions"`
	// Python is the interpreter that has the tools.
	Python     string `json:"python"`
	FreeBytes  uint64 `json:"free_bytes"`
	FreeInodes uint64 `json:"free_inodes"`
	SHMBytes   uint64 `json:"shm_bytes"`
	UID        int    `json:"uid"`
	GPUFacts
}

// GPUFacts is what the probe saw.
type GPUFacts struct {
	// Driver and CUDA are versions, "" when unknown.
	Driver string `json:"driver,omitempty"`
	CUDA   string `json:"cuda,omitempty"`
	GPUs   []GPU  `json:"gpus"`
	// GPUError is why there is no usable GPU when that was allowed.
	GPUError string `json:"gpu_error,omitempty"`
}

// GPU is one device. A nil number is unknown, not zero.
type GPU struct {
	Index            int     `json:"index"`
	Name             string  `json:"name"`
	UUID             string  `json:"uuid"`
	MemoryTotalBytes *uint64 `json:"memory_total_bytes,omitempty"`
	MemoryFreeBytes  *uint64 `json:"memory_free_bytes,omitempty"`
	// Processes holds the ids of the processes that use the device.
	Processes []uint32 `json:"processes,omitempty"`
}

// CloneFacts says what was cloned and where it lies.
type CloneFacts struct {
	// URL has no credentials.
	URL      string `json:"url"`
	Revision string `json:"revision"`
	// Commit is the full hash.
	Commit        string     `json:"commit"`
	CommitterDate *time.Time `json:"committer_date,omitempty"`
	// Dir is absolute.
	Dir    string `json:"dir"`
	Reused bool   `json:"reused"`
	// Backup is where an earlier content of Dir was moved.
	Backup      string   `json:"backup,omitempty"`
	Attempts    int      `json:"attempts"`
	LFSPointers []string `json:"lfs_pointers,omitempty"`
	// Staged are the files copied in by --stage, relative to Dir.
	Staged []string `json:"staged,omitempty"`
}

// Cells counts the code cells of a notebook that have something to run.
type Cells struct {
	Total int `json:"total"`
	// Run were executed to their end without an error.
	Run    int `json:"run"`
	Failed int `json:"failed"`
	// Skipped were not executed: tagged skip-execution, or after the end.
	Skipped int `json:"skipped"`
}

// Add sums two counts.
func (c Cells) Add(d Cells) Cells {
	return Cells{c.Total + d.Total, c.Run + d.Run, c.Failed + d.Failed, c.Skipped + d.Skipped}
}

// Cell is one code cell that is worth telling about.
type Cell struct {
	// Number counts code cells of the original notebook from 1.
	Number  int     `json:"number"`
	Source  string  `json:"source"`
	Seconds float64 `json:"seconds"`
}

// CellError is the error that ended a notebook.
type CellError struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// Cell is 0 when no cell can be named.
	Cell   int    `json:"cell"`
	Source string `json:"source"`
}

// Notebook is the run of one notebook.
type Notebook struct {
	Input string `json:"input"`
	// Output is relative to the run directory.
	Output  string     `json:"output"`
	Kind    Kind       `json:"kind,omitempty"`
	Cells   Cells      `json:"cells"`
	Seconds float64    `json:"seconds"`
	Slowest []Cell     `json:"slowest,omitempty"`
	Error   *CellError `json:"error,omitempty"`
	// Prepared says what was changed in the copy that was run.
	Prepared []string `json:"prepared,omitempty"`
	// AllowedErrors were let through by --allow-error.
	AllowedErrors []CellError `json:"allowed_errors,omitempty"`
}

// PapermillFacts sums the notebooks; Error is that of the first one that failed.
type PapermillFacts struct {
	Cells     Cells      `json:"cells"`
	Seconds   float64    `json:"seconds"`
	Slowest   []Cell     `json:"slowest,omitempty"`
	Error     *CellError `json:"error,omitempty"`
	Notebooks []Notebook `json:"notebooks"`
}

// NbconvertFacts says which page came from which notebook.
type NbconvertFacts struct {
	Pages []Page `json:"pages"`
}

// Page is one notebook rendered to HTML; size and digest are in outputs.
type Page struct {
	Input  string `json:"input"`
	Output string `json:"output"`
}

// PytestFacts counts testcases. A testcase that both failed and errored in
// teardown is one failure and one error of one test.
type PytestFacts struct {
	Tests    int `json:"tests"`
	Passed   int `json:"passed"`
	Failures int `json:"failures"`
	Errors   int `json:"errors"`
	Skipped  int `json:"skipped"`
	XFailed  int `json:"xfailed"`
	// Coverage is in percent of lines, absent when nothing could be covered.
	Coverage *float64 `json:"coverage,omitempty"`
	// Seconds is pytest's own total.
	Seconds float64    `json:"seconds"`
	Failed  []Testcase `json:"failed,omitempty"`
	Env     TestEnv    `json:"env"`
}

// Testcase is one testcase that did not pass.
type Testcase struct {
	Name      string `json:"name"`
	Classname string `json:"classname"`
	// Outcome is "failure" or "error".
	Outcome string  `json:"outcome"`
	Message string  `json:"message"`
	Seconds float64 `json:"seconds"`
}

// TestEnv says how the tests' virtual environment was made.
type TestEnv struct {
	// Installer is "poetry", "uv" or "pip".
	Installer string `json:"installer"`
	Python    string `json:"python"`
	Cached    bool   `json:"cached"`
	// Fallbacks are the installers that were tried before, each with its reason.
	Fallbacks []string          `json:"fallbacks,omitempty"`
	Versions  map[string]string `json:"versions,omitempty"`
}

// CollectFacts counts what was collected.
type CollectFacts struct {
	Count int   `json:"count"`
	Bytes int64 `json:"bytes"`
	// Missing and Invalid name artifacts with their reason.
	Missing []string `json:"missing,omitempty"`
	Invalid []string `json:"invalid,omitempty"`
}

// VerdictFacts is the verdict on the run: "passed", "failed" or "incomplete".
type VerdictFacts struct {
	Verdict string `json:"verdict"`
}

// InstallFacts says where the binary was put.
type InstallFacts struct {
	Path string `json:"path"`
}
