package gpu

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/step-runner/step-runner/artifacts/record"
)

func TestExplain(t *testing.T) {
	const gvisor = "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016"
	const wsl = "Linux version 5.15.153.1-microsoft-standard-WSL2"
	for _, c := range []struct {
		name   string
		given  record.Kind
		open   error
		kernel string
		env    string // NVIDIA_VISIBLE_DEVICES
		kind   record.Kind
		hint   string
	}{
		{"no runtime", record.NoDriver, syscall.ENOENT, "", "", record.NoDriver, "NVIDIA container runtime"},
		{"runtime not used", record.NoDriver, syscall.ENOENT, "", "all", record.NoDriver, "NVIDIA_VISIBLE_DEVICES=all is set but no device was added"},
		{"runtime told to give none", record.NoDriver, syscall.ENOENT, "", "void", record.NoDriver, "NVIDIA_VISIBLE_DEVICES=void tells"},
		{"libraries not added", record.NoDriver, nil, "", "", record.NoDriver, "NVIDIA_DRIVER_CAPABILITIES"},
		{"mode", record.GPUBroken, syscall.EACCES, "", "", record.GPUPermission, "group"},
		{"mode hides it all", record.NoDriver, syscall.EACCES, "", "", record.GPUPermission, "group"},
		{"cgroup", record.GPUBroken, syscall.EPERM, "", "", record.GPUPermission, "daemon-reload"},
		{"broken stays broken", record.GPUBroken, syscall.ENOENT, "", "", record.GPUBroken, "drained"},
		{"WSL", record.NoDriver, syscall.ENOENT, wsl, "", record.NoDriver, "/usr/lib/wsl/lib"},
		{"WSL without a GPU", record.NoGPU, syscall.ENOENT, wsl, "", record.NoGPU, "nvidia.com/gpu"},
		{"gVisor", record.NoDriver, syscall.ENOENT, gvisor, "all", record.NoDriver, "--nvproxy"},
		{"too small needs no explanation", record.GPUInsufficient, syscall.EPERM, "", "", record.GPUInsufficient, "lower --min-count"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := Host{Open: func(path string) error {
				assert.Equal(t, "/dev/nvidiactl", path)
				return c.open
			}, ReadFile: func(string) ([]byte, error) { return []byte(c.kernel), nil }}
			getenv := func(name string) string { return map[string]string{"NVIDIA_VISIBLE_DEVICES": c.env}[name] }
			f := requireKind(t, c.kind, h.explain(record.Failf(c.given, "the cause"), getenv))
			assert.Contains(t, f.Hint, c.hint)
			assert.Contains(t, f.Message, "the cause")
		})
	}
	assert.NoError(t, Host{}.explain(nil, nil))
}

func TestExplainCUDA(t *testing.T) {
	none := func(string) string { return "" }
	const gvisor = "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016"
	host := func(uvm error) Host {
		return Host{ReadFile: func(string) ([]byte, error) { return []byte(gvisor), nil }, Open: func(path string) error {
			if path == "/dev/nvidia-uvm" {
				return uvm
			}
			return nil
		}}
	}
	why := record.Failf(record.NoGPU, "CUDA_VISIBLE_DEVICES=all").WithHint("unset it")
	noDevice, broken := record.Failf(record.NoGPU, "no device"), record.Failf(record.GPUBroken, "error 999")

	assert.Equal(t, why, host(nil).explainCUDA(noDevice, why, none), "not gVisor's fault: NVML works")
	assert.Equal(t, noDevice, host(nil).explainCUDA(noDevice, nil, none))
	assert.Equal(t, broken, host(nil).explainCUDA(broken, why, none), "it hides no device from a driver that is broken")
	f := requireKind(t, record.GPUPermission, host(syscall.ENOENT).explainCUDA(broken, nil, none))
	assert.Equal(t, "error 999; CUDA needs /dev/nvidia-uvm: no such file or directory", f.Message)
	full := record.Failf(record.GPUInsufficient, "no free memory")
	assert.Equal(t, full, host(syscall.ENOENT).explainCUDA(full, nil, none))
	f = requireKind(t, record.NoDriver, host(nil).explainCUDA(record.Failf(record.NoDriver, "no libcuda"), nil, none))
	assert.Contains(t, f.Hint, "NVIDIA_DRIVER_CAPABILITIES")
}
