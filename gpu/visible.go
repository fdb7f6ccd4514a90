package gpu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

func visibleDevices(environ []string) *string {
	for _, kv := range slices.Backward(environ) {
		if v, ok := strings.CutPrefix(kv, "CUDA_VISIBLE_DEVICES="); ok {
			return &v
		}
	}
	return nil
}

// computable are what a program can compute on: whole devices, and the instances of
// those that are in MIG mode. Those that NVML could not open are left out.
func computable(gpus []record.GPU) []record.GPU {
	var us []record.GPU
	for _, g := range gpus {
		switch {
		case g.Error != "":
		case g.MIGEnabled:
			us = append(us, g.MIG...)
		default:
			us = append(us, g)
		}
	}
	return us
}

// Visible are the devices that CUDA_VISIBLE_DEVICES leaves to a program, by the
// rules of the CUDA documentation: entries count up to the first one that is not
// valid. why says what is wrong with the value, "" when nothing is. A nil value
// is a variable that is not set.
func Visible(value *string, gpus []record.GPU) (visible []record.GPU, why string) {
	us := computable(gpus)
	if value == nil {
		return us, ""
	}
	if *value == "" {
		return nil, "it is empty, which hides every GPU"
	}
	for _, entry := range strings.Split(*value, ",") {
		entry = strings.TrimSpace(entry)
		g, why := find(entry, us)
		switch {
		case why != "":
			return visible, why
		case slices.ContainsFunc(visible, func(v record.GPU) bool { return v.UUID == g.UUID }):
			return nil, fmt.Sprintf("%q names a device for the second time, which hides every GPU", entry)
		}
		visible = append(visible, g)
	}
	return visible, ""
}

// find returns the device that one entry names, or what is wrong with the entry.
func find(entry string, us []record.GPU) (record.GPU, string) {
	if i, err := strconv.Atoi(entry); err == nil {
		if i >= 0 && i < len(us) {
			return us[i], ""
		}
		return record.GPU{}, fmt.Sprintf("there is no device %d: this container has %s", i, listed(us))
	}
	switch {
	case entry == "all":
		return record.GPU{}, `"all" is a value for NVIDIA_VISIBLE_DEVICES; CUDA takes indexes or UUIDs and sees no GPU with it`
	case !strings.HasPrefix(entry, "GPU-") && !strings.HasPrefix(entry, "MIG-"):
		return record.GPU{}, fmt.Sprintf("%q is neither an index nor a UUID", entry)
	}
	var found []record.GPU
	for _, g := range us {
		if strings.HasPrefix(strings.ToLower(g.UUID), strings.ToLower(entry)) {
			found = append(found, g)
		}
	}
	switch len(found) {
	case 1:
		return found[0], ""
	case 0:
		return record.GPU{}, fmt.Sprintf("no device has the UUID %s: this container has %s", entry, listed(us))
	}
	return record.GPU{}, fmt.Sprintf("%s fits %d devices", entry, len(found))
}

func listed(us []record.GPU) string {
	if len(us) == 0 {
		return "none"
	}
	names := make([]string, len(us))
	for i, g := range us {
		names[i] = fmt.Sprintf("%d = %s", i, g.UUID)
	}
	return strings.Join(names, ", ")
}

// hidden is the failure when the devices are there but a program sees none.
func hidden(f record.GPUFacts) error {
	visible, why := Visible(f.VisibleDevices, f.GPUs)
	switch {
	case len(visible) > 0:
		return nil
	case why != "":
		return record.Failf(record.NoGPU, "CUDA_VISIBLE_DEVICES=%s: %s", *f.VisibleDevices, why).
			WithHint("unset CUDA_VISIBLE_DEVICES, or set it to an index or UUID of this container; the container runtime decides which GPUs it has")
	case slices.ContainsFunc(f.GPUs, func(g record.GPU) bool { return g.MIGEnabled && len(g.MIG) == 0 }):
		return record.Failf(record.NoGPU, "the GPU is in MIG mode and has no instance that this container may use").
			WithHint("create GPU and compute instances (nvidia-smi mig -cgi … -C), ask for nvidia.com/mig-…, or turn MIG mode off")
	}
	return nil
}

// sameUUID compares two UUIDs by their digits: CUDA calls a MIG instance GPU-….
func sameUUID(a, b string) bool {
	return len(a) > 4 && len(b) > 4 && strings.EqualFold(a[4:], b[4:])
}

// matchMIG gives CUDA devices that are MIG instances the name that NVML has for them.
func matchMIG(f *record.GPUFacts) {
	for i, d := range f.CUDADevices {
		for _, u := range computable(f.GPUs) {
			if sameUUID(d.UUID, u.UUID) {
				f.CUDADevices[i].UUID = u.UUID
			}
		}
	}
}
