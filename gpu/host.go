package gpu

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Host is what the container shows of the machine below it. Its zero value is
// the real one.
type Host struct {
	// Open opens a device file for reading and writing; ReadFile reads a file.
	Open     func(path string) error
	ReadFile func(path string) ([]byte, error)
}

func (h Host) open(path string) error {
	if h.Open != nil {
		return h.Open(path)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func (h Host) kernel() []byte {
	read := h.ReadFile
	if read == nil {
		read = os.ReadFile
	}
	text, _ := read("/proc/version")
	return bytes.ToLower(text)
}

// isGVisor knows gVisor by the one version that it always reports.
func (h Host) isGVisor() bool {
	return bytes.Contains(h.kernel(), []byte("linux version 4.4.0 #1 smp sun jan 10 15:06:54 pst 2016"))
}

func (h Host) isWSL() bool { return bytes.Contains(h.kernel(), []byte("microsoft")) }

// explain makes a failure more exact by what the container shows: a device that
// may not be opened, a runtime that was told to give none, WSL, gVisor.
func (h Host) explain(err error, getenv func(string) string) error {
	f := record.AsFailure(err)
	if f == nil || (f.Kind != record.NoDriver && f.Kind != record.NoGPU && f.Kind != record.GPUBroken) {
		return err
	}
	// WSL has no /dev/nvidiactl: its device is /dev/dxg.
	if h.isWSL() {
		if f.Kind == record.NoDriver {
			return f.WithHint("this is WSL: install the driver in Windows, not here, and let libraries be found in /usr/lib/wsl/lib; in docker use --gpus all")
		}
		return f
	}
	ctl := h.open("/dev/nvidiactl")
	switch {
	case errors.Is(ctl, syscall.EPERM):
		return record.Failf(record.GPUPermission, "the container's device cgroup forbids /dev/nvidiactl (%w)", f).
			WithHint("%s; else let the container runtime add the devices, rather than mounting them", hintUnknown)
	case errors.Is(ctl, syscall.EACCES):
		return record.Failf(record.GPUPermission, "uid %d may not open /dev/nvidiactl (%w)", os.Getuid(), f).
			WithHint("add the container's user to the group of /dev/nvidia*, or make them readable and writable for all")
	case f.Kind == record.NoDriver && ctl == nil:
		return f.WithHint("the device is there, so the driver's libraries were not added: set NVIDIA_DRIVER_CAPABILITIES=compute,utility")
	case f.Kind == record.GPUBroken:
		return f
	}
	return h.notGiven(f, getenv, errors.Is(ctl, fs.ErrNotExist))
}

// explainCUDA is explain for a CUDA that fails though NVML works. why is what
// CUDA_VISIBLE_DEVICES or MIG mode explain, nil for nothing.
func (h Host) explainCUDA(err, why error, getenv func(string) string) error {
	f := record.AsFailure(err)
	switch f.Kind {
	case record.NoDriver:
		return h.explain(err, getenv)
	case record.NoGPU, record.GPUBroken, record.GPUPermission:
		if f.Kind == record.NoGPU && why != nil {
			return why
		}
		if uvm := h.open("/dev/nvidia-uvm"); uvm != nil && !h.isWSL() {
			return record.Failf(record.GPUPermission, "%w; CUDA needs /dev/nvidia-uvm: %v", f, uvm).WithHint("%s", hintUVM)
		}
	}
	return f
}

// notGiven explains why the runtime gave this container no GPU.
func (h Host) notGiven(f *record.Failure, getenv func(string) string, noDevice bool) error {
	given := getenv("NVIDIA_VISIBLE_DEVICES")
	switch {
	case h.isGVisor():
		return f.WithHint("this is gVisor: run it with --nvproxy=true and a driver version that it supports")
	case given == "void" || given == "none":
		return f.WithHint("NVIDIA_VISIBLE_DEVICES=%s tells the container runtime to give no GPU: ask for nvidia.com/gpu in the step's limits, or docker run --gpus all", given)
	case f.Kind == record.NoDriver && !noDevice:
		return f
	case noDevice && given != "":
		return f.WithHint("NVIDIA_VISIBLE_DEVICES=%s is set but no device was added: use the NVIDIA container runtime (runtimeClassName: nvidia, or docker run --gpus all), or --gpu optional", given)
	}
	return f
}
