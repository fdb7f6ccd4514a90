package artifacts

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

// TestKilledForWantOfMemory: a whole container is gone, but its last samples are there.
func TestKilledForWantOfMemory(t *testing.T) {
	const gib = 1 << 30
	begun := record1(run(t, workspace(t), "r"), record.Papermill, record.StatusRunning).Started.UnixMilli()
	sample := func(after int64, used int) string {
		return fmt.Sprintf(`{"t":%d,"host":{"rss_bytes":1,"cgroup_bytes":%d}}`, begun+after, used)
	}
	limit := fmt.Sprintf(`{"cgroup_limit_bytes":%d}`, 4*gib)
	for name, tc := range map[string]struct {
		lines []string
		want  record.Kind
	}{
		"full":                        {[]string{limit, sample(0, gib), sample(100, 4*gib)}, record.OutOfMemory},
		"nearly full":                 {[]string{limit, sample(0, gib), sample(100, 37*gib/10)}, record.OutOfMemory},
		"full until the largest went": {[]string{limit, sample(0, 4*gib), sample(500, gib)}, record.OutOfMemory},
		"cut in the middle":           {[]string{limit, sample(0, 4*gib), `{"t":1,"host":{"rss`}, record.OutOfMemory},
		"half full":                   {[]string{limit, sample(0, 2*gib)}, record.Killed},
		"full long before":            {[]string{limit, sample(0, 4*gib), sample(60_000, gib)}, record.Killed},
		"of an earlier attempt":       {[]string{limit, sample(-500, 4*gib)}, record.Killed},
		"no limit":                    {[]string{sample(0, 4*gib)}, record.Killed},
		"memory is unknown":           {[]string{limit, `{"t":1,"host":{"rss_bytes":1}}`}, record.Killed},
		"empty":                       {nil, record.Killed},
		"GPUs beside":                 {[]string{`{"watched":[],"watches_xids":true}`, limit, `{"t":1,"gpus":[{"uuid":"GPU-1"}]}`, sample(0, 4*gib), `{"t":2,"gpus":[]}`}, record.OutOfMemory},
		"hours":                       {[]string{limit, strings.Repeat(sample(0, gib)+"\n", 100_000), sample(3, 4*gib)}, record.OutOfMemory},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, workspace(t), "r")
			require.NoError(t, os.WriteFile(r.Path("logs", WatchFile), []byte(strings.Join(tc.lines, "\n")), 0o600))
			for _, id := range []record.ID{record.Papermill, record.Pytest} {
				require.NoError(t, r.Write(record1(r, id, record.StatusRunning)))
				rec, err := r.Read(id)
				require.NoError(t, err)
				want := tc.want
				if id != record.Papermill {
					want = record.Killed // The samples are none of its own.
				}
				assert.Equal(t, want, rec.Failure.Kind)
				assert.Equal(t, record.ExitCode(rec.Failure), *rec.ExitCode)
				assert.Equal(t, record.StatusInterrupted, rec.Status)
				assert.Contains(t, rec.Failure.Message, rec.Name+" was killed before it could write its result")
				if want == record.OutOfMemory {
					assert.Contains(t, rec.Failure.Message, "of the 4 GiB that it may use")
					assert.Contains(t, rec.Failure.Hint, "raise the container's memory limit above 4 GiB")
				}
			}
		})
	}
	r := run(t, workspace(t), "r")
	require.NoError(t, r.Write(record1(r, record.Papermill, record.StatusRunning)))
	rec, err := r.Read(record.Papermill)
	require.NoError(t, err)
	assert.Equal(t, record.Killed, rec.Failure.Kind, "no samples at all")
}
