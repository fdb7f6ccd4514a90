//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	triggersv1beta1 "github.com/tektoncd/triggers/pkg/apis/triggers/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// triggersRole is what triggers/ has outside any namespace.
const triggersRole = "step-runner-triggers"

// clusterName is the tests' own name of such a thing: others may have theirs.
func (c *cluster) clusterName(name string) string { return name + "-" + c.ns }

// setUpManifests applies the root kustomization and the triggers, with the changes that
// ../README.md asks of a user.
func (c *cluster) setUpManifests(ctx context.Context) error {
	all := filesys.MakeFsOnDisk()
	var docs bytes.Buffer
	for _, dir := range []string{"..", "../triggers"} {
		res, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(all, dir)
		if err != nil {
			return err
		}
		for _, r := range res.Resources() {
			doc, err := c.changed(r)
			if err != nil {
				return err
			}
			docs.WriteString("---\n" + string(doc))
		}
	}
	return c.apply(ctx, docs.Bytes())
}

func (c *cluster) changed(r *resource.Resource) ([]byte, error) {
	doc, err := r.AsYAML()
	if err != nil {
		return nil, err
	}
	switch r.GetKind() {
	case "ClusterRole":
		return edit(doc, func(o *rbacv1.ClusterRole) error { o.Name = c.clusterName(o.Name); return nil })
	case "ClusterRoleBinding":
		return edit(doc, func(o *rbacv1.ClusterRoleBinding) error {
			o.Name, o.RoleRef.Name = c.clusterName(o.Name), c.clusterName(o.RoleRef.Name)
			o.Subjects[0].Namespace = c.ns
			return nil
		})
	case "TriggerTemplate":
		return edit(doc, c.changeTemplate)
	}
	return doc, nil
}

// changeTemplate makes the run of an event one that this cluster can run.
func (c *cluster) changeTemplate(tt *triggersv1beta1.TriggerTemplate) error {
	rt := &tt.Spec.ResourceTemplates[0]
	run := &v1.PipelineRun{}
	if err := json.Unmarshal(rt.Raw, run); err != nil {
		return err
	}
	// The repository is the event's.
	repo := param(run, "notebook-repo-url")
	c.adapt(run)
	setParam(run, "notebook-repo-url", repo)
	var err error
	rt.Raw, err = json.Marshal(run)
	return err
}

func edit[T any](doc []byte, change func(*T) error) ([]byte, error) {
	var obj T
	if err := yaml.UnmarshalStrict(doc, &obj); err != nil {
		return nil, err
	}
	if err := change(&obj); err != nil {
		return nil, err
	}
	return yaml.Marshal(obj)
}

// example is a PipelineRun of pipelinerun/, made to fit this cluster.
func (c *cluster) example(name string) (*v1.PipelineRun, error) {
	data, err := os.ReadFile(filepath.Join("..", "pipelinerun", name+".yaml"))
	if err != nil {
		return nil, err
	}
	run := &v1.PipelineRun{}
	if err := yaml.UnmarshalStrict(data, run); err != nil {
		return nil, err
	}
	c.adapt(run)
	return run, nil
}
