package steps

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/preflight"
	"github.com/step-runner/step-runner/steps/pyenv"
)

// Setup checks what the container and the workspace offer, before anything is spent.
type Setup struct {
	GPUNeeds     `embed:""`
	SetupOptions `embed:""`

	facts record.SetupFacts
}

// SetupOptions are the flags that `run` has too, as --setup-….
type SetupOptions struct {
	Python       string      `placeholder:"FILE" help:"The Python interpreter that has the tools. Default: python3 of PATH."`
	MinFree      units.Bytes `default:"2GiB" placeholder:"SIZE" help:"Least free space in the workspace. Notebooks that write data need more."`
	Install      bool        `help:"Install Python tools that are missing into an environment of step-runner's own in the workspace; the image's stays as it is."`
	Constraints  string      `placeholder:"FILE" help:"Constraints file for --install, as pip takes it."`
	child.Limits `embed:""`
}

// Help is the long help.
func (*Setup) Help() string {
	return `Checks before anything is spent: the workspace's free space and inodes; a Python that
can import papermill, nbconvert and ipykernel; the GPU, by --gpu. On Tekton a GPU
belongs to one container: there, give --gpu off here, and papermill checks its own.

With --install, tools that are missing are installed into an environment in the
workspace that also sees the image's packages. It is built once and used by later
runs as long as nothing that went into it changes. Steps after this one use the
interpreter that this one has found.

Any user id works, also one without a name; files in the workspace keep their owners.

Exit status: 0 when all is there; 11 a tool is missing; 12 the workspace cannot be
used; 13 too little space; 14 the installation failed; 20 to 24 the GPU (see
gpu-check), unless --gpu says otherwise.`
}

// ID is step 1.
func (*Setup) ID() record.ID { return record.Setup }

// Facts returns what Run fills in.
func (s *Setup) Facts() any { return &s.facts }

// Run makes every check, so that one run shows all that is wrong. The failure is
// the first one; the others are notes.
func (s *Setup) Run(ctx context.Context, j *Job) error {
	s.facts = record.SetupFacts{Versions: map[string]string{}, UID: os.Getuid(), GID: os.Getgid(), GPUFacts: record.GPUFacts{GPUs: []record.GPU{}}}
	s.noteUser(j)
	space := s.checkSpace(j)
	tools := s.checkTools(ctx, j, space == nil)
	gpus := s.GPUNeeds.check(ctx, j, &s.facts.GPUFacts)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var first error
	for _, err := range []error{space, tools, gpus} {
		switch {
		case err == nil:
		case first == nil:
			first = err
		default:
			j.Note("%v", err)
		}
	}
	return first
}

// noteUser notes what programs may stumble over when the container runs as any UID.
func (s *Setup) noteUser(j *Job) {
	if !named(s.facts.UID) {
		j.Log.Info("the user has no name in this container; programs are told one", "uid", s.facts.UID)
	}
	if home := j.Getenv("HOME"); !writableDir(home) {
		j.Note("HOME (%q) cannot be written by uid %d; programs get one inside the run", home, s.facts.UID)
	}
}

// Below these a run is sure to fail, or RAPIDS and Dask are likely to: docker
// gives /dev/shm 64 MiB, and RAPIDS asks for 1 GiB.
const (
	setupMinInodes = 20_000
	setupMinSHM    = 1 << 30
)

func (s *Setup) checkSpace(j *Job) error {
	dir := j.Workspace.Dir
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return record.Failf(record.BadWorkspace, "workspace %s: %w", dir, err)
	}
	s.facts.FreeBytes, s.facts.FreeInodes = fs.Bavail*uint64(fs.Bsize), fs.Ffree
	s.checkSHM(j)
	switch {
	case s.facts.FreeBytes < uint64(s.MinFree):
		return record.Failf(record.DiskFull, "workspace %s: %s free, less than --min-free %s", dir, units.Bytes(s.facts.FreeBytes), s.MinFree)
	case fs.Files > 0 && fs.Ffree < setupMinInodes: // Some file systems do not count.
		return record.Failf(record.DiskFull, "workspace %s: %d inodes free, less than %d; a Python environment takes that many", dir, fs.Ffree, setupMinInodes)
	}
	return nil
}

func (s *Setup) checkSHM(j *Job) {
	var fs unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &fs); err != nil {
		j.Note("/dev/shm: %v; Dask, UCX and PyTorch's loaders share memory through it", err)
		return
	}
	s.facts.SHMBytes = fs.Blocks * uint64(fs.Bsize)
	if s.facts.SHMBytes < setupMinSHM {
		j.Note("/dev/shm has %s; RAPIDS asks for 1 GiB: docker run --shm-size=1g, on Kubernetes an emptyDir with medium Memory", units.Bytes(s.facts.SHMBytes))
	}
}

// checkTools finds the interpreter and what it lacks, and installs that if it
// was asked to and there is room.
func (s *Setup) checkTools(ctx context.Context, j *Job, room bool) error {
	python, err := s.interpreter(j)
	if err != nil {
		return record.AsFailure(err).WithHint("use an image with Python 3.10 or later, or name the interpreter with --python")
	}
	report, err := s.preflight(ctx, j, python)
	if err != nil {
		return err
	}
	if lack := report.Failure(); lack != nil {
		if !s.Install || !room {
			return lack
		}
		j.Log.Info("tools are missing and will be installed", "lack", lack)
		if python, err = s.install(ctx, j, python); err != nil {
			return err
		}
		if report, err = s.preflight(ctx, j, python); err != nil {
			return err
		}
		if lack := report.Failure(); lack != nil {
			return record.Failf(record.InstallFailed, "after the installation: %w", lack)
		}
	}
	for _, text := range report.Notes() {
		j.Note("%s", text)
	}
	return nil
}

func (s *Setup) interpreter(j *Job) (string, error) {
	name := cmp.Or(s.Python, "python3")
	if strings.Contains(name, "/") {
		abs, err := filepath.Abs(name)
		if err != nil {
			return "", err
		}
		name = abs
	}
	return lookPath(j.Getenv("PATH"), name)
}

// preflight asks an interpreter for its tools and records what works.
func (s *Setup) preflight(ctx context.Context, j *Job, python string) (preflight.Report, error) {
	script := j.Env.Run.Path("work", "setup", "preflight.py")
	if err := errors.Join(os.MkdirAll(filepath.Dir(script), 0o775), os.WriteFile(script, preflight.Script, 0o664)); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	res, err := j.Child(ctx, child.Spec{Argv: append([]string{python, script}, preflight.Args()...), Stdout: &out, Limits: s.Limits})
	if err != nil {
		return nil, err
	}
	report, err := preflight.Parse(out.Bytes())
	if err != nil || len(report) == 0 {
		return nil, record.Failf(record.MissingTool, "%s does not run as Python (exit code %d); the step's log has its words", python, res.ExitCode)
	}
	s.facts.Python, s.facts.Versions = python, report.Versions()
	return report, nil
}

// install builds or finds the environment that has the tools.
func (s *Setup) install(ctx context.Context, j *Job, python string) (string, error) {
	if s.Constraints != "" {
		if err := j.Input(s.Constraints); err != nil {
			return "", record.Failf(record.BadInput, "--constraints: %w", err)
		}
	}
	b := pyenv.Builder{Workspace: j.Workspace, Run: j.Child, Environ: j.ChildEnv(), Out: j.Out, Log: j.Log, Kind: record.InstallFailed, Limits: s.Limits}
	venv, err := b.Tools(ctx, "tools", pyenv.Tools{
		Python: python, Requirements: preflight.Requirements(), Constraints: s.Constraints, SystemSitePackages: true,
	})
	if err != nil {
		return "", err
	}
	defer venv.Close()
	s.facts.Installed = &record.TestEnv{Installer: venv.Installer, Python: venv.PythonVersion, Cached: venv.Cached}
	return venv.Python, nil
}

// Python is the interpreter that has the tools: the one that setup found in
// this run, else python3 of PATH. The path is absolute. On Tekton setup may have
// run in another image; what it found counts only where it is there too.
func (j *Job) Python() (string, error) {
	if found := j.setupPython(); found != "" {
		if isProgram(found) {
			return found, nil
		}
		j.Note("%s, which setup found, is not in this container; python3 of PATH is used", found)
	}
	return lookPath(j.Getenv("PATH"), "python3")
}

func (j *Job) setupPython() string {
	if j.Env.Run == nil {
		return ""
	}
	rec, err := j.Env.Run.Read(record.Setup)
	if err != nil || rec == nil || rec.Status != record.StatusSucceeded {
		return ""
	}
	return rec.Facts.(*record.SetupFacts).Python
}

// lookPath finds the program called name in path, a list like $PATH; an absolute
// name is looked at alone. It leaves out relative directories: a repository must
// not bring its own python3.
func lookPath(path, name string) (string, error) {
	if filepath.IsAbs(name) {
		if isProgram(name) {
			return name, nil
		}
		return "", record.Failf(record.MissingTool, "%s: there is no such program", name)
	}
	for _, dir := range filepath.SplitList(path) {
		if file := filepath.Join(dir, name); filepath.IsAbs(dir) && isProgram(file) {
			return file, nil
		}
	}
	return "", record.Failf(record.MissingTool, "%s: not found in PATH (%s)", name, path)
}

func isProgram(file string) bool {
	fi, err := os.Stat(file)
	return err == nil && fi.Mode().IsRegular() && unix.Access(file, unix.X_OK) == nil
}
