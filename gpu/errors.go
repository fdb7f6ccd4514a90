package gpu

import (
	"fmt"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Hints that fit better than the class's own.
const (
	hintMismatch = "the driver was upgraded under a running system: restart the container, else reboot the node"
	hintUnknown  = "if it worked before, `systemctl daemon-reload` on the node may have taken the devices away: restart the container"
	hintNoCUDA   = "let the container runtime add it: NVIDIA_DRIVER_CAPABILITIES=compute,utility"
	hintUVM      = "check that /dev/nvidia-uvm is there and may be opened; `nvidia-modprobe -u` on the node makes it"
)

// cudaResult is a CUresult.
type cudaResult int32

// Results that say more than that something is broken.
const (
	cudaOutOfMemory        cudaResult = 2
	cudaStub               cudaResult = 34
	cudaDevicesUnavailable cudaResult = 46
	cudaNoDevice           cudaResult = 100
	cudaInvalidDevice      cudaResult = 101
	cudaECC                cudaResult = 214
	cudaOperatingSystem    cudaResult = 304
	cudaNotPermitted       cudaResult = 800
	cudaSystemNotReady     cudaResult = 802
	cudaDriverMismatch     cudaResult = 803
	cudaCompatUnsupported  cudaResult = 804
	cudaUnknown            cudaResult = 999
)

// cudaMeanings maps a result to its class, what it means in words, and a hint;
// an empty hint is the class's own.
var cudaMeanings = map[cudaResult]struct {
	kind    record.Kind
	meaning string
	hint    string
}{
	cudaOutOfMemory:        {record.GPUInsufficient, "the device has no free memory", "wait for the other processes on it, or use another GPU; `step-runner gpu-check` lists them"},
	cudaStub:               {record.NoDriver, "libcuda.so.1 is the toolkit's stub, not the driver", "take the stubs directory out of LD_LIBRARY_PATH; " + hintNoCUDA},
	cudaDevicesUnavailable: {record.GPUPermission, "the device is busy or its compute mode forbids another program", "look at the compute mode (nvidia-smi -c 0) and, under MIG, for an instance of the container's own"},
	cudaNoDevice:           {record.NoGPU, "CUDA sees no device", ""},
	cudaInvalidDevice:      {record.NoGPU, "CUDA does not know the device", ""},
	cudaECC:                {record.GPUBroken, "an uncorrectable memory error", ""},
	cudaOperatingSystem:    {record.GPUPermission, "the operating system refused a call", hintUVM},
	cudaNotPermitted:       {record.GPUPermission, "the operation is not permitted", ""},
	cudaSystemNotReady:     {record.GPUBroken, "the system is not ready: the fabric manager does not run, or is still starting", "on NVSwitch machines start nvidia-fabricmanager in the driver's own version, and wait until it is up"},
	cudaDriverMismatch:     {record.GPUBroken, "libcuda.so.1 and the kernel module are of different driver versions", "take a cuda-compat directory out of LD_LIBRARY_PATH; else " + hintMismatch},
	cudaCompatUnsupported:  {record.GPUBroken, "the image's cuda-compat library does not work with this GPU or driver", "take the cuda-compat directory out of LD_LIBRARY_PATH, or use an image for an older CUDA"},
	cudaUnknown:            {record.GPUBroken, "an unknown error", hintUVM + "; else have the node drained and its GPU reset"},
}

func cudaFailure(what string, r cudaResult, name string) *record.Failure {
	m, ok := cudaMeanings[r]
	if !ok {
		return record.Failf(record.GPUBroken, "%s: %s (error %d)", what, name, r)
	}
	f := record.Failf(m.kind, "%s: %s (error %d, %s)", what, m.meaning, r, name)
	if m.hint != "" {
		return f.WithHint("%s", m.hint)
	}
	return f
}

// cudaVersion turns 12040 into "12.4".
func cudaVersion(v int) string {
	if v <= 0 {
		return ""
	}
	return fmt.Sprintf("%d.%d", v/1000, v%1000/10)
}
