package manifests

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	pipelinev1beta1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	"sigs.k8s.io/yaml"
)

func newReader(data []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(data)) }

// catalog is what one kustomization brings along.
type catalog struct {
	actions   map[string]*pipelinev1beta1.StepAction
	tasks     map[string]*v1.Task
	pipelines map[string]*v1.Pipeline
}

func newCatalog() *catalog {
	return &catalog{map[string]*pipelinev1beta1.StepAction{}, map[string]*v1.Task{}, map[string]*v1.Pipeline{}}
}

// whole is the catalog of the root kustomization and of every pipeline.
func whole(t *testing.T) *catalog {
	set := newCatalog()
	for _, doc := range render(t, ".") {
		obj, err := admit(doc)
		require.NoError(t, err)
		set.add(obj)
	}
	return set
}

func (c *catalog) add(obj any) {
	switch o := obj.(type) {
	case *pipelinev1beta1.StepAction:
		c.actions[o.Name] = o
	case *v1.Task:
		c.tasks[o.Name] = o
	case *v1.Pipeline:
		c.pipelines[o.Name] = o
	}
}

// check looks at what only the running controllers would find: names that lead
// nowhere, params that nobody declares, params that nobody gives.
func (c *catalog) check(t *testing.T, where string) {
	t.Helper()
	for _, task := range c.tasks {
		for _, step := range task.Spec.Steps {
			action := c.actions[step.Ref.Name]
			if assert.NotNil(t, action, "%s: task %s: no StepAction %s", where, task.Name, step.Ref.Name) {
				fits(t, fmt.Sprintf("%s: step %s of task %s", where, step.Name, task.Name), action.Spec.Params, step.Params)
			}
		}
		c.checkResults(t, where, task)
	}
	for _, p := range c.pipelines {
		for _, pt := range slices.Concat(p.Spec.Tasks, p.Spec.Finally) {
			task := c.tasks[pt.TaskRef.Name]
			if !assert.NotNil(t, task, "%s: pipeline %s: no Task %s", where, p.Name, pt.TaskRef.Name) {
				continue
			}
			given := pt.Params
			if pt.Matrix != nil {
				given = append(slices.Clone(given), pt.Matrix.Params...)
			}
			fits(t, fmt.Sprintf("%s: task %s of pipeline %s", where, pt.Name, p.Name), task.Spec.Params, given)
		}
	}
}

// checkResults: a Task's results are those of its StepActions, of one type.
func (c *catalog) checkResults(t *testing.T, where string, task *v1.Task) {
	for _, res := range task.Spec.Results {
		stepName, name, err := v1.ExtractStepResultName(res.Value.StringVal)
		require.NoError(t, err)
		i := slices.IndexFunc(task.Spec.Steps, func(s v1.Step) bool { return s.Name == stepName })
		require.GreaterOrEqual(t, i, 0, "%s: task %s: no step %s", where, task.Name, stepName)
		declared := c.actions[task.Spec.Steps[i].Ref.Name].Spec.Results
		j := slices.IndexFunc(declared, func(r v1.StepResult) bool { return r.Name == name })
		if assert.GreaterOrEqual(t, j, 0, "%s: task %s: %s has no result %s", where, task.Name, stepName, name) {
			assert.Equal(t, declared[j].Type, res.Type, "%s: task %s: result %s", where, task.Name, name)
		}
	}
}

func fits(t *testing.T, where string, declared v1.ParamSpecs, given v1.Params) {
	t.Helper()
	for _, g := range given {
		assert.True(t, slices.ContainsFunc(declared, func(d v1.ParamSpec) bool { return d.Name == g.Name }), "%s: no param %s", where, g.Name)
	}
	for _, d := range declared {
		ok := d.Default != nil || slices.ContainsFunc(given, func(g v1.Param) bool { return g.Name == d.Name })
		assert.True(t, ok, "%s: param %s is not given", where, d.Name)
	}
}

// TestPipelineRuns: the examples give what their Pipelines ask for.
func TestPipelineRuns(t *testing.T) {
	set := whole(t)
	paths, err := filepath.Glob("pipelinerun/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		obj, err := admit(data)
		require.NoError(t, err, path)
		checkRun(t, path, set, obj.(*v1.PipelineRun))
	}
}

// checkRun looks at a PipelineRun: its Pipeline, its params, its limits.
func checkRun(t *testing.T, path string, set *catalog, run *v1.PipelineRun) {
	t.Helper()
	p := set.pipelines[run.Spec.PipelineRef.Name]
	require.NotNil(t, p, "%s: no Pipeline %s", path, run.Spec.PipelineRef.Name)
	fits(t, path, p.Spec.Params, run.Spec.Params)
	pod := run.Spec.TaskRunTemplate.PodTemplate
	require.NotNil(t, pod, path)
	assert.False(t, *pod.AutomountServiceAccountToken, "%s: the pods need no token", path)
	assert.NotZero(t, *pod.SecurityContext.RunAsUser, path)
	// The longest way through must fit: else Tekton kills what would have ended itself.
	var tasks, finally time.Duration
	for _, pt := range p.Spec.Tasks {
		tasks += pt.Timeout.Duration
	}
	for _, pt := range p.Spec.Finally {
		finally = max(finally, pt.Timeout.Duration)
	}
	limits := run.Spec.Timeouts
	assert.LessOrEqual(t, tasks, limits.Tasks.Duration, "%s: tasks", path)
	assert.LessOrEqual(t, finally, limits.Finally.Duration, "%s: finally", path)
	assert.LessOrEqual(t, limits.Tasks.Duration+limits.Finally.Duration, limits.Pipeline.Duration, "%s: pipeline", path)
}

// TestNothingOfAMatrixIsMissed: of a TaskRun that was killed Tekton has no results, and leaves
// it out of the list; so who takes the list must know how long it should be.
func TestNothingOfAMatrixIsMissed(t *testing.T) {
	lists := 0
	for name, p := range whole(t).pipelines {
		for _, pt := range p.Spec.Tasks {
			text, err := yaml.Marshal(pt.Params)
			require.NoError(t, err)
			for _, m := range matrixList.FindAllStringSubmatch(string(text), -1) {
				lists++
				assert.Contains(t, string(text), "name: expect\n  value: $(tasks."+m[1]+".matrix.length)\n", "%s: %s", name, pt.Name)
			}
		}
	}
	assert.Equal(t, 1, lists)
}

var matrixList = regexp.MustCompile(`\$\(tasks\.([a-z-]+)\.results\.[a-z-]+\[\*\]\)`)

// TestNothingHidesTheVerdict: the last step's exit code is what makes a PipelineRun red.
func TestNothingHidesTheVerdict(t *testing.T) {
	set := whole(t)
	steps := set.tasks["final-summary"].Spec.Steps
	assert.Equal(t, "step-runner-summary", steps[len(steps)-1].Ref.Name)
	assert.Empty(t, steps[len(steps)-1].OnError)
	verdicts := 0
	for name, p := range set.pipelines {
		for _, pt := range p.Spec.Finally {
			verdicts++
			assert.Equal(t, "final-summary", pt.TaskRef.Name, name)
			assert.Empty(t, pt.OnError, name)
			assert.Empty(t, pt.When, name)
		}
	}
	assert.Equal(t, 3, verdicts)
}

// TestARunIsItsPipelineRuns: a name that comes again must not find the records of the first.
func TestARunIsItsPipelineRuns(t *testing.T) {
	for name, p := range whole(t).pipelines {
		for _, pt := range slices.Concat(p.Spec.Tasks, p.Spec.Finally) {
			if pt.TaskRef.Name == "gpu-notebook" {
				continue // It has a run of its own, by its TaskRun.
			}
			i := slices.IndexFunc(pt.Params, func(p v1.Param) bool { return p.Name == "run" })
			require.GreaterOrEqual(t, i, 0, "%s: %s", name, pt.Name)
			assert.Equal(t, "$(context.pipelineRun.name)@$(context.pipelineRun.uid)", pt.Params[i].Value.StringVal, "%s: %s", name, pt.Name)
		}
	}
}

// TestOneTaskOnTheGPUNode: with a ReadWriteMany volume papermill goes to a GPU node, and
// everything else stays away from there, as the controller puts the two templates together.
func TestOneTaskOnTheGPUNode(t *testing.T) {
	data, err := os.ReadFile("pipelinerun/lite-readwritemany.yaml")
	require.NoError(t, err)
	obj, err := admit(data)
	require.NoError(t, err)
	run := obj.(*v1.PipelineRun)
	keepsOff := func(task string) bool {
		a := run.GetTaskRunSpec(task).PodTemplate.Affinity
		return a != nil && a.NodeAffinity != nil
	}
	for _, pt := range whole(t).pipelines[run.Spec.PipelineRef.Name].Spec.Tasks {
		pod := run.GetTaskRunSpec(pt.Name).PodTemplate
		gpu := pt.Name == "papermill"
		assert.Equal(t, gpu, len(pod.NodeSelector) > 0 && len(pod.Tolerations) > 0, pt.Name)
		assert.Equal(t, !gpu, keepsOff(pt.Name), pt.Name)
		assert.True(t, *pod.SecurityContext.RunAsNonRoot && !*pod.AutomountServiceAccountToken, pt.Name)
	}
}

// TestOurLimitsAreTheShorter: Tekton's timeout kills without a word, so step-runner's
// own --timeout must come first, in the Task and in the Pipeline.
func TestOurLimitsAreTheShorter(t *testing.T) {
	set := whole(t)
	defaultOf := func(params v1.ParamSpecs, name string) string {
		i := slices.IndexFunc(params, func(p v1.ParamSpec) bool { return p.Name == name })
		require.GreaterOrEqual(t, i, 0, name)
		return params[i].Default.StringVal
	}
	ours := map[string]time.Duration{}
	for _, task := range set.tasks {
		if !slices.ContainsFunc(task.Spec.Params, func(p v1.ParamSpec) bool { return p.Name == "timeout" }) {
			continue
		}
		d, err := time.ParseDuration(defaultOf(task.Spec.Params, "timeout"))
		require.NoError(t, err, task.Name)
		ours[task.Name] = d
		for _, step := range task.Spec.Steps {
			takes := slices.ContainsFunc(step.Params, func(p v1.Param) bool { return p.Value.StringVal == "$(params.timeout)" })
			if takes && step.Timeout != nil {
				assert.Less(t, d, step.Timeout.Duration, "task %s", task.Name)
			}
		}
	}
	require.NotEmpty(t, ours)
	for _, p := range set.pipelines {
		for _, pt := range p.Spec.Tasks {
			require.NotNil(t, pt.Timeout, "pipeline %s: task %s", p.Name, pt.Name)
			d := ours[pt.TaskRef.Name]
			for _, param := range pt.Params {
				if name, ok := strings.CutPrefix(param.Value.StringVal, "$(params."); ok && param.Name == "timeout" {
					var err error
					d, err = time.ParseDuration(defaultOf(p.Spec.Params, strings.TrimSuffix(name, ")")))
					require.NoError(t, err)
				}
			}
			assert.Less(t, d, pt.Timeout.Duration, "pipeline %s: task %s", p.Name, pt.Name)
		}
	}
}

// TestTheTwoVariants: one definition, two overlays, each with its variant.
func TestTheTwoVariants(t *testing.T) {
	set := whole(t)
	for _, variant := range []string{"lite", "original"} {
		p := set.pipelines["gpu-real-8-step-workflow-"+variant]
		require.NotNil(t, p, variant)
		i := slices.IndexFunc(p.Spec.Params, func(s v1.ParamSpec) bool { return s.Name == "variant" })
		assert.Equal(t, variant, p.Spec.Params[i].Default.StringVal)
	}
}
