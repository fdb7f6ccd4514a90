package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/steps"
)

// cloneFlags and the rest are a small stand-in for the real commands.
type cloneFlags struct {
	URL     string            `name:"url" seed:"GIT_URL,GIT_REPO_URL"`
	Require []string          `help:"What must be there."`
	Depth   int               `default:"1"`
	Wait    []time.Duration   `help:"Several waits."`
	Env     map[string]string `help:"Variables."`
}

type grammar struct {
	Globals globals `embed:""`
	Clone   struct {
		Flags cloneFlags `embed:""`
		Tests bool
	} `cmd:""`
	Run struct {
		Notebook   string     `shared:""`
		Clone      cloneFlags `embed:"" prefix:"clone-"`
		CloneTests cloneFlags `embed:"" prefix:"clone-tests-"`
		Timeout    time.Duration
		Size       *units.Bytes
		Share      *units.Share
	} `cmd:""`
}

// resolve parses args with the variables and the config file given.
func resolve(t *testing.T, args []string, env map[string]string, config string) (*grammar, *settings, *kong.Context, error) {
	t.Helper()
	if config != "" {
		path := filepath.Join(t.TempDir(), "c.yaml")
		require.NoError(t, os.WriteFile(path, []byte(config), 0o600))
		args = append(args, "--config", path)
	}
	g, s := &grammar{}, newSettings(func(name string) string { return env[name] }, func(string) {})
	parser, err := kong.New(g, kong.Resolvers(s), kong.Vars{"results": ""}, kong.Writers(io.Discard, io.Discard))
	require.NoError(t, err)
	s.learn(parser.Model.Node)
	s.names.sections = append(s.names.sections, "clone", "run")
	kctx, err := parser.Parse(args)
	return g, s, kctx, err
}

func TestNamesByRule(t *testing.T) {
	_, s, _, err := resolve(t, []string{"run"}, nil, "")
	require.NoError(t, err)
	for name, variable := range map[string]string{
		"workspace":           "STEP_RUNNER_WORKSPACE",
		"log-level":           "STEP_RUNNER_LOG_LEVEL",
		"notebook":            "STEP_RUNNER_NOTEBOOK",
		"clone.url":           "STEP_RUNNER_CLONE_URL",
		"clone-tests.url":     "STEP_RUNNER_CLONE_TESTS_URL",
		"clone-tests.require": "STEP_RUNNER_CLONE_TESTS_REQUIRE",
		"clone.tests":         "STEP_RUNNER_CLONE_TESTS",
		"run.timeout":         "STEP_RUNNER_RUN_TIMEOUT",
	} {
		assert.Equal(t, variable, s.names.settings[name].variable, name)
	}
}

func TestPrecedence(t *testing.T) {
	const file = "clone:\n  url: file\n"
	all := map[string]string{"STEP_RUNNER_CLONE_URL": "own", "GIT_REPO_URL": "seed"}
	for _, tc := range []struct {
		name         string
		args         []string
		env          map[string]string
		config       string
		value, where string
	}{
		{"nothing", nil, nil, "", "", fromDefault},
		{"file", nil, nil, file, "file", fromFile},
		{"seed", nil, map[string]string{"GIT_REPO_URL": "seed"}, file, "seed", fromSeed},
		{"own", nil, all, file, "own", fromVariable},
		{"flag", []string{"--clone-url=flag"}, all, file, "flag", fromFlag},
		{"empty flag", []string{"--clone-url="}, all, file, "", fromFlag},
		{"empty variable", nil, map[string]string{"STEP_RUNNER_CLONE_URL": "", "GIT_REPO_URL": "seed"}, "", "seed", fromSeed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g, s, kctx, err := resolve(t, append([]string{"run"}, tc.args...), tc.env, tc.config)
			require.NoError(t, err)
			assert.Equal(t, tc.value, g.Run.Clone.URL)
			assert.Empty(t, g.Run.CloneTests.Require)
			assert.Equal(t, tc.where, s.sourceOf(kctx, s.names.settings["clone.url"].flag).kind)
		})
	}
}

func TestCloneTestsHasSettingsOfItsOwn(t *testing.T) {
	env := map[string]string{"STEP_RUNNER_CLONE_URL": "notebooks", "STEP_RUNNER_CLONE_TESTS_URL": "tests"}
	const file = "clone:\n  depth: 2\nclone-tests:\n  depth: 3\n"
	for _, tc := range []struct {
		name  string
		args  []string
		extra string
		url   string
		depth int
	}{
		{"step 2", nil, "", "notebooks", 2},
		{"by flag", []string{"--tests"}, "", "tests", 3},
		{"by variable", nil, "true", "tests", 3},
		{"flag over variable", []string{"--tests=false"}, "true", "notebooks", 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env["STEP_RUNNER_CLONE_TESTS"] = tc.extra
			g, s, _, err := resolve(t, append([]string{"clone"}, tc.args...), env, file)
			require.NoError(t, err)
			assert.Equal(t, tc.url, g.Clone.Flags.URL)
			assert.Equal(t, tc.depth, g.Clone.Flags.Depth)
			assert.NotContains(t, s.used(), "STEP_RUNNER_CLONE_TESTS_DEPTH")
		})
	}
	env["STEP_RUNNER_CLONE_TESTS"] = ""
	g, s, _, err := resolve(t, []string{"run"}, env, file)
	require.NoError(t, err)
	assert.Equal(t, []string{"notebooks", "tests"}, []string{g.Run.Clone.URL, g.Run.CloneTests.URL})
	assert.Equal(t, []int{2, 3}, []int{g.Run.Clone.Depth, g.Run.CloneTests.Depth})
	assert.Equal(t, []string{"STEP_RUNNER_CLONE_TESTS_URL", "STEP_RUNNER_CLONE_URL"}, s.used())
}

func TestConfigValuesKeepTheirText(t *testing.T) {
	g, _, _, err := resolve(t, []string{"run"}, nil, `
clone:
  url: 1.10
  require: ["a,b", 007, 'c\']
  wait: [1s, 2m]
  depth: 0x10
  env:
    A: "x;y=z"
    B: yes
clone-tests:
  url: |
    two
    lines
  require: only, this
`)
	require.NoError(t, err)
	assert.Equal(t, cloneFlags{
		URL: "1.10", Require: []string{"a,b", "007", `c\`}, Depth: 16,
		Wait: []time.Duration{time.Second, 2 * time.Minute}, Env: map[string]string{"A": "x;y=z", "B": "yes"},
	}, g.Run.Clone)
	assert.Equal(t, "two\nlines\n", g.Run.CloneTests.URL)
	assert.Equal(t, []string{"only", " this"}, g.Run.CloneTests.Require)
}

func TestAWrongValueNamesItsOrigin(t *testing.T) {
	_, _, _, err := resolve(t, []string{"run"}, map[string]string{"STEP_RUNNER_CLONE_DEPTH": "deep"}, "")
	assert.ErrorContains(t, err, "STEP_RUNNER_CLONE_DEPTH: expected a valid")
	assert.Equal(t, record.Usage, record.AsFailure(err).Kind)
	_, _, _, err = resolve(t, []string{"run"}, nil, "\nclone:\n  depth: deep\n")
	assert.ErrorContains(t, err, "c.yaml:3: clone.depth: expected a valid")
	// Of another command's section too: a mistake shows on the first step, not on the sixth.
	_, _, _, err = resolve(t, []string{"clone"}, nil, "run:\n  timeout: long\n")
	assert.ErrorContains(t, err, "c.yaml:2: run.timeout:")
}

// TestSizes come from variables and files as from flags, and wrong ones are named.
func TestSizes(t *testing.T) {
	g, _, _, err := resolve(t, []string{"run"}, map[string]string{"STEP_RUNNER_RUN_SIZE": "4GiB"}, "run:\n  share: 50%\n")
	require.NoError(t, err)
	require.NotNil(t, g.Run.Size)
	assert.EqualValues(t, 4<<30, *g.Run.Size)
	assert.Equal(t, &units.Share{Percent: 50}, g.Run.Share)
	_, _, _, err = resolve(t, []string{"run"}, map[string]string{"STEP_RUNNER_RUN_SIZE": "big"}, "")
	assert.ErrorContains(t, err, "STEP_RUNNER_RUN_SIZE: ")
}

// TestEveryFlagHasOneMeaning checks the real commands: a variable or a key means
// the same wherever it is read, and every flag has both.
func TestEveryFlagHasOneMeaning(t *testing.T) {
	p := parsed(t)
	root := p.kctx.Model.Node
	variables := map[string]setting{}
	for _, name := range steps.TokenVars() {
		variables[name] = setting{section: "a token"}
	}
	for _, node := range append([]*kong.Node{root}, root.Children...) {
		for _, set := range settingsOf(root, node) {
			assert.Empty(t, set.flag.Envs, "%s has a variable of kong's: names come from the rule", set)
			assert.Regexp(t, `^STEP_RUNNER_[A-Z0-9_]+$`, set.variable)
			assert.Regexp(t, `^([a-z-]+\.)?[a-z0-9-]+$`, set.String())
			other, ok := variables[set.variable]
			if !ok {
				variables[set.variable] = set
				continue
			}
			require.Equal(t, other.String(), set.String(), "%s of %s", set.variable, node.Name)
			assert.Equal(t, other.flag.Target.Type(), set.flag.Target.Type(), "%s of %s", set, node.Name)
			assert.Equal(t, other.flag.Default, set.flag.Default, "%s of %s", set, node.Name)
			assert.Equal(t, other.flag.Help, set.flag.Help, "%s of %s", set, node.Name)
			assert.Equal(t, other.seeds, set.seeds, "%s of %s", set, node.Name)
		}
	}
}

// TestRunHasEveryFlagOfTheSteps: whatever a step can be told, run can tell it.
func TestRunHasEveryFlagOfTheSteps(t *testing.T) {
	root := parsed(t).kctx.Model.Node
	inRun := map[string]bool{}
	for _, node := range root.Children {
		if node.Name == "run" {
			for _, set := range settingsOf(root, node) {
				inRun[set.String()] = true
			}
		}
	}
	for _, node := range root.Children {
		// merge stands for papermill where a matrix has run it.
		if step, ok := node.Target.Addr().Interface().(steps.Step); ok && step.ID().Step > 0 && node.Name != "merge" {
			for _, set := range settingsOf(root, node) {
				if set.String() != "clone.tests" {
					assert.True(t, inRun[set.String()], "run lacks %s of %s", set, node.Name)
				}
			}
		}
	}
}

func TestDidYouMean(t *testing.T) {
	known := map[string]int{"STEP_RUNNER_WORKSPACE": 0, "STEP_RUNNER_RUN": 0}
	assert.Equal(t, ", did you mean STEP_RUNNER_RUN?", didYouMean("STEP_RUNNER_RNU", known))
	assert.Empty(t, didYouMean("STEP_RUNNER_SOMETHING_ELSE", known))
	assert.Equal(t, 3, distance("kitten", "sitting"))
	assert.Equal(t, 4, distance("", "abcd"))
}

func FuzzConfigFile(f *testing.F) {
	for _, seed := range []string{"variant: lite\n", "run:\n  only: [setup, 1.10]\n", "run: &a {timeout: *a}\n", "a: !!b c\n? x\n: y\n", "- 1\n---\n", "run: |\n  x\n", "\"\\x\": 1"} {
		f.Add([]byte(seed))
	}
	p := newProcess(nil, nil, io.Discard, io.Discard)
	if _, err := newParser(&p.cli, p.settings, io.Discard); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig("c.yaml", data, p.settings.names)
		if err != nil {
			require.Equal(t, record.Usage, record.AsFailure(err).Kind)
			return
		}
		for name := range c.values {
			require.Contains(t, p.settings.names.settings, name)
		}
	})
}

func TestHelpPrintsAndRunsNothing(t *testing.T) {
	var out, errs bytes.Buffer
	dir := t.TempDir()
	require.Zero(t, run(t.Context(), []string{"run", "--workspace", filepath.Join(dir, "ws"), "--help"}, nil, &out, &errs))
	assert.Contains(t, out.String(), "Usage: step-runner run ")
	assert.Empty(t, errs.String())
	assert.NoDirExists(t, filepath.Join(dir, "ws"))
}

func TestLostOutputOfAStepChangesNothing(t *testing.T) {
	var errs bytes.Buffer
	args := []string{"install", t.TempDir(), "--json"}
	assert.Zero(t, run(t.Context(), args, nil, failing{}, failing{}))
	assert.Equal(t, 1, run(t.Context(), []string{"version"}, nil, failing{}, &errs))
	assert.Contains(t, errs.String(), "stdout: gone")
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("gone") }
