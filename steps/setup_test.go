package steps

import (
	"archive/zip"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/steps/steptest"
)

// setupRun executes setup and returns its record, read back from disk, and facts.
func setupRun(t *testing.T, e *TestEnv, s *Setup) (*record.Record, *record.SetupFacts) {
	t.Helper()
	_, err := Execute(context.Background(), e.Env, s)
	rec, rerr := e.Run.Read(record.Setup)
	require.NoError(t, rerr)
	if err == nil {
		require.Nil(t, rec.Failure)
	} else {
		require.Equal(t, err.Error(), rec.Failure.Message)
		require.NotEmpty(t, rec.Failure.Hint)
	}
	return rec, rec.Facts.(*record.SetupFacts)
}

// noted says whether one of the record's notes has text in it.
func noted(rec *record.Record, text string) bool {
	return strings.Contains(strings.Join(rec.Notes, "\n"), text)
}

// barePython is a virtual environment without any package. Its directory is the
// only one in PATH, so nothing else is found.
func barePython(t *testing.T, extra ...string) *TestEnv {
	t.Helper()
	dir := t.TempDir()
	base, err := exec.Command(steptest.Python(t), "-c", "import sys; print(sys._base_executable)").Output()
	require.NoError(t, err)
	out, err := exec.Command(strings.TrimSpace(string(base)), "-m", "venv", "--without-pip", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	e := NewTestEnv(t)
	e.Environ = append([]string{"PATH=" + filepath.Join(dir, "bin"), "HOME=" + t.TempDir()}, extra...)
	return e
}

func TestSetupFindsTheTools(t *testing.T) {
	e := NewTestEnv(t)
	rec, facts := setupRun(t, e, &Setup{})
	assert.Equal(t, record.StatusSucceeded, rec.Status)
	for _, name := range []string{"python", "papermill", "nbconvert", "ipykernel", "pytest", "poetry", "uv"} {
		assert.Regexp(t, `^\d+\.\d+`, facts.Versions[name], name)
	}
	assert.Equal(t, filepath.Join(filepath.Dir(steptest.Python(t)), "python3"), facts.Python)
	assert.Positive(t, facts.FreeBytes)
	assert.Equal(t, os.Getuid(), facts.UID)
	assert.Equal(t, os.Getgid(), facts.GID)
	assert.Equal(t, "not looked at: --gpu off", facts.GPUError)
	assert.Empty(t, facts.GPUs)
	assert.Nil(t, facts.Installed)
	assert.False(t, noted(rec, "HOME"))
}

func TestSetupMissingTools(t *testing.T) {
	rec, facts := setupRun(t, barePython(t), &Setup{})
	require.Equal(t, record.MissingTool, rec.Failure.Kind)
	for _, name := range []string{"papermill", "nbconvert", "ipykernel"} {
		assert.Contains(t, rec.Failure.Message, name+" is not installed")
	}
	assert.Equal(t, []string{"python"}, keys(facts.Versions))
	assert.Equal(t, 11, *rec.ExitCode)
}

func keys(m map[string]string) []string {
	var ks []string
	for k := range m {
		ks = append(ks, k)
	}
	return ks
}

// faultyPackage is a directory for PYTHONPATH with one package that hides the
// real one.
func faultyPackage(t *testing.T, name, version, source string) string {
	t.Helper()
	dir := t.TempDir()
	for file, text := range map[string]string{
		name + "/__init__.py":                            source,
		name + "-" + version + ".dist-info/METADATA":     fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", name, version),
		name + "-" + version + ".dist-info/entry_points": "",
	} {
		path := filepath.Join(dir, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return "PYTHONPATH=" + dir
}

// A tool counts when it can be imported, not when it is installed.
func TestSetupBrokenTools(t *testing.T) {
	for name, c := range map[string]struct{ source, message string }{
		"needs another module": {"import tinycss3", "nbconvert cannot be imported: No module named 'tinycss3'"},
		"raises":               {"raise RuntimeError('broken bleach')", "nbconvert cannot be imported: RuntimeError: broken bleach"},
		"exits":                {"import sys; sys.exit(0)", "nbconvert cannot be imported: SystemExit: 0"},
		"crashes":              {"import os; os.abort()", "nbconvert crashes when it is imported"},
		"without its module":   {"", "nbconvert cannot be imported: No module named 'nbconvert.nbconvertapp'"},
	} {
		t.Run(name, func(t *testing.T) {
			rec, facts := setupRun(t, NewTestEnv(t, faultyPackage(t, "nbconvert", "7.17.2", c.source)), &Setup{})
			require.Equal(t, record.MissingTool, rec.Failure.Kind)
			assert.Contains(t, rec.Failure.Message, c.message)
			assert.NotContains(t, rec.Failure.Message, "papermill")
			assert.Equal(t, "2.7.0", facts.Versions["papermill"])
			assert.NotContains(t, facts.Versions, "nbconvert")
		})
	}
}

func TestSetupImportsThatPrint(t *testing.T) {
	e := NewTestEnv(t, faultyPackage(t, "papermill", "2.7.0", "print('{\"name\": \"papermill\"}'); import sys; sys.modules['papermill.cli'] = sys"))
	_, facts := setupRun(t, e, &Setup{})
	assert.Equal(t, "2.7.0", facts.Versions["papermill"])
	assert.Contains(t, e.Err.String(), `{"name": "papermill"}`)
}

func TestSetupOldNbconvert(t *testing.T) {
	e := NewTestEnv(t, faultyPackage(t, "nbconvert", "7.17.0", "import sys; sys.modules['nbconvert.nbconvertapp'] = sys"))
	rec, facts := setupRun(t, e, &Setup{})
	assert.Equal(t, "7.17.0", facts.Versions["nbconvert"])
	assert.True(t, noted(rec, "nbconvert 7.17.0 has known vulnerabilities"), rec.Notes)
}

func TestSetupBrokenOptionalTool(t *testing.T) {
	e := NewTestEnv(t)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "poetry"), []byte("#!/bin/sh\necho no such file: dulwich\nexit 3\n"), 0o755))
	e.Environ = append(e.Environ, "PATH="+dir+":"+e.Getenv("PATH"))
	rec, facts := setupRun(t, e, &Setup{})
	assert.True(t, noted(rec, "poetry does not run: exit code 3: no such file: dulwich"), rec.Notes)
	assert.NotContains(t, facts.Versions, "poetry")
}

func TestSetupInterpreter(t *testing.T) {
	t.Run("named", func(t *testing.T) {
		e := barePython(t)
		_, facts := setupRun(t, e, &Setup{SetupOptions: SetupOptions{Python: steptest.Python(t)}})
		assert.Equal(t, steptest.Python(t), facts.Python)
	})
	t.Run("absent", func(t *testing.T) {
		e := NewTestEnv(t)
		e.Environ = []string{"PATH=" + t.TempDir()}
		rec, _ := setupRun(t, e, &Setup{})
		require.Equal(t, record.MissingTool, rec.Failure.Kind)
		assert.Contains(t, rec.Failure.Message, "python3: not found in PATH")
		assert.Contains(t, rec.Failure.Hint, "--python")
	})
	t.Run("no Python", func(t *testing.T) {
		rec, _ := setupRun(t, NewTestEnv(t), &Setup{SetupOptions: SetupOptions{Python: "false"}})
		require.Equal(t, record.MissingTool, rec.Failure.Kind)
		assert.Contains(t, rec.Failure.Message, "does not run as Python")
	})
	t.Run("relative in PATH", func(t *testing.T) {
		e := NewTestEnv(t)
		e.Environ = []string{"PATH=.:testdata"}
		rec, _ := setupRun(t, e, &Setup{})
		assert.Equal(t, record.MissingTool, rec.Failure.Kind)
	})
}

// One run shows everything that is wrong: the first is the failure, the rest notes.
func TestSetupReportsAllThatIsWrong(t *testing.T) {
	e := barePython(t)
	e.GPU = fakeProber{err: record.Failf(record.NoGPU, "no GPU here")}
	rec, facts := setupRun(t, e, &Setup{
		GPUNeeds:     GPUNeeds{GPU: GPURequired},
		SetupOptions: SetupOptions{MinFree: 1 << 62, Install: true},
	})
	require.Equal(t, record.DiskFull, rec.Failure.Kind)
	assert.Contains(t, rec.Failure.Message, "less than --min-free "+units.Bytes(1<<62).String())
	assert.True(t, noted(rec, "papermill is not installed"), rec.Notes)
	assert.True(t, noted(rec, "no GPU here"), rec.Notes)
	assert.Nil(t, facts.Installed, "nothing is installed where there is no room")
}

func TestSetupHomeIsNotWritable(t *testing.T) {
	e := NewTestEnv(t)
	e.Environ = append(e.Environ, "HOME=/proc")
	j := &Job{Env: e.Env, Rec: &record.Record{}}
	(&Setup{}).noteUser(j)
	assert.True(t, noted(j.Rec, `HOME ("/proc") cannot be written`), j.Rec.Notes)
	assert.Contains(t, j.ChildEnv(), "HOME="+e.Run.Path("work", "home-"+strconv.Itoa(os.Getuid())))
}

// wheels is a directory with wheels of the required tools, which contain no more
// than an import needs.
func wheels(t *testing.T, versions map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	modules := map[string]string{"papermill": "cli", "nbconvert": "nbconvertapp", "ipykernel": "kernelapp"}
	for name, version := range versions {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%s-py3-none-any.whl", name, version)))
		require.NoError(t, err)
		z := zip.NewWriter(f)
		info := fmt.Sprintf("%s-%s.dist-info/", name, version)
		var names []string
		add := func(file, text string) {
			w, err := z.Create(file)
			require.NoError(t, err)
			_, err = w.Write([]byte(text))
			require.NoError(t, err)
			names = append(names, file+",,\n")
		}
		add(name+"/__init__.py", "")
		add(name+"/"+modules[name]+".py", "")
		add(info+"METADATA", fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", name, version))
		add(info+"WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
		add(info+"RECORD", strings.Join(names, "")+info+"RECORD,,\n")
		require.NoError(t, z.Close())
		require.NoError(t, f.Close())
	}
	return dir
}

func TestSetupInstalls(t *testing.T) {
	index := wheels(t, map[string]string{"papermill": "2.7.0", "nbconvert": "7.17.2", "ipykernel": "7.4.0"})
	e := barePython(t, "PIP_NO_INDEX=1", "PIP_FIND_LINKS="+index)
	constraints := filepath.Join(t.TempDir(), "constraints.txt")
	require.NoError(t, os.WriteFile(constraints, []byte("nbconvert==7.17.2\n"), 0o644))
	options := SetupOptions{Install: true, Constraints: constraints}

	rec, facts := setupRun(t, e, &Setup{SetupOptions: options})
	require.Equal(t, record.StatusSucceeded, rec.Status, e.Err)
	assert.True(t, strings.HasPrefix(facts.Python, e.Workspace.Path("venvs")), facts.Python)
	assert.Equal(t, "7.17.2", facts.Versions["nbconvert"])
	require.NotNil(t, facts.Installed)
	assert.False(t, facts.Installed.Cached)
	assert.Equal(t, constraints, rec.Inputs[0].Path)

	// The steps after it use that interpreter.
	j := &Job{Env: e.Env, Rec: &record.Record{}}
	python, err := j.Python()
	require.NoError(t, err)
	assert.Equal(t, facts.Python, python)

	// A second run finds it.
	first := facts.Python
	e.Run, err = e.Workspace.OpenRun("second")
	require.NoError(t, err)
	_, facts = setupRun(t, e, &Setup{SetupOptions: options})
	assert.True(t, facts.Installed.Cached)
	assert.Equal(t, first, facts.Python)
}

func TestSetupCannotInstall(t *testing.T) {
	for name, c := range map[string]struct {
		versions    map[string]string
		constraints string
		kind        record.Kind
	}{
		"not in the index": {map[string]string{"papermill": "2.7.0", "ipykernel": "7.4.0"}, "", record.InstallFailed},
		"no constraints":   {nil, "absent.txt", record.BadInput},
	} {
		t.Run(name, func(t *testing.T) {
			e := barePython(t, "PIP_NO_INDEX=1", "PIP_FIND_LINKS="+wheels(t, c.versions))
			rec, _ := setupRun(t, e, &Setup{SetupOptions: SetupOptions{Install: true, Constraints: c.constraints}})
			require.NotNil(t, rec.Failure)
			assert.Equal(t, c.kind, rec.Failure.Kind, rec.Failure.Message)
		})
	}
}

func TestPythonOfARun(t *testing.T) {
	e := NewTestEnv(t)
	j := &Job{Env: e.Env, Rec: &record.Record{}}
	fromPath := filepath.Join(filepath.Dir(steptest.Python(t)), "python3")
	check := func(want string) {
		t.Helper()
		python, err := j.Python()
		require.NoError(t, err)
		assert.Equal(t, want, python)
	}
	write := func(status record.Status, python string) {
		t.Helper()
		require.NoError(t, e.Run.Write(&record.Record{Schema: record.Schema, ID: record.Setup, Run: e.Run.ID, Variant: string(artifacts.Lite),
			Status: status, Argv: []string{}, Outputs: []record.File{}, Facts: &record.SetupFacts{Python: python}}))
	}
	check(fromPath)
	write(record.StatusSucceeded, "/bin/sh")
	check("/bin/sh")
	write(record.StatusFailed, "/bin/sh")
	check(fromPath)
	assert.Empty(t, j.Rec.Notes)
	write(record.StatusSucceeded, "/absent/python3")
	check(fromPath)
	assert.True(t, noted(j.Rec, "/absent/python3"), "another image is noted")
	e.Environ = []string{"PATH=" + t.TempDir()}
	_, err := j.Python()
	assert.Equal(t, record.MissingTool, record.AsFailure(err).Kind)
}
