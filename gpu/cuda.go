//go:build cgo

package gpu

import (
	"fmt"
	"runtime"
	"time"

	"github.com/ebitengine/purego"
	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts/record"
)

// libcuda is the part of the CUDA driver's library that the probe needs. It is
// loaded by name, as a CUDA program does, and needs no header.
type libcuda struct {
	init            func(flags uint32) cudaResult
	driverVersion   func(version *int32) cudaResult
	deviceCount     func(n *int32) cudaResult
	device          func(device *int32, ordinal int32) cudaResult
	deviceName      func(name *byte, size, device int32) cudaResult
	deviceUUID      func(uuid *[16]byte, device int32) cudaResult
	deviceAttribute func(value *int32, attribute, device int32) cudaResult
	retainContext   func(context *uintptr, device int32) cudaResult
	releaseContext  func(device int32) cudaResult
	setContext      func(context uintptr) cudaResult
	memoryInfo      func(free, total *uint64) cudaResult
	alloc           func(pointer *uint64, size uint64) cudaResult
	fill            func(pointer uint64, with byte, n uint64) cudaResult
	copyToHost      func(to *byte, from uint64, size uint64) cudaResult
	free            func(pointer uint64) cudaResult
	errorName       func(result cudaResult, text **byte) cudaResult
}

// Attributes of a device that cuDeviceGetAttribute knows.
const (
	attributeMajor = 75
	attributeMinor = 76
)

// loadCUDA binds every function before anything is called: a library without one
// of them is an error here, not the end of the process.
func loadCUDA() (lib *libcuda, err error) {
	handle, err := purego.Dlopen("libcuda.so.1", purego.RTLD_LAZY|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, record.Failf(record.NoDriver, "the CUDA driver's library cannot be loaded: %w", err).WithHint("%s", hintNoCUDA)
	}
	lib = &libcuda{}
	for _, f := range []struct {
		target  any
		symbols []string
	}{
		{&lib.init, []string{"cuInit"}},
		{&lib.driverVersion, []string{"cuDriverGetVersion"}},
		{&lib.deviceCount, []string{"cuDeviceGetCount"}},
		{&lib.device, []string{"cuDeviceGet"}},
		{&lib.deviceName, []string{"cuDeviceGetName"}},
		// The first version answers for the whole device, also for a MIG instance.
		{&lib.deviceUUID, []string{"cuDeviceGetUuid_v2", "cuDeviceGetUuid"}},
		{&lib.deviceAttribute, []string{"cuDeviceGetAttribute"}},
		{&lib.retainContext, []string{"cuDevicePrimaryCtxRetain"}},
		{&lib.releaseContext, []string{"cuDevicePrimaryCtxRelease_v2", "cuDevicePrimaryCtxRelease"}},
		{&lib.setContext, []string{"cuCtxSetCurrent"}},
		{&lib.memoryInfo, []string{"cuMemGetInfo_v2"}},
		{&lib.alloc, []string{"cuMemAlloc_v2"}},
		{&lib.fill, []string{"cuMemsetD8_v2"}},
		{&lib.copyToHost, []string{"cuMemcpyDtoH_v2"}},
		{&lib.free, []string{"cuMemFree_v2"}},
		{&lib.errorName, []string{"cuGetErrorName"}},
	} {
		if err := bind(handle, f.target, f.symbols); err != nil {
			return nil, record.Failf(record.GPUBroken, "libcuda.so.1 is too old or no CUDA library: %w", err)
		}
	}
	return lib, nil
}

func bind(handle uintptr, target any, symbols []string) (err error) {
	for _, name := range symbols {
		var f uintptr
		if f, err = purego.Dlsym(handle, name); err == nil {
			purego.RegisterFunc(target, f)
			return nil
		}
	}
	return err
}

func probeCUDA() (a answer) {
	// A context is current on a thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	lib, err := loadCUDA()
	if err == nil {
		err = lib.ask(&a.Facts)
	}
	a.Facts.CUDASeconds = time.Since(start).Seconds()
	a.Failure = record.AsFailure(err)
	return a
}

// ask starts CUDA and tries every device that it shows. It fails when not one
// of them can be used.
func (c *libcuda) ask(facts *record.GPUFacts) error {
	if r := c.init(0); r != 0 {
		return c.failure("CUDA cannot be initialised", r)
	}
	var version, n int32
	if c.driverVersion(&version) == 0 {
		facts.CUDA = cudaVersion(int(version))
	}
	if r := c.deviceCount(&n); r != 0 {
		return c.failure("CUDA cannot count the devices", r)
	}
	facts.CUDADevices = []record.CUDADevice{}
	var broken []error
	for i := range n {
		d, err := c.try(i)
		facts.CUDADevices = append(facts.CUDADevices, d)
		if err != nil {
			broken = append(broken, err)
		}
	}
	switch {
	case n == 0:
		return c.failure("CUDA shows no device", cudaNoDevice)
	case len(broken) == int(n):
		return broken[0]
	}
	return nil
}

// tryBytes is what is allocated, filled and read back on each device.
const tryBytes = 1 << 20

// try uses one device as a program would: context, memory, a write, a read.
func (c *libcuda) try(ordinal int32) (d record.CUDADevice, err error) {
	d.Ordinal = int(ordinal)
	defer func() {
		if err != nil {
			d.Error = err.Error()
		}
	}()
	fail := func(what string, r cudaResult) error {
		return c.failure(fmt.Sprintf("CUDA device %d: %s", ordinal, what), r)
	}
	var handle int32
	if r := c.device(&handle, ordinal); r != 0 {
		return d, fail("cannot be opened", r)
	}
	c.identify(handle, &d)
	var context uintptr
	if r := c.retainContext(&context, handle); r != 0 {
		return d, fail("no context", r)
	}
	defer c.releaseContext(handle)
	if r := c.setContext(context); r != 0 {
		return d, fail("no context", r)
	}
	c.memoryInfo(&d.MemoryFreeBytes, &d.MemoryTotalBytes)
	var block uint64
	if r := c.alloc(&block, tryBytes); r != 0 {
		return d, fail("no memory can be allocated", r)
	}
	defer c.free(block)
	if r := c.fill(block, 0xA5, tryBytes); r != 0 {
		return d, fail("memory cannot be written", r)
	}
	var last byte
	if r := c.copyToHost(&last, block+tryBytes-1, 1); r != 0 {
		return d, fail("memory cannot be read", r)
	}
	if last != 0xA5 {
		return d, record.Failf(record.GPUBroken, "CUDA device %d: what was written reads as something else", ordinal)
	}
	return d, nil
}

func (c *libcuda) identify(handle int32, d *record.CUDADevice) {
	var name [256]byte
	if c.deviceName(&name[0], int32(len(name)), handle) == 0 {
		d.Name = unix.ByteSliceToString(name[:])
	}
	var id [16]byte
	if c.deviceUUID(&id, handle) == 0 {
		d.UUID = fmt.Sprintf("GPU-%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	}
	var major, minor int32
	if c.deviceAttribute(&major, attributeMajor, handle) == 0 && c.deviceAttribute(&minor, attributeMinor, handle) == 0 {
		d.ComputeCapability = fmt.Sprintf("%d.%d", major, minor)
	}
}

// failure converts CUDA's result, the only place where that is done.
func (c *libcuda) failure(what string, r cudaResult) error {
	name := "unknown"
	var text *byte
	if c.errorName(r, &text) == 0 && text != nil {
		name = unix.BytePtrToString(text)
	}
	return cudaFailure(what, r, name)
}
