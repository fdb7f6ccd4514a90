package gpu

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

func TestVisible(t *testing.T) {
	two := []record.GPU{{Index: 0, UUID: "GPU-aaaa-1"}, {Index: 1, UUID: "GPU-aabb-2"}}
	mig := []record.GPU{{Index: 0, UUID: "GPU-cccc", MIGEnabled: true, MIG: []record.GPU{{UUID: "MIG-1111"}, {UUID: "MIG-2222"}}}}
	for _, c := range []struct {
		name  string
		value *string
		gpus  []record.GPU
		want  []string
		why   string
	}{
		{"not set", nil, two, []string{"GPU-aaaa-1", "GPU-aabb-2"}, ""},
		{"one", ptr("1"), two, []string{"GPU-aabb-2"}, ""},
		{"both, turned round", ptr("1,0"), two, []string{"GPU-aabb-2", "GPU-aaaa-1"}, ""},
		{"spaces", ptr(" 0 , 1 "), two, []string{"GPU-aaaa-1", "GPU-aabb-2"}, ""},
		{"UUID", ptr("GPU-aabb-2"), two, []string{"GPU-aabb-2"}, ""},
		{"beginning of a UUID in capitals", ptr("GPU-AAB"), two, []string{"GPU-aabb-2"}, ""},
		{"beginning of two UUIDs", ptr("GPU-aa"), two, nil, "GPU-aa fits 2 devices"},
		{"wrong UUID", ptr("GPU-ffff"), two, nil, "no device has the UUID GPU-ffff: this container has 0 = GPU-aaaa-1, 1 = GPU-aabb-2"},
		{"all", ptr("all"), two, nil, "NVIDIA_VISIBLE_DEVICES"},
		{"empty", ptr(""), two, nil, "hides every GPU"},
		{"nonsense", ptr("gpu0"), two, nil, `"gpu0" is neither`},
		{"minus one", ptr("-1"), two, nil, "there is no device -1"},
		{"what follows an invalid entry is hidden", ptr("0,7,1"), two, []string{"GPU-aaaa-1"}, "there is no device 7"},
		{"twice", ptr("0,0"), two, nil, "second time"},
		{"twice, by UUID", ptr("0,GPU-aaaa-1"), two, nil, "second time"},
		{"none there", ptr("0"), nil, nil, "this container has none"},
		{"MIG, not set", nil, mig, []string{"MIG-1111", "MIG-2222"}, ""},
		{"MIG instance", ptr("MIG-2222"), mig, []string{"MIG-2222"}, ""},
		{"parent of MIG instances", ptr("GPU-cccc"), mig, nil, "no device has the UUID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			visible, why := Visible(c.value, c.gpus)
			var uuids []string
			for _, g := range visible {
				uuids = append(uuids, g.UUID)
			}
			assert.Equal(t, c.want, uuids)
			if c.why == "" {
				assert.Empty(t, why)
			} else {
				assert.Contains(t, why, c.why)
			}
		})
	}
}

func TestHidden(t *testing.T) {
	gpus := []record.GPU{{UUID: "GPU-1"}}
	assert.NoError(t, hidden(record.GPUFacts{GPUs: gpus}))
	assert.NoError(t, hidden(record.GPUFacts{GPUs: gpus, VisibleDevices: ptr("0,3")}), "one is left")
	f := requireKind(t, record.NoGPU, hidden(record.GPUFacts{GPUs: gpus, VisibleDevices: ptr("all")}))
	assert.Contains(t, f.Message, "CUDA_VISIBLE_DEVICES=all: ")
	assert.Contains(t, f.Hint, "unset CUDA_VISIBLE_DEVICES")
	f = requireKind(t, record.NoGPU, hidden(record.GPUFacts{GPUs: []record.GPU{{UUID: "GPU-1", MIGEnabled: true}}}))
	assert.Contains(t, f.Message, "MIG mode and has no instance")
}

func TestVisibleDevicesOf(t *testing.T) {
	assert.Nil(t, visibleDevices([]string{"NVIDIA_VISIBLE_DEVICES=all"}))
	assert.Equal(t, ptr(""), visibleDevices([]string{"CUDA_VISIBLE_DEVICES="}))
	assert.Equal(t, ptr("1"), visibleDevices([]string{"CUDA_VISIBLE_DEVICES=0", "CUDA_VISIBLE_DEVICES=1"}), "the last one counts")
}

func TestMatchMIG(t *testing.T) {
	f := record.GPUFacts{
		GPUs:        []record.GPU{{UUID: "GPU-c", MIGEnabled: true, MIG: []record.GPU{{UUID: "MIG-1111"}}}},
		CUDADevices: []record.CUDADevice{{UUID: "GPU-1111"}, {UUID: "GPU-9999"}},
	}
	matchMIG(&f)
	assert.Equal(t, "MIG-1111", f.CUDADevices[0].UUID)
	assert.Equal(t, "GPU-9999", f.CUDADevices[1].UUID)
}

func FuzzVisible(f *testing.F) {
	for _, v := range []string{"0", "all", "0,1", "GPU-aa", "MIG-", ",", "-1", "00,0"} {
		f.Add(v)
	}
	gpus := []record.GPU{{UUID: "GPU-aaaa-1"}, {UUID: "GPU-aabb-2"}}
	f.Fuzz(func(t *testing.T, value string) {
		visible, why := Visible(&value, gpus)
		seen := map[string]bool{}
		for _, g := range visible {
			require.False(t, seen[g.UUID], "%q shows a device twice", value)
			seen[g.UUID] = true
		}
		require.True(t, len(visible) > 0 || why != "", "%q hides every device and says not why", value)
	})
}
