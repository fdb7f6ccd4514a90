package record

// RMMFacts is what the command rmm has shown or verified.
type RMMFacts struct {
	GPUFacts
	// Policy is nil when none would be applied.
	Policy *RMMPolicy `json:"policy,omitempty"`
	// Checks are those of verify, in order.
	Checks []RMMCheck `json:"checks,omitempty"`
	// RMM is the receipt of verify's process.
	RMM *RMM `json:"rmm,omitempty"`
}

// RMMCheck is one check of verify.
type RMMCheck struct {
	Name   string `json:"name"`
	Status string `json:"status" jsonschema:"enum=ok,enum=failed,enum=skipped"`
	// Detail is what was found, or why the check failed or was skipped.
	Detail string `json:"detail"`
}

// RMM is the memory policy of a notebook, and what became of it. Without a process
// nothing has imported rmm.
type RMM struct {
	Policy    RMMPolicy    `json:"policy"`
	Processes []RMMProcess `json:"processes,omitempty"`
	// PeakBytes is the highest peak of a process, Allocations the sum of all.
	PeakBytes   uint64 `json:"peak_bytes"`
	Allocations uint64 `json:"allocations"`
	// Overrides counts calls of the notebook's own that the policy has changed or let through.
	Overrides int `json:"overrides"`
	// Error is why the policy was not applied, in the first process where it was not.
	Error string `json:"error,omitempty"`
}

// RMMPolicy is what was asked for. A nil size is no wish.
type RMMPolicy struct {
	// Mode is "pool", "async", "managed" or "cuda".
	Mode             string   `json:"mode"`
	InitialPoolBytes *uint64  `json:"initial_pool_bytes,omitempty"`
	MaximumPoolBytes *uint64  `json:"maximum_pool_bytes,omitempty"`
	LimitBytes       *uint64  `json:"limit_bytes,omitempty"`
	Allocators       []string `json:"allocators,omitempty"`
}

// RMMProcess is one process that imported rmm, as it last told of itself: a kernel
// after each cell, any other process when it ends.
type RMMProcess struct {
	PID  int      `json:"pid"`
	Argv []string `json:"argv,omitempty"`
	// State is "applied"; "failed"; "importing" when the process ended while rmm was
	// being imported; "absent" when rmm is not installed.
	State   string `json:"state"`
	Version string `json:"version,omitempty"`
	Devices []int  `json:"devices,omitempty"`
	// Resource is the last one in use, outermost first: "statistics(limiting(pool(cuda)))".
	Resource string `json:"resource,omitempty"`
	// The pool's sizes are nil when RMM chose them.
	InitialPoolBytes *uint64       `json:"initial_pool_bytes,omitempty"`
	MaximumPoolBytes *uint64       `json:"maximum_pool_bytes,omitempty"`
	Allocators       []string      `json:"allocators,omitempty"`
	Overrides        []RMMOverride `json:"overrides,omitempty"`
	PeakBytes        uint64        `json:"peak_bytes"`
	Allocations      uint64        `json:"allocations"`
	Error            string        `json:"error,omitempty"`
}

// RMMOverride is a call of the notebook's own: what it asked for and what it got,
// as JSON.
type RMMOverride struct {
	Call    string `json:"call"`
	Asked   string `json:"asked"`
	Applied string `json:"applied"`
}
