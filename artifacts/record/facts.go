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
	case "rmm":
		return &RMMFacts{}, nil
	case "fetch-data":
		return &FetchFacts{}, nil
	case "install":
		return &InstallFacts{}, nil
	case "subsample":
		return &SubsampleFacts{}, nil
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
	GID        int    `json:"gid"`
	// Installed says that Python lies in an environment that setup made, with
	// which installer, and whether it was there already.
	Installed *TestEnv `json:"installed,omitempty"`
	GPUFacts
}

// GPUFacts is what the probe saw.
type GPUFacts struct {
	// Driver is the driver's version, CUDA the newest CUDA version that it
	// supports; "" when unknown.
	Driver string `json:"driver,omitempty"`
	CUDA   string `json:"cuda,omitempty"`
	// Source is who was asked for GPUs: "nvml" or "nvidia-smi".
	Source string `json:"gpu_source,omitempty"`
	GPUs   []GPU  `json:"gpus"`
	// CUDADevices are those that a CUDA program sees in this environment, nil when
	// CUDA could not be asked.
	CUDADevices []CUDADevice `json:"cuda_devices,omitempty"`
	// VisibleDevices is CUDA_VISIBLE_DEVICES, absent when it is not set.
	VisibleDevices *string `json:"cuda_visible_devices,omitempty"`
	// NVMLSeconds and CUDASeconds are the time that each library took to answer.
	NVMLSeconds float64 `json:"nvml_seconds,omitempty"`
	CUDASeconds float64 `json:"cuda_seconds,omitempty"`
	// GPUError is why there is no usable GPU when that was allowed.
	GPUError string `json:"gpu_error,omitempty"`
}

// GPU is one device, or one MIG instance of a device. A nil number and an empty
// text are unknown, not zero: a driver may not support or not permit a question.
type GPU struct {
	Index               int     `json:"index"`
	Name                string  `json:"name"`
	UUID                string  `json:"uuid"`
	MemoryTotalBytes    *uint64 `json:"memory_total_bytes,omitempty"`
	MemoryFreeBytes     *uint64 `json:"memory_free_bytes,omitempty"`
	MemoryReservedBytes *uint64 `json:"memory_reserved_bytes,omitempty"`
	// UtilizationPercent is the share of the last moments in which a kernel ran.
	UtilizationPercent *uint32 `json:"utilization_percent,omitempty"`
	// ComputeCapability is like "9.0".
	ComputeCapability string `json:"compute_capability,omitempty"`
	// ComputeMode is "default", "exclusive-process", "exclusive-thread" or "prohibited".
	ComputeMode string `json:"compute_mode,omitempty"`
	// ECCUncorrected counts uncorrected memory errors since the driver was loaded.
	ECCUncorrected *uint64 `json:"ecc_uncorrected,omitempty"`
	// RemapPending says that bad memory waits for a reset of the GPU to be put out
	// of use; RemapFailed that it could not be.
	RemapPending *bool `json:"remap_pending,omitempty"`
	RemapFailed  *bool `json:"remap_failed,omitempty"`
	// Throttle names what slows the clocks down, "sw-thermal" or "hw-power-brake" say.
	Throttle []string `json:"throttle,omitempty"`
	// Processes are those that compute on the device, as far as they may be seen.
	Processes []GPUProcess `json:"processes,omitempty"`
	// Error is why the device cannot be used.
	Error string `json:"error,omitempty"`
	// MIGEnabled says that only the instances in MIG can be used.
	MIGEnabled bool  `json:"mig_enabled,omitempty"`
	MIG        []GPU `json:"mig,omitempty"`
}

// GPUProcess is a process that uses a device. The id is of the host's namespace.
type GPUProcess struct {
	PID       uint32  `json:"pid"`
	UsedBytes *uint64 `json:"used_bytes,omitempty"`
}

// CUDADevice is a device as the CUDA driver library shows it to a program.
type CUDADevice struct {
	Ordinal           int    `json:"ordinal"`
	Name              string `json:"name"`
	UUID              string `json:"uuid"`
	ComputeCapability string `json:"compute_capability,omitempty"`
	MemoryTotalBytes  uint64 `json:"memory_total_bytes,omitempty"`
	MemoryFreeBytes   uint64 `json:"memory_free_bytes,omitempty"`
	// Error is why no memory could be allocated, written and read on it.
	Error string `json:"error,omitempty"`
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
	// RMM is absent when the notebook's memory was left alone: --rmm off.
	RMM *RMM `json:"rmm,omitempty"`
	// Watch is absent when nothing was sampled.
	Watch *Watch `json:"watch,omitempty"`
	// Lite is absent when the notebook's data was left alone.
	Lite *Lite `json:"lite,omitempty"`
}

// PapermillFacts sums the notebooks; Error is that of the first one that failed.
type PapermillFacts struct {
	Cells     Cells      `json:"cells"`
	Seconds   float64    `json:"seconds"`
	Slowest   []Cell     `json:"slowest,omitempty"`
	Error     *CellError `json:"error,omitempty"`
	Notebooks []Notebook `json:"notebooks"`
	// GPU is what this container has: setup may have run in another one.
	GPU *GPUFacts `json:"gpu,omitempty"`
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
	// Leaked hold a known secret, Refused are links and devices, LeftOut nobody
	// asked for: none of them was published.
	Leaked  []string `json:"leaked,omitempty"`
	Refused []string `json:"refused,omitempty"`
	LeftOut []string `json:"left_out,omitempty"`
	// Published says that the workspace's artifacts became a copy of the run's.
	Published bool `json:"published"`
}

// VerdictFacts is the verdict on the run: "passed", "failed" or "incomplete".
type VerdictFacts struct {
	Verdict string `json:"verdict"`
}

// InstallFacts says where the binary was put.
type InstallFacts struct {
	Path string `json:"path"`
}
