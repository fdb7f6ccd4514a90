package manifests

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// commands are step-runner's commands with their flags, and its results, from the
// generated reference: TestDocs holds that true to the program.
type commands struct {
	flags   map[string][]string
	text    string
	results []string
}

var (
	flagLine   = regexp.MustCompile("(?m)^\\| `(?:-., )?--([a-z-]+)")
	resultLine = regexp.MustCompile("(?m)^\\| `--result=.*The results are ([^|]*)\\. \\|$")
)

func readCommands(t *testing.T) commands {
	t.Helper()
	data, err := os.ReadFile("../docs/commands.md")
	require.NoError(t, err)
	c := commands{flags: map[string][]string{}, text: string(data)}
	var common []string
	for _, section := range strings.Split(c.text, "\n## ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		var flags []string
		for _, m := range flagLine.FindAllStringSubmatch(body, -1) {
			flags = append(flags, m[1])
		}
		if name == "Flags of every command" {
			common = flags
			continue
		}
		c.flags[name] = append(flags, common...)
	}
	m := resultLine.FindStringSubmatch(c.text)
	require.NotNil(t, m, "docs/commands.md names no results")
	c.results = strings.Split(m[1], ", ")
	config, err := os.ReadFile("../docs/config.md")
	require.NoError(t, err)
	c.text += string(config)
	return c
}

// knows says whether the reference has the variable, as a word of its own.
func (c commands) knows(variable string) bool {
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(variable) + `\b`).MatchString(c.text)
}

// TestFlagsAndVariables: every flag, variable and result in a manifest is one that
// the command has.
func TestFlagsAndVariables(t *testing.T) {
	c, set := readCommands(t), whole(t)
	for name, action := range set.actions {
		require.NotEmpty(t, action.Spec.Args, name)
		command := action.Spec.Args[0]
		flags, ok := c.flags[command]
		require.True(t, ok, "%s: no command %s", name, command)
		var results []string
		for _, arg := range action.Spec.Args[1:] {
			flag, value, isFlag := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
			if !strings.HasPrefix(arg, "--") {
				continue
			}
			assert.True(t, isFlag, "%s: %s: an empty value would take the next argument", name, arg)
			assert.Contains(t, flags, flag, "%s", name)
			if flag == "result" {
				results = append(results, strings.TrimSuffix(strings.TrimPrefix(value, "$(step.results."), ".path)"))
			}
		}
		var declared []string
		for _, r := range action.Spec.Results {
			declared = append(declared, r.Name)
			assert.Contains(t, c.results, r.Name, "%s", name)
		}
		assert.ElementsMatch(t, declared, results, "%s: results that are declared, and that are asked for", name)
		for _, env := range action.Spec.Env {
			assert.True(t, c.knows(env.Name), "%s: no variable %s", name, env.Name)
		}
	}
}

// TestParamsAreUsed: a param that does nothing would be a promise.
func TestParamsAreUsed(t *testing.T) {
	set := whole(t)
	for name, action := range set.actions {
		text := strings.Join(slices.Concat([]string{action.Spec.Image}, action.Spec.Args), "\n")
		for _, e := range action.Spec.Env {
			text += "\n" + e.Value
			if e.ValueFrom != nil {
				text += "\n" + e.ValueFrom.SecretKeyRef.Name
			}
		}
		for _, m := range action.Spec.VolumeMounts {
			text += "\n" + m.Name
		}
		for _, p := range action.Spec.Params {
			assert.True(t, strings.Contains(text, "$(params."+p.Name+")") || strings.Contains(text, "$(params."+p.Name+"[*])"), "%s: param %s does nothing", name, p.Name)
			if p.Type == v1.ParamTypeArray {
				assert.NotContains(t, text, "=$(params."+p.Name, "%s: an array is arguments of its own", name)
			}
		}
	}
}

var paramRef = regexp.MustCompile(`\$\(params\.([A-Za-z0-9_-]+)(?:\[\*\])?\)`)

// TestParamsOfTasksAndPipelines: Tekton does not look into the params of a step that
// has a ref, so a name that leads nowhere would reach the command as it is written.
func TestParamsOfTasksAndPipelines(t *testing.T) {
	set := whole(t)
	for name, task := range set.tasks {
		declaredAndUsed(t, "task "+name, task.Spec.Params, task.Spec)
	}
	for name, p := range set.pipelines {
		declaredAndUsed(t, "pipeline "+name, p.Spec.Params, p.Spec)
	}
}

func declaredAndUsed(t *testing.T, where string, params v1.ParamSpecs, spec any) {
	t.Helper()
	text, err := yaml.Marshal(spec)
	require.NoError(t, err)
	var declared, used []string
	for _, p := range params {
		declared = append(declared, p.Name)
	}
	for _, m := range paramRef.FindAllStringSubmatch(string(text), -1) {
		if !slices.Contains(used, m[1]) {
			used = append(used, m[1])
		}
	}
	assert.ElementsMatch(t, declared, used, "%s: params that are declared, and that are used", where)
}

// TestHardening: what every pod of a run must have, and that there is no shell.
func TestHardening(t *testing.T) {
	set := whole(t)
	for name, action := range set.actions {
		assert.Empty(t, action.Spec.Script, name)
		assert.NotEmpty(t, action.Spec.Command, name)
	}
	withGPU := []string{}
	for name, task := range set.tasks {
		sc := task.Spec.StepTemplate.SecurityContext
		require.NotNil(t, sc, name)
		assert.True(t, *sc.RunAsNonRoot && *sc.ReadOnlyRootFilesystem && !*sc.AllowPrivilegeEscalation, name)
		assert.Equal(t, []corev1.Capability{"ALL"}, sc.Capabilities.Drop, name)
		assert.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, sc.SeccompProfile.Type, name)
		assert.Nil(t, task.Spec.StepTemplate.ComputeResources.Limits, name)
		gpus := 0
		for _, step := range task.Spec.Steps {
			require.NotNil(t, step.Ref, "%s: step %s is no StepAction", name, step.Name)
			assert.Contains(t, step.ComputeResources.Limits, corev1.ResourceMemory, "%s: step %s", name, step.Name)
			if _, ok := step.ComputeResources.Limits["nvidia.com/gpu"]; ok {
				gpus++
			}
		}
		assert.LessOrEqual(t, gpus, 1, "%s: each step that asks gets another GPU", name)
		if gpus > 0 {
			withGPU = append(withGPU, name)
		}
	}
	assert.ElementsMatch(t, []string{"gpu-notebook", "gpu-papermill-production-init-rmm-fixed", "rmm-verification"}, withGPU)
}

// TestCatalog: what a catalog asks of a Task: its path, version, labels and words.
func TestCatalog(t *testing.T) {
	for _, dir := range []string{"task", "stepaction"} {
		for _, doc := range render(t, dir) {
			obj, err := admit(doc)
			require.NoError(t, err)
			meta := obj.(interface {
				GetName() string
				GetLabels() map[string]string
				GetAnnotations() map[string]string
			})
			name, version := meta.GetName(), meta.GetLabels()["app.kubernetes.io/version"]
			assert.FileExists(t, dir+"/"+name+"/"+version+"/"+name+".yaml")
			for _, a := range []string{"pipelines.minVersion", "categories", "tags", "displayName", "platforms"} {
				assert.NotEmpty(t, meta.GetAnnotations()["tekton.dev/"+a], "%s: %s", name, a)
			}
		}
	}
	for name, task := range whole(t).tasks {
		assert.NotEmpty(t, task.Spec.Description, name)
		for _, p := range task.Spec.Params {
			assert.NotEmpty(t, p.Description, "%s: %s", name, p.Name)
		}
	}
}
