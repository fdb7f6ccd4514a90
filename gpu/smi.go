package gpu

import (
	"context"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// smiSource is what the facts name as their source.
const smiSource = "nvidia-smi"

var smiFields = []string{"index", "name", "uuid", "driver_version", "memory.total", "memory.free", "utilization.gpu", "compute_mode", "compute_cap", "mig.mode.current"}

// smi asks nvidia-smi instead of NVML.
func (c *Children) smi(ctx context.Context) (record.GPUFacts, error) {
	facts := record.GPUFacts{Source: smiSource, GPUs: []record.GPU{}}
	ended, err := c.Exec(ctx, []string{smiSource, "--query-gpu=" + strings.Join(smiFields, ","), "--format=csv,noheader,nounits"})
	var f *record.Failure
	switch {
	case errors.As(err, &f) && f.Kind == record.MissingTool:
		return facts, record.Failf(record.NoDriver, "nvidia-smi is not in this container, and this step-runner was built without cgo")
	case err != nil:
		return facts, hung(ctx, smiSource, err)
	}
	text := firstLine(append(ended.Stdout, ended.Stderr...))
	if ended.ExitCode != 0 || strings.HasPrefix(text, "No devices were found") {
		return facts, smiFailure(ended.ExitCode, text)
	}
	facts.GPUs, facts.Driver, err = parseSMI(strings.NewReader(string(ended.Stdout)))
	switch {
	case err != nil:
		return facts, record.Failf(record.GPUBroken, "nvidia-smi answered nonsense: %w", err)
	case len(facts.GPUs) == 0:
		return facts, record.Failf(record.NoGPU, "nvidia-smi shows no GPU")
	}
	return facts, nil
}

// smiClasses maps what nvidia-smi says, and its documented exit codes, to classes.
var smiClasses = []struct {
	code int
	text string
	kind record.Kind
}{
	{6, "No devices were found", record.NoGPU},
	{4, "Insufficient Permissions", record.GPUPermission},
	{9, "couldn't communicate with the NVIDIA driver", record.NoDriver},
	{12, "couldn't find libnvidia-ml.so", record.NoDriver},
}

func smiFailure(code int, text string) *record.Failure {
	kind := record.GPUBroken
	for _, c := range smiClasses {
		if code == c.code || strings.Contains(text, c.text) {
			kind = c.kind
		}
	}
	f := record.Failf(kind, "nvidia-smi: %s (exit code %d)", text, code)
	switch {
	case strings.Contains(text, "version mismatch"):
		return f.WithHint("%s", hintMismatch)
	case strings.Contains(text, "Unknown Error"):
		return f.WithHint("%s", hintUnknown)
	}
	return f
}

// parseSMI reads the CSV of smiFields. A value that is no number is unknown:
// "[N/A]", "[Insufficient Permissions]".
func parseSMI(r io.Reader) (gpus []record.GPU, driver string, err error) {
	rows := csv.NewReader(r)
	rows.TrimLeadingSpace, rows.FieldsPerRecord, rows.LazyQuotes = true, len(smiFields), true
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return gpus, driver, nil
		}
		if err != nil {
			return gpus, driver, err
		}
		field := func(name string) string { return strings.TrimSpace(row[slices.Index(smiFields, name)]) }
		index, err := strconv.Atoi(field("index"))
		if err != nil {
			return gpus, driver, err
		}
		g := record.GPU{Index: index, Name: field("name"), UUID: field("uuid")}
		g.MemoryTotalBytes, g.MemoryFreeBytes = mebibytes(field("memory.total")), mebibytes(field("memory.free"))
		if u, err := strconv.ParseUint(field("utilization.gpu"), 10, 32); err == nil {
			percent := uint32(u)
			g.UtilizationPercent = &percent
		}
		if capability := field("compute_cap"); !strings.HasPrefix(capability, "[") {
			g.ComputeCapability = capability
		}
		g.ComputeMode = smiModes[field("compute_mode")]
		g.MIGEnabled = field("mig.mode.current") == "Enabled"
		gpus, driver = append(gpus, g), field("driver_version")
	}
}

var smiModes = map[string]string{"Default": "default", "Exclusive_Thread": "exclusive-thread", "Prohibited": "prohibited", "Exclusive_Process": "exclusive-process"}

func mebibytes(text string) *uint64 {
	n, err := strconv.ParseUint(text, 10, 44)
	if err != nil {
		return nil
	}
	n <<= 20
	return &n
}
