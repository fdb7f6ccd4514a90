//go:build cgo

package gpu

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/step-runner/step-runner/artifacts/record"
)

func serveWatch(every time.Duration, uuids []string, out func(watchLine) error) error {
	return watchNVML(nvml.New(), every, uuids, time.Tick(every), out)
}

// watchNVML takes a sample at each tick, until out fails or the ticks end.
func watchNVML(lib nvml.Interface, every time.Duration, uuids []string, ticks <-chan time.Time, out func(watchLine) error) error {
	if ret := lib.Init(); ret != nvml.SUCCESS {
		return out(watchLine{Failure: nvmlFailure("NVML cannot be initialised", ret)})
	}
	defer func() { _ = lib.Shutdown() }()
	w := &watch{lib: lib, q: &query{has: lib.Extensions().LookupSymbol}}
	if f := w.open(uuids); f != nil {
		return out(watchLine{Failure: f})
	}
	w.register()
	first := watchLine{XIDs: w.events != nil}
	for _, d := range w.devices {
		first.Watched = append(first.Watched, d.Watched)
	}
	if err := out(first); err != nil {
		return err
	}
	each := max(1, int(processesEvery/every))
	for n := 0; ; n++ {
		if err := out(watchLine{Sample: w.sample(n%each == 0)}); err != nil {
			return err
		}
		if _, ok := <-ticks; !ok {
			return nil
		}
	}
}

// watch is what is open while devices are watched.
type watch struct {
	lib     nvml.Interface
	q       *query
	devices []watchedDevice
	// events is nil where the driver tells of no XIDs.
	events nvml.EventSet
}

// watchedDevice is a device, or a MIG instance with the device that it is part of.
type watchedDevice struct {
	Watched
	handle, whole nvml.Device
	// instance is the GPU instance, nil for a whole device or when it is unknown.
	instance *int
}

// open finds the devices. One that cannot be opened is left out, unless no other is.
func (w *watch) open(uuids []string) *record.Failure {
	n, ret := w.lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return nvmlFailure("NVML cannot count the GPUs", ret)
	}
	var failure *record.Failure
	for i := range n {
		d, ret := w.lib.DeviceGetHandleByIndex(i)
		if ret != nvml.SUCCESS {
			failure = nvmlFailure("GPU cannot be opened", ret)
			continue
		}
		w.add(d, i)
	}
	if len(uuids) > 0 {
		w.devices = slices.DeleteFunc(w.devices, func(d watchedDevice) bool {
			return !slices.ContainsFunc(uuids, func(u string) bool { return u == d.UUID || sameUUID(u, d.UUID) })
		})
	}
	switch {
	case len(w.devices) > 0:
		return nil
	case failure != nil:
		return failure
	}
	return record.Failf(record.NoGPU, "NVML shows none of the devices to watch: %s", strings.Join(uuids, ", "))
}

func (w *watch) add(d nvml.Device, index int) {
	g := record.GPU{Index: index}
	w.q.mig(d, &g)
	if !g.MIGEnabled {
		w.devices = append(w.devices, watchedDevice{Watched: w.name(d, index), handle: d, whole: d})
		return
	}
	for _, m := range g.MIG {
		h := ask(w.q, "nvmlDeviceGetMigDeviceHandleByIndex", func() (nvml.Device, nvml.Return) { return d.GetMigDeviceHandleByIndex(m.Index) })
		if h == nil {
			continue
		}
		instance := ask(w.q, "nvmlDeviceGetGpuInstanceId", (*h).GetGpuInstanceId)
		w.devices = append(w.devices, watchedDevice{Watched: w.name(*h, index), handle: *h, whole: d, instance: instance})
	}
}

func (w *watch) name(d nvml.Device, index int) Watched {
	var g record.GPU
	w.q.memory(d, &g)
	return Watched{
		Index: index, UUID: value(ask(w.q, "nvmlDeviceGetUUID", d.GetUUID)), Name: value(ask(w.q, "nvmlDeviceGetName", d.GetName)), TotalBytes: g.MemoryTotalBytes,
	}
}

// register asks for the XIDs of each whole device: a MIG instance has none of its own.
func (w *watch) register() {
	for _, symbol := range []string{"nvmlEventSetCreate", "nvmlDeviceRegisterEvents", "nvmlEventSetWait", "nvmlEventSetFree"} {
		if w.q.has(symbol) != nil {
			return
		}
	}
	set, ret := w.lib.EventSetCreate()
	if ret != nvml.SUCCESS {
		return
	}
	var registered []nvml.Device
	for _, d := range w.devices {
		if !slices.Contains(registered, d.whole) && d.whole.RegisterEvents(nvml.EventTypeXidCriticalError, set) == nvml.SUCCESS {
			registered = append(registered, d.whole)
		}
	}
	if len(registered) == 0 {
		_ = set.Free()
		return
	}
	w.events = set
}

func (w *watch) sample(processes bool) *Sample {
	s := &Sample{UnixMilli: time.Now().UnixMilli(), Readings: []Reading{}}
	for _, d := range w.devices {
		s.Readings = append(s.Readings, w.read(d, processes))
	}
	s.XIDs = w.xids()
	return s
}

func (w *watch) read(d watchedDevice, processes bool) Reading {
	q := &query{has: w.q.has}
	r := Reading{UUID: d.UUID, UsedBytes: q.used(d.handle)}
	if u := ask(q, "nvmlDeviceGetUtilizationRates", d.handle.GetUtilizationRates); u != nil {
		r.UtilizationPercent = &u.Gpu
	}
	r.PowerMilliwatts = ask(q, "nvmlDeviceGetPowerUsage", d.handle.GetPowerUsage)
	r.ClockMHz = ask(q, "nvmlDeviceGetClockInfo", func() (uint32, nvml.Return) { return d.handle.GetClockInfo(nvml.CLOCK_SM) })
	if processes {
		if list := ask(q, "nvmlDeviceGetComputeRunningProcesses", d.handle.GetComputeRunningProcesses); list != nil {
			r.Processes = []record.GPUProcess{}
			for _, p := range *list {
				r.Processes = append(r.Processes, process(p))
			}
		}
	}
	if q.lost != nvml.SUCCESS {
		r.Lost = q.lost.Error()
	}
	return r
}

// used is the memory in use without what the driver holds for itself, where it tells.
func (q *query) used(d nvml.Device) *uint64 {
	if m := ask(q, "nvmlDeviceGetMemoryInfo_v2", d.GetMemoryInfo_v2); m != nil {
		return &m.Used
	}
	if m := ask(q, "nvmlDeviceGetMemoryInfo", d.GetMemoryInfo); m != nil {
		return &m.Used
	}
	return nil
}

// mostXIDs bounds what one sample holds: a broken device can report without end.
const mostXIDs = 64

// xids takes the reports that have come since the last sample.
func (w *watch) xids() (list []XID) {
	for w.events != nil && len(list) < mostXIDs {
		e, ret := w.events.Wait(0)
		if ret != nvml.SUCCESS {
			if ret != nvml.ERROR_TIMEOUT {
				w.events = nil // It would say the same each time; the readings tell what is lost.
			}
			break
		}
		if e.EventType == nvml.EventTypeXidCriticalError {
			if d := w.reported(e); d != nil {
				list = append(list, XID{UUID: d.UUID, Code: e.EventData})
			}
		}
	}
	return list
}

// reported is the watched device that an event is about; nil for another's MIG instance.
func (w *watch) reported(e nvml.EventData) *watchedDevice {
	for i, d := range w.devices {
		other := d.instance != nil && e.GpuInstanceId != math.MaxUint32 && int(e.GpuInstanceId) != *d.instance
		if d.whole == e.Device && !other {
			return &w.devices[i]
		}
	}
	return nil
}
