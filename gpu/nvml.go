//go:build cgo

package gpu

import (
	"fmt"
	"math"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/step-runner/step-runner/artifacts/record"
)

const linked = true

func probeNVML() answer { return askNVML(nvml.New()) }

// askNVML asks for everything that is worth knowing before a run. Only a library
// that cannot be used at all is a failure.
func askNVML(lib nvml.Interface) (a answer) {
	start := time.Now()
	a.Facts = record.GPUFacts{Source: NVML, GPUs: []record.GPU{}}
	if ret := lib.Init(); ret != nvml.SUCCESS {
		a.Failure = nvmlFailure("NVML cannot be initialised", ret)
		return a
	}
	defer func() { _ = lib.Shutdown() }()
	q := &query{has: lib.Extensions().LookupSymbol}
	a.Facts.Driver = value(ask(q, "nvmlSystemGetDriverVersion", lib.SystemGetDriverVersion))
	a.Facts.CUDA = cudaVersion(value(ask(q, "nvmlSystemGetCudaDriverVersion", lib.SystemGetCudaDriverVersion)))
	n, ret := lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		a.Failure = nvmlFailure("NVML cannot count the GPUs", ret)
		return a
	}
	var broken []*record.Failure
	for i := range n {
		g, f := gpuAt(lib, i)
		a.Facts.GPUs = append(a.Facts.GPUs, g)
		if f != nil {
			broken = append(broken, f)
		}
	}
	a.Facts.NVMLSeconds = time.Since(start).Seconds()
	switch {
	case n == 0:
		a.Failure = record.Failf(record.NoGPU, "the driver %s is there but shows no GPU", a.Facts.Driver)
	case len(broken) == n:
		a.Failure = broken[0]
	}
	return a
}

// nvmlClasses are the returns that say more than that something is broken.
var nvmlClasses = map[nvml.Return]record.Kind{
	nvml.ERROR_LIBRARY_NOT_FOUND: record.NoDriver,
	nvml.ERROR_DRIVER_NOT_LOADED: record.NoDriver,
	nvml.ERROR_NOT_FOUND:         record.NoGPU,
	nvml.ERROR_GPU_NOT_FOUND:     record.NoGPU,
	nvml.ERROR_NO_PERMISSION:     record.GPUPermission,
}

// nvmlFailure converts NVML's return, the only place where that is done.
func nvmlFailure(what string, ret nvml.Return) *record.Failure {
	kind, ok := nvmlClasses[ret]
	switch {
	case ret == nvml.ERROR_LIBRARY_NOT_FOUND:
		return record.Failf(kind, "the driver's library libnvidia-ml.so.1 is not in this container")
	case ret == nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return record.Failf(record.GPUBroken, "%s: %v (NVML return %d)", what, ret, ret).WithHint("%s", hintMismatch)
	case ret == nvml.ERROR_UNKNOWN:
		return record.Failf(record.GPUBroken, "%s: %v (NVML return %d)", what, ret, ret).WithHint("%s", hintUnknown)
	case !ok:
		kind = record.GPUBroken
	}
	return record.Failf(kind, "%s: %v (NVML return %d)", what, ret, ret)
}

// query asks questions that a driver may lack, not support or not permit.
type query struct {
	has func(symbol string) error
	// lost is the return that says that the device is beyond asking.
	lost nvml.Return
}

// ask returns the answer to a question, nil when it is unknown. A symbol that the
// library lacks must not be called: the loader would end the process.
func ask[T any](q *query, symbol string, question func() (T, nvml.Return)) *T {
	if q.has(symbol) != nil {
		return nil
	}
	answer, ret := question()
	if ret == nvml.ERROR_GPU_IS_LOST || ret == nvml.ERROR_RESET_REQUIRED {
		q.lost = ret
	}
	if ret != nvml.SUCCESS {
		return nil
	}
	return &answer
}

// value is what p points to, the zero value when it is unknown.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// gpuAt asks one device. The failure, if it cannot be used, is in its Error too.
func gpuAt(lib nvml.Interface, index int) (g record.GPU, f *record.Failure) {
	d, ret := lib.DeviceGetHandleByIndex(index)
	if ret != nvml.SUCCESS {
		f = nvmlFailure(fmt.Sprintf("GPU %d cannot be opened", index), ret)
		return record.GPU{Index: index, Error: f.Message}, f
	}
	q := &query{has: lib.Extensions().LookupSymbol}
	g = q.gpu(d, index)
	q.health(d, &g)
	q.mig(d, &g)
	if q.lost != nvml.SUCCESS {
		f = nvmlFailure(fmt.Sprintf("GPU %d does not answer", index), q.lost)
		g.Error = f.Message
	}
	return g, f
}

// gpu asks what a whole device and a MIG instance both know.
func (q *query) gpu(d nvml.Device, index int) record.GPU {
	g := record.GPU{Index: index}
	g.Name = value(ask(q, "nvmlDeviceGetName", d.GetName))
	g.UUID = value(ask(q, "nvmlDeviceGetUUID", d.GetUUID))
	q.memory(d, &g)
	g.ComputeCapability = value(ask(q, "nvmlDeviceGetCudaComputeCapability", func() (string, nvml.Return) {
		major, minor, ret := d.GetCudaComputeCapability()
		return fmt.Sprintf("%d.%d", major, minor), ret
	}))
	for _, p := range value(ask(q, "nvmlDeviceGetComputeRunningProcesses", d.GetComputeRunningProcesses)) {
		g.Processes = append(g.Processes, process(p))
	}
	return g
}

func process(p nvml.ProcessInfo) record.GPUProcess {
	if p.UsedGpuMemory == math.MaxUint64 { // NVML_VALUE_NOT_AVAILABLE
		return record.GPUProcess{PID: p.Pid}
	}
	return record.GPUProcess{PID: p.Pid, UsedBytes: &p.UsedGpuMemory}
}

// memory prefers the question that tells what the driver itself holds: the first
// version counts that as used.
func (q *query) memory(d nvml.Device, g *record.GPU) {
	if m := ask(q, "nvmlDeviceGetMemoryInfo_v2", d.GetMemoryInfo_v2); m != nil {
		g.MemoryTotalBytes, g.MemoryFreeBytes, g.MemoryReservedBytes = &m.Total, &m.Free, &m.Reserved
	} else if m := ask(q, "nvmlDeviceGetMemoryInfo", d.GetMemoryInfo); m != nil {
		g.MemoryTotalBytes, g.MemoryFreeBytes = &m.Total, &m.Free
	}
}

var computeModes = map[nvml.ComputeMode]string{
	nvml.COMPUTEMODE_DEFAULT:           "default",
	nvml.COMPUTEMODE_EXCLUSIVE_THREAD:  "exclusive-thread",
	nvml.COMPUTEMODE_PROHIBITED:        "prohibited",
	nvml.COMPUTEMODE_EXCLUSIVE_PROCESS: "exclusive-process",
}

// health asks what only the whole device knows.
func (q *query) health(d nvml.Device, g *record.GPU) {
	if u := ask(q, "nvmlDeviceGetUtilizationRates", d.GetUtilizationRates); u != nil {
		g.UtilizationPercent = &u.Gpu
	}
	if mode := ask(q, "nvmlDeviceGetComputeMode", d.GetComputeMode); mode != nil {
		g.ComputeMode = computeModes[*mode]
	}
	g.ECCUncorrected = ask(q, "nvmlDeviceGetTotalEccErrors", func() (uint64, nvml.Return) {
		return d.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC)
	})
	g.RemapPending = ask(q, "nvmlDeviceGetRemappedRows", func() (bool, nvml.Return) {
		_, _, pending, failed, ret := d.GetRemappedRows()
		if ret == nvml.SUCCESS {
			g.RemapFailed = &failed
		}
		return pending, ret
	})
	if g.RemapPending == nil { // GPUs before Ampere retire pages instead.
		g.RemapPending = ask(q, "nvmlDeviceGetRetiredPagesPendingStatus", func() (bool, nvml.Return) {
			pending, ret := d.GetRetiredPagesPendingStatus()
			return pending == nvml.FEATURE_ENABLED, ret
		})
	}
	bits := ask(q, "nvmlDeviceGetCurrentClocksEventReasons", d.GetCurrentClocksEventReasons)
	if bits == nil { // Its name before driver 535.
		bits = ask(q, "nvmlDeviceGetCurrentClocksThrottleReasons", d.GetCurrentClocksThrottleReasons)
	}
	for _, t := range throttles {
		if value(bits)&t.bit != 0 {
			g.Throttle = append(g.Throttle, t.name)
		}
	}
}

// throttles are the reasons for slow clocks that are worth telling. Idle clocks
// and clocks set on purpose are not.
var throttles = []struct {
	bit  uint64
	name string
}{
	{nvml.ClocksEventReasonSwPowerCap, powerCap},
	{nvml.ClocksThrottleReasonHwSlowdown, "hw-slowdown"},
	{nvml.ClocksEventReasonSwThermalSlowdown, "sw-thermal"},
	{nvml.ClocksThrottleReasonHwThermalSlowdown, "hw-thermal"},
	{nvml.ClocksThrottleReasonHwPowerBrakeSlowdown, "hw-power-brake"},
}

// mig asks each MIG instance by its own handle: the parent does not know, or
// does not tell, how much memory they have.
func (q *query) mig(d nvml.Device, g *record.GPU) {
	g.MIGEnabled = value(ask(q, "nvmlDeviceGetMigMode", func() (bool, nvml.Return) {
		mode, _, ret := d.GetMigMode()
		return mode == nvml.DEVICE_MIG_ENABLE, ret
	}))
	if !g.MIGEnabled {
		return
	}
	for i := range value(ask(q, "nvmlDeviceGetMaxMigDeviceCount", d.GetMaxMigDeviceCount)) {
		m := ask(q, "nvmlDeviceGetMigDeviceHandleByIndex", func() (nvml.Device, nvml.Return) { return d.GetMigDeviceHandleByIndex(i) })
		if m == nil {
			continue // Indexes have gaps.
		}
		instance := q.gpu(*m, i)
		instance.ComputeCapability = g.ComputeCapability
		g.MIG = append(g.MIG, instance)
	}
}
