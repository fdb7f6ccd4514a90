//go:build cgo

package gpu

import (
	"math"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh200"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

// healthy gives a mock's device an answer to every question that the mock
// leaves open.
func healthy(d nvml.Device) *server.Device {
	m := d.(*server.Device)
	m.GetMemoryInfo_v2Func = func() (nvml.Memory_v2, nvml.Return) {
		total := m.MemoryInfo.Total
		return nvml.Memory_v2{Total: total, Reserved: 1 << 30, Free: total - 3<<30, Used: 2 << 30}, nvml.SUCCESS
	}
	m.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) {
		return []nvml.ProcessInfo{{Pid: 7, UsedGpuMemory: 2 << 30}, {Pid: 8, UsedGpuMemory: math.MaxUint64}}, nvml.SUCCESS
	}
	m.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: 12}, nvml.SUCCESS }
	m.GetComputeModeFunc = func() (nvml.ComputeMode, nvml.Return) { return nvml.COMPUTEMODE_EXCLUSIVE_PROCESS, nvml.SUCCESS }
	m.GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (uint64, nvml.Return) { return 3, nvml.SUCCESS }
	m.GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 0, 1, true, false, nvml.SUCCESS }
	m.GetCurrentClocksEventReasonsFunc = func() (uint64, nvml.Return) {
		return nvml.ClocksEventReasonGpuIdle | nvml.ClocksThrottleReasonHwThermalSlowdown | nvml.ClocksEventReasonSwPowerCap, nvml.SUCCESS
	}
	return m
}

// answering makes every question get the same return and no answer.
func answering(d nvml.Device, ret nvml.Return) *server.Device {
	m := d.(*server.Device)
	m.GetNameFunc = func() (string, nvml.Return) { return "x", ret }
	m.GetUUIDFunc = func() (string, nvml.Return) { return "x", ret }
	m.GetMemoryInfo_v2Func = func() (nvml.Memory_v2, nvml.Return) { return nvml.Memory_v2{Total: 1}, ret }
	m.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{Total: 1}, ret }
	m.GetCudaComputeCapabilityFunc = func() (int, int, nvml.Return) { return 1, 1, ret }
	m.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return []nvml.ProcessInfo{{Pid: 1}}, ret }
	m.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: 1}, ret }
	m.GetComputeModeFunc = func() (nvml.ComputeMode, nvml.Return) { return nvml.COMPUTEMODE_PROHIBITED, ret }
	m.GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (uint64, nvml.Return) { return 1, ret }
	m.GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 0, 0, true, true, ret }
	m.GetRetiredPagesPendingStatusFunc = func() (nvml.EnableState, nvml.Return) { return nvml.FEATURE_ENABLED, ret }
	m.GetCurrentClocksEventReasonsFunc = func() (uint64, nvml.Return) { return math.MaxUint64, ret }
	m.GetCurrentClocksThrottleReasonsFunc = func() (uint64, nvml.Return) { return math.MaxUint64, ret }
	m.GetMigModeFunc = func() (int, int, nvml.Return) { return nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE, ret }
	return m
}

func TestNVMLOfADGX(t *testing.T) {
	for name, s := range map[string]*server.Server{"A100": dgxa100.New(), "H100": dgxh100.New(), "H200": dgxh200.New()} {
		t.Run(name, func(t *testing.T) {
			for _, d := range s.Devices {
				healthy(d)
			}
			a := askNVML(s)
			require.Nil(t, a.Failure)
			assert.Equal(t, s.DriverVersion, a.Facts.Driver)
			assert.Equal(t, cudaVersion(s.CudaDriverVersion), a.Facts.CUDA)
			require.Len(t, a.Facts.GPUs, 8)
			want := s.Devices[5].(*server.Device)
			g := a.Facts.GPUs[5]
			assert.Equal(t, record.GPU{
				Index: 5, Name: want.Config.Name, UUID: want.UUID,
				MemoryTotalBytes: ptr(want.MemoryInfo.Total), MemoryFreeBytes: ptr(want.MemoryInfo.Total - 3<<30), MemoryReservedBytes: ptr[uint64](1 << 30),
				UtilizationPercent: ptr[uint32](12), ComputeCapability: map[string]string{"A100": "8.0", "H100": "9.0", "H200": "9.0"}[name],
				ComputeMode: "exclusive-process", ECCUncorrected: ptr[uint64](3), RemapPending: ptr(true), RemapFailed: ptr(false),
				Throttle: []string{"sw-power-cap", "hw-thermal"}, Processes: []record.GPUProcess{{PID: 7, UsedBytes: ptr[uint64](2 << 30)}, {PID: 8}},
			}, g)
		})
	}
}

// Not supported and not permitted mean unknown: no number, no finding, no failure.
func TestNVMLKnowsNothing(t *testing.T) {
	for _, ret := range []nvml.Return{nvml.ERROR_NOT_SUPPORTED, nvml.ERROR_NO_PERMISSION, nvml.ERROR_UNKNOWN} {
		s := dgxa100.New()
		s.Devices = s.Devices[:1]
		answering(s.Devices[0], ret)
		a := askNVML(s)
		require.Nil(t, a.Failure)
		assert.Equal(t, []record.GPU{{}}, a.Facts.GPUs)
		assert.Empty(t, Findings(a.Facts))
	}
}

// A symbol that the library lacks is not called: the mock would panic.
func TestNVMLGuardsSymbols(t *testing.T) {
	s := dgxa100.New()
	s.LookupSymbolFunc = func(string) error { return assert.AnError }
	s.SystemGetDriverVersionFunc = nil
	s.Devices = []nvml.Device{&server.Device{}}
	a := askNVML(s)
	require.Nil(t, a.Failure)
	assert.Equal(t, []record.GPU{{}}, a.Facts.GPUs)
}

func TestNVMLOlderNames(t *testing.T) {
	s := dgxa100.New()
	d := healthy(s.Devices[0])
	s.Devices = s.Devices[:1]
	s.LookupSymbolFunc = func(symbol string) error {
		switch symbol {
		case "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetRemappedRows":
			return assert.AnError
		}
		return nil
	}
	d.MemoryInfo.Free = 5 << 30
	d.GetCurrentClocksThrottleReasonsFunc = func() (uint64, nvml.Return) { return nvml.ClocksThrottleReasonHwSlowdown, nvml.SUCCESS }
	d.GetRetiredPagesPendingStatusFunc = func() (nvml.EnableState, nvml.Return) { return nvml.FEATURE_ENABLED, nvml.SUCCESS }
	g := askNVML(s).Facts.GPUs[0]
	assert.Equal(t, ptr[uint64](5<<30), g.MemoryFreeBytes)
	assert.Nil(t, g.MemoryReservedBytes)
	assert.Equal(t, []string{"hw-slowdown"}, g.Throttle)
	assert.Equal(t, ptr(true), g.RemapPending)
	assert.Nil(t, g.RemapFailed)
}

func TestNVMLDeviceThatIsLost(t *testing.T) {
	s := dgxa100.New()
	s.Devices = s.Devices[:2]
	healthy(s.Devices[0])
	answering(s.Devices[1], nvml.ERROR_GPU_IS_LOST)
	a := askNVML(s)
	require.Nil(t, a.Failure, "the other device works")
	assert.Empty(t, a.Facts.GPUs[0].Error)
	assert.Contains(t, a.Facts.GPUs[1].Error, "GPU 1 does not answer")
	visible, _ := Visible(nil, a.Facts.GPUs)
	assert.Len(t, visible, 1)

	s.Devices = s.Devices[1:]
	_ = requireKind(t, record.GPUBroken, askNVML(s).Failure)
	s.DeviceGetHandleByIndexFunc = func(int) (nvml.Device, nvml.Return) { return nil, nvml.ERROR_NO_PERMISSION }
	_ = requireKind(t, record.GPUPermission, askNVML(s).Failure)
	s.Devices = nil
	_ = requireKind(t, record.NoGPU, askNVML(s).Failure)
	s.DeviceGetCountFunc = func() (int, nvml.Return) { return 0, nvml.ERROR_IRQ_ISSUE }
	_ = requireKind(t, record.GPUBroken, askNVML(s).Failure)
}

// migGPU is an A100 in MIG mode whose memory only its instances know.
func migGPU(d nvml.Device, instances ...string) *server.Device {
	m := healthy(d)
	m.MigMode = nvml.DEVICE_MIG_ENABLE
	m.GetMemoryInfo_v2Func = func() (nvml.Memory_v2, nvml.Return) { return nvml.Memory_v2{}, nvml.ERROR_NO_PERMISSION }
	m.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, nvml.ERROR_NO_PERMISSION }
	m.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{}, nvml.ERROR_NOT_SUPPORTED }
	m.GetMaxMigDeviceCountFunc = func() (int, nvml.Return) { return 7, nvml.SUCCESS }
	m.GetMigDeviceHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		// The first place is empty.
		if i < 1 || i > len(instances) {
			return nil, nvml.ERROR_NOT_FOUND
		}
		instance := &server.Device{}
		instance.GetNameFunc = func() (string, nvml.Return) { return "A100 MIG 1g.5gb", nvml.SUCCESS }
		instance.GetUUIDFunc = func() (string, nvml.Return) { return instances[i-1], nvml.SUCCESS }
		instance.GetMemoryInfo_v2Func = func() (nvml.Memory_v2, nvml.Return) {
			return nvml.Memory_v2{Total: 5 << 30, Free: 4 << 30}, nvml.SUCCESS
		}
		instance.GetCudaComputeCapabilityFunc = func() (int, int, nvml.Return) { return 0, 0, nvml.ERROR_NOT_SUPPORTED }
		instance.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return nil, nvml.SUCCESS }
		return instance, nvml.SUCCESS
	}
	return m
}

func TestNVMLUnderMIG(t *testing.T) {
	s := dgxa100.New()
	s.Devices = s.Devices[:2]
	migGPU(s.Devices[0], "MIG-a", "MIG-b")
	healthy(s.Devices[1])
	a := askNVML(s)
	require.Nil(t, a.Failure)
	g := a.Facts.GPUs[0]
	assert.True(t, g.MIGEnabled)
	assert.Nil(t, g.MemoryTotalBytes)
	assert.Nil(t, g.UtilizationPercent)
	require.Len(t, g.MIG, 2)
	assert.Equal(t, record.GPU{Index: 1, Name: "A100 MIG 1g.5gb", UUID: "MIG-a", MemoryTotalBytes: ptr[uint64](5 << 30), MemoryFreeBytes: ptr[uint64](4 << 30), MemoryReservedBytes: ptr[uint64](0), ComputeCapability: "8.0"}, g.MIG[0])
	assert.False(t, a.Facts.GPUs[1].MIGEnabled)
	visible, why := Visible(nil, a.Facts.GPUs)
	assert.Empty(t, why)
	assert.Len(t, visible, 3, "two instances and the other device")
}
