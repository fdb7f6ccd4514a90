//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"knative.dev/pkg/apis"
)

// runLimit is for one PipelineRun, on a small and busy cluster.
const runLimit = 20 * time.Minute

// hungry are the steps that ask for more than a small cluster has, or for a GPU.
var hungry = []struct {
	pipeline, task, step string
	memory               string
}{
	{"gpu-real-8-step-workflow", "papermill", "papermill", "4Gi"},
	{"gpu-real-8-step-workflow", "jupyter-nbconvert", "nbconvert", "2Gi"},
	{"gpu-real-8-step-workflow", "pytest-execution", "pytest", "2Gi"},
	{"gpu-notebook-matrix-workflow", "notebooks", "papermill", "4Gi"},
	{"gpu-notebook-matrix-workflow", "jupyter-nbconvert", "nbconvert", "2Gi"},
	{"gpu-notebook-matrix-workflow", "pytest-execution", "pytest", "2Gi"},
	{"rmm-simple-verification-test", "rmm-verification", "verify", "1Gi"},
}

// adapt makes an example one that a cluster without GPUs and without the public
// images can run: what a user would edit, and nothing else.
func (c *cluster) adapt(run *v1.PipelineRun) {
	setParam(run, "runner-image", c.images.runner)
	setParam(run, "container-image", c.images.tools)
	if run.Spec.PipelineRef.Name != "rmm-simple-verification-test" {
		setParam(run, "notebook-repo-url", c.url("notebooks"))
		setParam(run, "test-repo-url", c.url("tests"))
		setParam(run, "gpu", "off")
		// The tools' image has what the tests need, and the cluster may have no way out.
		setParam(run, "pytest-args", "--install=none", "--arg=-o", "--arg=pythonpath=notebook_report/src")
	}
	run.Spec.TaskRunTemplate.PodTemplate.NodeSelector = nil
	for _, h := range hungry {
		if strings.HasPrefix(run.Spec.PipelineRef.Name, h.pipeline) {
			limit(run, h.task, h.step, h.memory)
		}
	}
}

// limit sets the memory that a step may use, and takes its GPU from it.
func limit(run *v1.PipelineRun, task, step, memory string) {
	i := slices.IndexFunc(run.Spec.TaskRunSpecs, func(s v1.PipelineTaskRunSpec) bool { return s.PipelineTaskName == task })
	if i < 0 {
		i = len(run.Spec.TaskRunSpecs)
		run.Spec.TaskRunSpecs = append(run.Spec.TaskRunSpecs, v1.PipelineTaskRunSpec{PipelineTaskName: task})
	}
	run.Spec.TaskRunSpecs[i].StepSpecs = []v1.TaskRunStepSpec{{
		Name: step,
		ComputeResources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("256Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)},
		},
	}}
}

// setParam sets a param of the run; several values, or a param whose name ends in
// -args or -filenames, make it an array.
func setParam(run *v1.PipelineRun, name string, values ...string) {
	value := v1.ParamValue{Type: v1.ParamTypeString}
	if strings.HasSuffix(name, "-args") || strings.HasSuffix(name, "-filenames") {
		value = v1.ParamValue{Type: v1.ParamTypeArray, ArrayVal: values}
	} else {
		value.StringVal = values[0]
	}
	i := slices.IndexFunc(run.Spec.Params, func(p v1.Param) bool { return p.Name == name })
	if i < 0 {
		run.Spec.Params = append(run.Spec.Params, v1.Param{Name: name, Value: value})
		return
	}
	run.Spec.Params[i].Value = value
}

func param(run *v1.PipelineRun, name string) string {
	for _, p := range run.Spec.Params {
		if p.Name == name {
			return p.Value.StringVal
		}
	}
	return ""
}

// pipelineRun is one on the cluster. Each test has one at least, and one line of the table.
type pipelineRun struct {
	*v1.PipelineRun
	c   *cluster
	t   *testing.T
	row *row
	// sub is the part of the volume that it works in.
	sub string
}

// start creates the example called name (lite, original, matrix, rmm) with the changes,
// working in a part of the volume of its own. expected is for the table.
func start(t *testing.T, name, expected string, change func(*v1.PipelineRun)) *pipelineRun {
	t.Helper()
	run, err := shared.example(name)
	require.NoError(t, err)
	run.Spec.Workspaces[0].SubPath = strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	if change != nil {
		change(run)
	}
	require.NoError(t, shared.create(t.Context(), run))
	return follow(t, run, expected)
}

// follow is start for a run that something else has created.
func follow(t *testing.T, run *v1.PipelineRun, expected string) *pipelineRun {
	r := &pipelineRun{PipelineRun: run, c: shared, t: t, sub: run.Spec.Workspaces[0].SubPath}
	r.row = &row{run: t.Name(), expected: expected, seen: "nothing"}
	begin := time.Now()
	t.Cleanup(func() {
		r.row.took, r.row.failed = time.Since(begin), t.Failed()
		r.c.table.add(*r.row)
		if t.Failed() {
			r.dump()
		}
	})
	t.Logf("PipelineRun %s", run.Name)
	return r
}

// checked puts a note into the table, of what has been looked at.
func (r *pipelineRun) checked(format string, args ...any) {
	r.row.checked = append(r.row.checked, fmt.Sprintf(format, args...))
}

// wait waits for the run's end.
func (r *pipelineRun) wait() {
	r.t.Helper()
	r.waitUntil("the end of "+r.Name, func() bool { return r.IsDone() })
	cond := r.Status.GetCondition(apis.ConditionSucceeded)
	r.row.seen = fmt.Sprintf("%s (%s)", cond.Reason, r.result("failure-kind"))
}

// waitUntil waits until what the cluster says of the run is so.
func (r *pipelineRun) waitUntil(what string, is func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeoutCause(r.t.Context(), runLimit, fmt.Errorf("it took more than %s", runLimit))
	defer cancel()
	require.NoError(r.t, until(ctx, what, func() (bool, error) {
		run := &v1.PipelineRun{}
		if err := r.c.get(ctx, run, "pipelinerun/"+r.Name); err != nil {
			return false, err
		}
		r.PipelineRun = run
		return is(), nil
	}))
}

// green says whether Tekton calls the run a success.
func (r *pipelineRun) green() bool {
	return r.Status.GetCondition(apis.ConditionSucceeded).IsTrue()
}

// result is one of the Pipeline's, or else of the TaskRun that it comes from: Tekton
// gives a red PipelineRun none of a failed Task.
func (r *pipelineRun) result(name string) string {
	r.t.Helper()
	for _, res := range r.Status.Results {
		if res.Name == name {
			return res.Value.StringVal
		}
	}
	for _, task := range []string{"final-summary", "rmm-verification"} {
		for _, tr := range r.taskRuns(task) {
			if v := taskResult(tr, name); v != "" {
				return v
			}
		}
	}
	return ""
}

func taskResult(tr v1.TaskRun, name string) string {
	for _, res := range tr.Status.Results {
		if res.Name == name {
			return res.Value.StringVal
		}
	}
	return ""
}

// taskRuns are those of a task of the Pipeline, of all when it is "".
func (r *pipelineRun) taskRuns(task string) []v1.TaskRun {
	r.t.Helper()
	selector := "tekton.dev/pipelineRun=" + r.Name
	if task != "" {
		selector += ",tekton.dev/pipelineTask=" + task
	}
	var list v1.TaskRunList
	// Also when the test's own context has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), time.Minute)
	defer cancel()
	require.NoError(r.t, r.c.get(ctx, &list, "taskruns", "--selector", selector))
	return list.Items
}

// logs are those of all containers of the run's pods.
func (r *pipelineRun) logs(ctx context.Context, tail string) string {
	out, err := r.c.kubectl(ctx, nil, "logs", "--selector", "tekton.dev/pipelineRun="+r.Name, "--all-containers", "--prefix", "--tail", tail, "--max-log-requests", "100")
	if err != nil {
		return string(out) + err.Error()
	}
	return string(out)
}

// dump tells what a failed test needs to be understood.
func (r *pipelineRun) dump() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, tr := range r.taskRuns("") {
		cond := tr.Status.GetCondition(apis.ConditionSucceeded)
		if cond == nil || !cond.IsTrue() {
			r.t.Logf("%s: %v", tr.Name, cond)
		}
	}
	r.t.Logf("the last lines of every step:\n%s", r.logs(ctx, "15"))
}
