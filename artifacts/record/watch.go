package record

// Watch is what a notebook did to the GPUs and to memory, by samples: what lies
// between two of them is not seen. A nil number is unknown, not zero.
type Watch struct {
	// File holds the samples, one JSON object a line; it is relative to the run directory.
	File string `json:"file"`
	// IntervalSeconds is the time between two samples that was asked for.
	IntervalSeconds float64 `json:"interval_seconds"`
	// Samples counts those of the host, GPUSamples those of the GPUs.
	Samples    int `json:"samples"`
	GPUSamples int `json:"gpu_samples"`
	// GPUError is why the GPUs were not watched, or not to the end.
	GPUError string       `json:"gpu_error,omitempty"`
	Devices  []WatchedGPU `json:"devices,omitempty"`
	// HostPeakBytes is the highest sum of the processes' resident sets; memory that
	// they share counts for each.
	HostPeakBytes uint64 `json:"host_peak_bytes"`
	// CgroupPeakBytes is that of the container, without file pages that can be given up.
	CgroupPeakBytes  *uint64 `json:"cgroup_peak_bytes,omitempty"`
	CgroupLimitBytes *uint64 `json:"cgroup_limit_bytes,omitempty"`
	// Cells are those that took longest and those with the highest peaks, in order.
	Cells []CellUse `json:"cells,omitempty"`
	// CellsTimed counts all that have times.
	CellsTimed int `json:"cells_timed"`
	// XIDsWatched says whether the driver tells of XIDs here.
	XIDsWatched bool        `json:"xids_watched"`
	XIDs        []XIDReport `json:"xids,omitempty"`
	// Leaked are processes that the notebook left behind and that had CUDA open.
	Leaked   []GPULeak `json:"leaked,omitempty"`
	Timeline *Timeline `json:"timeline,omitempty"`
}

// WatchedGPU is a device, or a MIG instance, during a notebook.
type WatchedGPU struct {
	Index      int     `json:"index"`
	UUID       string  `json:"uuid"`
	Name       string  `json:"name,omitempty"`
	TotalBytes *uint64 `json:"total_bytes,omitempty"`
	// BeforeBytes was in use before the notebook began, AfterBytes when all that it
	// had started was gone. Other programs on the device count too.
	BeforeBytes *uint64 `json:"before_bytes,omitempty"`
	PeakBytes   *uint64 `json:"peak_bytes,omitempty"`
	AfterBytes  *uint64 `json:"after_bytes,omitempty"`
	// The rest are means, but for PeakWatts.
	UtilizationPercent *float64 `json:"utilization_percent,omitempty"`
	Watts              *float64 `json:"watts,omitempty"`
	PeakWatts          *float64 `json:"peak_watts,omitempty"`
	ClockMHz           *float64 `json:"sm_mhz,omitempty"`
	// Lost is why the device stopped answering.
	Lost string `json:"lost,omitempty"`
}

// CellUse is what was seen while a cell ran.
type CellUse struct {
	// Number counts code cells of the original notebook from 1.
	Number  int     `json:"number"`
	Source  string  `json:"source"`
	Seconds float64 `json:"seconds"`
	// GPUPeakBytes is the most memory in use on one device.
	GPUPeakBytes       *uint64  `json:"gpu_peak_bytes,omitempty"`
	HostPeakBytes      *uint64  `json:"host_peak_bytes,omitempty"`
	UtilizationPercent *float64 `json:"utilization_percent,omitempty"`
}

// XIDReport is an error that the driver reported of a device meanwhile. It does not
// say which program was concerned.
type XIDReport struct {
	UUID string `json:"uuid"`
	Code uint64 `json:"code"`
	// Class is "application", "fatal" or "other"; Meaning is "" for a code that is not known.
	Class   string `json:"class"`
	Meaning string `json:"meaning,omitempty"`
	Count   int    `json:"count"`
}

// GPULeak is a process that outlived its notebook with CUDA open, and was ended.
type GPULeak struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
	// Bytes is what it held on all devices, nil when the driver does not tell.
	Bytes *uint64 `json:"bytes,omitempty"`
}

// Timeline is the course of a notebook in equal parts of its time.
type Timeline struct {
	Seconds float64 `json:"seconds"`
	// GPUBytes is the peak on one device in each part, HostBytes that of the processes.
	GPUBytes  []uint64 `json:"gpu_bytes,omitempty"`
	HostBytes []uint64 `json:"host_bytes,omitempty"`
}
