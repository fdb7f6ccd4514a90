package steps

import (
	"context"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
)

// mark is the step's value of child.StepVar.
func (j *Job) mark() string { return j.Env.Run.Path(j.Rec.ID.String()) }

// Child runs a program in the step's name: its output goes to the console and
// the log, and how it ended goes into the record. An empty Env becomes
// ChildEnv(); a nil Out becomes j.Out.
func (j *Job) Child(ctx context.Context, s child.Spec) (child.Result, error) {
	if s.Env == nil {
		s.Env = j.ChildEnv()
	}
	if s.Out == nil {
		s.Out = j.Out
	}
	if j.Env.Run != nil {
		s.Env = append(slices.Clip(s.Env), child.StepVar+"="+j.mark())
	}
	res, err := j.Runner.Run(ctx, s)
	c := record.Child{ExitCode: res.ExitCode, Signal: res.Signal, Seconds: res.Duration.Seconds(), MaxRSSBytes: res.MaxRSSBytes, Strays: res.Strays, OOMKills: max(0, res.OOMKills)}
	for _, a := range s.Argv {
		c.Argv = append(c.Argv, j.Secrets.String(a))
	}
	j.mu.Lock()
	j.Rec.Children = append(j.Rec.Children, c)
	j.mu.Unlock()
	if len(res.Strays) > 0 {
		j.Note("ended what %s left behind: %s", s.Name(), strings.Join(res.Strays, ", "))
	}
	return res, err
}

// tokenVars never reach a child.
var tokenVars = []string{"STEP_RUNNER_CLONE_TOKEN", "STEP_RUNNER_CLONE_TESTS_TOKEN", "STEP_RUNNER_FETCH_DATA_TOKEN", "GITHUB_TOKEN", "GH_TOKEN", "GIT_TOKEN", "ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"}

// TokenVars are the variables that hold tokens. They never reach a child.
func TokenVars() []string { return slices.Clone(tokenVars) }

// ChildEnv is this process's environment without any variable that is known to
// hold a token of step-runner's or the name of its file, or whose value contains one,
// plus extra; the last of a name counts. PYTHONOPTIMIZE is left out, since with it no
// assert of a notebook or a test checks anything.
func (j *Job) ChildEnv(extra ...string) []string {
	env := slices.DeleteFunc(slices.Clone(j.Environ), func(kv string) bool {
		name, value, _ := strings.Cut(kv, "=")
		ours := strings.HasPrefix(name, "STEP_RUNNER_") && strings.Contains(name, "TOKEN")
		return ours || name == optimizeVar || slices.Contains(tokenVars, name) || j.Secrets.Withheld([]byte(value))
	})
	return append(append(env, j.homeEnv()...), extra...)
}

const optimizeVar = "PYTHONOPTIMIZE"

// noteOptimize says that ChildEnv differs from the environment where that matters.
func (j *Job) noteOptimize() {
	if j.Getenv(optimizeVar) != "" {
		j.Note("%s is not passed on: with it, assert statements check nothing", optimizeVar)
	}
}

// homeEnv gives children a writable HOME inside the run when the one they would
// inherit is not, and a name to a user without an entry in passwd: containers run
// as any UID, and PyTorch and getpass fail where a user has no name.
func (j *Job) homeEnv() []string {
	var env []string
	if !named(os.Getuid()) && j.Getenv("USER") == "" && j.Getenv("LOGNAME") == "" {
		env = append(env, "USER=step-runner", "LOGNAME=step-runner")
	}
	if j.Env.Run == nil || writableDir(j.Getenv("HOME")) {
		return env
	}
	// One for each user: programs keep directories in it that they close to all others.
	home := j.Env.Run.Path("work", "home-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(home, 0o775); err != nil {
		return env
	}
	return append(env, "HOME="+home)
}

func named(uid int) bool {
	_, err := user.LookupId(strconv.Itoa(uid))
	return err == nil
}

func writableDir(dir string) bool {
	if dir == "" {
		return false
	}
	f, err := os.CreateTemp(dir, ".step-runner-*")
	if err != nil {
		return false
	}
	f.Close()
	return os.Remove(f.Name()) == nil
}
