//go:build cgo

package gpu

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh200"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

// watching watches a mock for n samples, without waiting.
func watching(t *testing.T, s nvml.Interface, n int, uuids ...string) (*received, *record.Failure) {
	t.Helper()
	got := &received{}
	var failure *record.Failure
	ticks := make(chan time.Time, n)
	for range n - 1 {
		ticks <- time.Time{}
	}
	close(ticks)
	require.NoError(t, watchNVML(s, 250*time.Millisecond, uuids, ticks, func(l watchLine) error {
		switch {
		case l.Failure != nil:
			failure = l.Failure
		case l.Sample != nil:
			got.Sample(*l.Sample)
		default:
			got.Watching(l.Watched, l.XIDs)
		}
		return nil
	}))
	return got, failure
}

// watchable answers what a watch asks.
func watchable(d nvml.Device) *server.Device {
	m := healthy(d)
	m.GetMemoryInfo_v2Func = func() (nvml.Memory_v2, nvml.Return) {
		return nvml.Memory_v2{Total: 80 << 30, Used: 3 << 30, Reserved: 1 << 30}, nvml.SUCCESS
	}
	m.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 321_000, nvml.SUCCESS }
	m.GetClockInfoFunc = func(nvml.ClockType) (uint32, nvml.Return) { return 1410, nvml.SUCCESS }
	m.RegisterEventsFunc = func(uint64, nvml.EventSet) nvml.Return { return nvml.ERROR_NOT_SUPPORTED }
	return m
}

// reports makes the driver report events, once.
func reports(s *server.Server, events ...nvml.EventData) *mock.EventSet {
	set := &mock.EventSet{FreeFunc: func() nvml.Return { return nvml.SUCCESS }}
	set.WaitFunc = func(uint32) (nvml.EventData, nvml.Return) {
		if len(events) == 0 {
			return nvml.EventData{}, nvml.ERROR_TIMEOUT
		}
		e := events[0]
		events = events[1:]
		return e, nvml.SUCCESS
	}
	s.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) { return set, nvml.SUCCESS }
	return set
}

func TestWatchOfADGX(t *testing.T) {
	for name, s := range map[string]*server.Server{"A100": dgxa100.New(), "H200": dgxh200.New()} {
		t.Run(name, func(t *testing.T) {
			for _, d := range s.Devices {
				watchable(d).RegisterEventsFunc = func(uint64, nvml.EventSet) nvml.Return { return nvml.SUCCESS }
			}
			five := s.Devices[5].(*server.Device)
			reports(s, nvml.EventData{Device: five, EventType: nvml.EventTypeXidCriticalError, EventData: 31, GpuInstanceId: math.MaxUint32},
				nvml.EventData{Device: five, EventType: nvml.EventTypeClock})
			got, f := watching(t, s, 3)
			require.Nil(t, f)
			require.Len(t, got.devices, 8)
			assert.Equal(t, Watched{Index: 5, UUID: five.UUID, Name: five.Config.Name, TotalBytes: ptr[uint64](80 << 30)}, got.devices[5])
			assert.True(t, got.xids)
			require.Len(t, got.samples, 3)
			assert.Equal(t, Reading{
				UUID: five.UUID, UsedBytes: ptr[uint64](3 << 30), UtilizationPercent: ptr[uint32](12), PowerMilliwatts: ptr[uint32](321_000), ClockMHz: ptr[uint32](1410),
				Processes: []record.GPUProcess{{PID: 7, UsedBytes: ptr[uint64](2 << 30)}, {PID: 8}},
			}, got.samples[0].Readings[5])
			assert.Nil(t, got.samples[1].Readings[5].Processes, "asked every 500 ms only")
			assert.NotNil(t, got.samples[2].Readings[5].Processes)
			assert.Equal(t, []XID{{UUID: five.UUID, Code: 31}}, got.samples[0].XIDs)
			assert.Empty(t, got.samples[1].XIDs)

			got, f = watching(t, s, 1, five.UUID)
			require.Nil(t, f)
			require.Len(t, got.devices, 1)
			assert.Equal(t, 5, got.devices[0].Index)
			_, f = watching(t, s, 1, "GPU-00000000-0000-0000-0000-000000000000")
			_ = requireKind(t, record.NoGPU, f)
		})
	}
}

func TestWatchUnderMIG(t *testing.T) {
	s := dgxa100.New()
	s.Devices = s.Devices[:1]
	d := migGPU(s.Devices[0], "MIG-a", "MIG-b")
	d.RegisterEventsFunc = func(uint64, nvml.EventSet) nvml.Return { return nvml.SUCCESS }
	instance := d.GetMigDeviceHandleByIndexFunc
	handles := map[int]*server.Device{}
	d.GetMigDeviceHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		m, ret := instance(i)
		if ret != nvml.SUCCESS {
			return m, ret
		}
		if handles[i] == nil {
			handles[i] = m.(*server.Device)
			handles[i].GetMemoryInfo_v2Func = func() (nvml.Memory_v2, nvml.Return) {
				return nvml.Memory_v2{Total: 5 << 30, Used: uint64(i) << 30}, nvml.SUCCESS
			}
			handles[i].GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{}, nvml.ERROR_NOT_SUPPORTED }
			handles[i].GetPowerUsageFunc = func() (uint32, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
			handles[i].GetClockInfoFunc = func(nvml.ClockType) (uint32, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
			handles[i].GetGpuInstanceIdFunc = func() (int, nvml.Return) { return 10 + i, nvml.SUCCESS }
		}
		return handles[i], nvml.SUCCESS
	}
	event := func(instance uint32) nvml.EventData {
		return nvml.EventData{Device: d, EventType: nvml.EventTypeXidCriticalError, EventData: 13, GpuInstanceId: instance}
	}
	reports(s, event(11), event(12), event(math.MaxUint32))
	got, f := watching(t, s, 1, "GPU-b") // As CUDA calls it.
	require.Nil(t, f)
	require.Len(t, got.devices, 1)
	assert.Equal(t, "MIG-b", got.devices[0].UUID)
	r := got.samples[0].Readings[0]
	assert.Equal(t, ptr[uint64](2<<30), r.UsedBytes)
	assert.Nil(t, r.UtilizationPercent)
	assert.Nil(t, r.PowerMilliwatts)
	assert.Equal(t, []XID{{"MIG-b", 13}, {"MIG-b", 13}}, got.samples[0].XIDs, "not that of the other instance")
}

// Not supported and not permitted are unknown, and end no watch.
func TestWatchKnowsNothing(t *testing.T) {
	for _, ret := range []nvml.Return{nvml.ERROR_NOT_SUPPORTED, nvml.ERROR_NO_PERMISSION} {
		s := dgxa100.New()
		s.Devices = s.Devices[:1]
		d := answering(s.Devices[0], ret)
		d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 9, ret }
		d.GetClockInfoFunc = func(nvml.ClockType) (uint32, nvml.Return) { return 9, ret }
		d.RegisterEventsFunc = func(uint64, nvml.EventSet) nvml.Return { return ret }
		reports(s)
		got, f := watching(t, s, 2)
		require.Nil(t, f)
		assert.False(t, got.xids)
		require.Len(t, got.samples, 2)
		assert.Equal(t, []Reading{{}}, got.samples[0].Readings)
	}
}

// A symbol that the library lacks is not called: the mock would panic.
func TestWatchGuardsSymbols(t *testing.T) {
	s := dgxa100.New()
	s.LookupSymbolFunc = func(string) error { return assert.AnError }
	s.EventSetCreateFunc = nil
	s.Devices = []nvml.Device{&server.Device{}}
	got, f := watching(t, s, 1)
	require.Nil(t, f)
	assert.Equal(t, []Reading{{}}, got.samples[0].Readings)
	assert.False(t, got.xids)
}

func TestWatchOfALostDevice(t *testing.T) {
	s := dgxa100.New()
	s.Devices = s.Devices[:1]
	d := watchable(s.Devices[0])
	d.RegisterEventsFunc = func(uint64, nvml.EventSet) nvml.Return { return nvml.SUCCESS }
	set := reports(s)
	set.WaitFunc = func(uint32) (nvml.EventData, nvml.Return) { return nvml.EventData{}, nvml.ERROR_GPU_IS_LOST }
	d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 0, nvml.ERROR_GPU_IS_LOST }
	got, f := watching(t, s, 3)
	require.Nil(t, f)
	assert.NotEmpty(t, got.samples[0].Readings[0].Lost)
	assert.Len(t, set.WaitCalls(), 1, "what fails for good is not asked again")
}

func TestWatchEndsWhenNobodyListens(t *testing.T) {
	s := dgxa100.New()
	for _, d := range s.Devices {
		watchable(d)
	}
	reports(s)
	n := 0
	err := watchNVML(s, time.Second, nil, make(chan time.Time), func(watchLine) error {
		n++
		return errors.New("broken pipe")
	})
	require.Error(t, err)
	assert.Equal(t, 1, n)
}

func TestWatchFailsToBegin(t *testing.T) {
	s := dgxa100.New()
	s.InitFunc = func() nvml.Return { return nvml.ERROR_LIB_RM_VERSION_MISMATCH }
	_, f := watching(t, s, 1)
	_ = requireKind(t, record.GPUBroken, f)
	s = dgxa100.New()
	s.DeviceGetCountFunc = func() (int, nvml.Return) { return 0, nvml.ERROR_IRQ_ISSUE }
	_, f = watching(t, s, 1)
	_ = requireKind(t, record.GPUBroken, f)
	s = dgxa100.New()
	s.DeviceGetHandleByIndexFunc = func(int) (nvml.Device, nvml.Return) { return nil, nvml.ERROR_NO_PERMISSION }
	_, f = watching(t, s, 1)
	_ = requireKind(t, record.GPUPermission, f)
}

// A real child on a fake driver: it samples until it is told to end.
func TestWatchOfADriver(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	got := &received{enough: func(n int) {
		if n == 5 {
			cancel()
		}
	}}
	require.NoError(t, children(t, driver(t, "nvml")).Watch(ctx, time.Millisecond, []string{fakeUUID}, got))
	assert.Equal(t, []Watched{{UUID: fakeUUID, Name: "Fake GPU", TotalBytes: ptr[uint64](16 << 30)}}, got.devices)
	assert.False(t, got.xids, "this driver has no such function")
	require.GreaterOrEqual(t, len(got.samples), 5)
	assert.Equal(t, []Reading{{UUID: fakeUUID, UsedBytes: ptr[uint64](1 << 30)}}, got.samples[0].Readings)
	assert.LessOrEqual(t, got.samples[0].UnixMilli, got.samples[4].UnixMilli)
}

// Whatever the driver does in the middle of a watch is the end of the watch only.
func TestWatchSurvivesTheDriver(t *testing.T) {
	for name, c := range map[string]struct {
		environ, message string
		library          string
		kind             record.Kind
		samples          bool
	}{
		"symbol missing":  {"", "exit code 127", "nvml-without-init", record.GPUBroken, false},
		"aborts":          {"FAKE_NVML_LATE_ABORT=1", "exit code 127", "nvml", record.GPUBroken, true},
		"crashes":         {"FAKE_NVML_LATE_SEGV=1", "died in the driver's library", "nvml", record.GPUBroken, true},
		"hangs":           {"FAKE_NVML_LATE_HANG=1", "did not answer", "nvml", record.GPUBroken, true},
		"does not start":  {"FAKE_NVML_INIT=18", "version mismatch", "nvml", record.GPUBroken, false},
		"killed at first": {"FAKE_NVML_KILL=1", "signal killed", "nvml", record.GPUBroken, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := &received{}
			p := children(t, driver(t, c.library), c.environ)
			if name == "hangs" {
				p.Stream = streams(p.Environ, 3*time.Second)
			}
			f := requireKind(t, c.kind, p.Watch(context.Background(), time.Millisecond, nil, got))
			assert.Contains(t, f.Message, c.message)
			assert.Equal(t, c.samples, len(got.samples) > 0)
		})
	}
}
