// Package manifests checks the manifests as Tekton's admission webhooks do, and
// against step-runner's own commands. It is a module of its own, so that the
// program does not depend on Tekton.
package manifests

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	pipelinev1beta1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	"github.com/tektoncd/triggers/pkg/apis/triggers/contexts"
	triggersv1beta1 "github.com/tektoncd/triggers/pkg/apis/triggers/v1beta1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"knative.dev/pkg/apis"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// kinds makes an empty object of each kind that a manifest may hold.
var kinds = map[string]func() any{
	"tekton.dev/v1 Task":                              func() any { return &v1.Task{} },
	"tekton.dev/v1 Pipeline":                          func() any { return &v1.Pipeline{} },
	"tekton.dev/v1 PipelineRun":                       func() any { return &v1.PipelineRun{} },
	"tekton.dev/v1beta1 StepAction":                   func() any { return &pipelinev1beta1.StepAction{} },
	"triggers.tekton.dev/v1beta1 EventListener":       func() any { return &triggersv1beta1.EventListener{} },
	"triggers.tekton.dev/v1beta1 TriggerBinding":      func() any { return &triggersv1beta1.TriggerBinding{} },
	"triggers.tekton.dev/v1beta1 TriggerTemplate":     func() any { return &triggersv1beta1.TriggerTemplate{} },
	"v1 Namespace":                                    func() any { return &corev1.Namespace{} },
	"v1 PersistentVolumeClaim":                        func() any { return &corev1.PersistentVolumeClaim{} },
	"v1 ServiceAccount":                               func() any { return &corev1.ServiceAccount{} },
	"v1 Secret":                                       func() any { return &corev1.Secret{} },
	"v1 ConfigMap":                                    func() any { return &corev1.ConfigMap{} },
	"v1 Service":                                      func() any { return &corev1.Service{} },
	"apps/v1 Deployment":                              func() any { return &appsv1.Deployment{} },
	"networking.k8s.io/v1 Ingress":                    func() any { return &networkingv1.Ingress{} },
	"networking.k8s.io/v1 NetworkPolicy":              func() any { return &networkingv1.NetworkPolicy{} },
	"rbac.authorization.k8s.io/v1 Role":               func() any { return &rbacv1.Role{} },
	"rbac.authorization.k8s.io/v1 RoleBinding":        func() any { return &rbacv1.RoleBinding{} },
	"rbac.authorization.k8s.io/v1 ClusterRole":        func() any { return &rbacv1.ClusterRole{} },
	"rbac.authorization.k8s.io/v1 ClusterRoleBinding": func() any { return &rbacv1.ClusterRoleBinding{} },
}

// webhook is what the admission webhooks see: a new object, with the defaults of
// the features that a fresh Tekton has.
func webhook() context.Context {
	return contexts.WithUpgradeViaDefaulting(apis.WithinCreate(context.Background()))
}

// admit decodes one document strictly and does what the webhook of its kind does.
func admit(doc []byte) (any, error) {
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &meta); err != nil {
		return nil, err
	}
	make, ok := kinds[meta.APIVersion+" "+meta.Kind]
	if !ok {
		return nil, errors.New("no known kind: " + meta.APIVersion + " " + meta.Kind)
	}
	obj := make()
	if err := yaml.UnmarshalStrict(doc, obj, yaml.DisallowUnknownFields); err != nil {
		return nil, err
	}
	if m, ok := obj.(metav1.Object); ok && m.GetName() == "" {
		// The API server has made a name before the webhook sees the object.
		m.SetName(m.GetGenerateName() + "x")
	}
	if d, ok := obj.(apis.Defaultable); ok {
		d.SetDefaults(webhook())
	}
	if v, ok := obj.(apis.Validatable); ok {
		if err := v.Validate(webhook()); err != nil {
			return nil, err
		}
	}
	return obj, nil
}

// documents parts YAML into its documents.
func documents(t *testing.T, data []byte) [][]byte {
	t.Helper()
	r := utilyaml.NewYAMLReader(newReader(data))
	var docs [][]byte
	for {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return docs
		}
		require.NoError(t, err)
		var content map[string]any
		require.NoError(t, yaml.Unmarshal(doc, &content))
		if len(content) > 0 {
			docs = append(docs, bytes.Clone(doc))
		}
	}
}

// files calls f for every file below here whose name ends so.
func files(t *testing.T, end string, f func(path string)) {
	t.Helper()
	n := 0
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, end) {
			n++
			f(path)
		}
		return err
	}))
	require.NotZero(t, n, "no file ends in %s", end)
}

// render is what `kubectl apply -k dir` would send.
func render(t *testing.T, dir string) [][]byte {
	t.Helper()
	res, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	require.NoError(t, err, dir)
	data, err := res.AsYaml()
	require.NoError(t, err)
	return documents(t, data)
}

// TestEveryManifest: each file is what a webhook lets in.
func TestEveryManifest(t *testing.T) {
	files(t, ".yaml", func(path string) {
		if filepath.Base(path) == "kustomization.yaml" {
			return
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		docs := documents(t, data)
		require.NotEmpty(t, docs, path)
		for _, doc := range docs {
			obj, err := admit(doc)
			require.NoError(t, err, path)
			if tt, ok := obj.(*triggersv1beta1.TriggerTemplate); ok {
				created(t, path, tt)
			}
		}
	})
}

// TestEveryKustomization: each renders to what the webhooks let in, and names
// nothing that is not there.
func TestEveryKustomization(t *testing.T) {
	files(t, "kustomization.yaml", func(path string) {
		set := newCatalog()
		for _, doc := range render(t, filepath.Dir(path)) {
			obj, err := admit(doc)
			require.NoError(t, err, "%s:\n%s", path, doc)
			set.add(obj)
		}
		if len(set.pipelines) > 0 && len(set.tasks) > 0 {
			set.check(t, path)
		}
	})
}

// TestTheWebhookIsStrict: what the other tests rest on.
func TestTheWebhookIsStrict(t *testing.T) {
	data, err := os.ReadFile("task/final-summary/0.1/final-summary.yaml")
	require.NoError(t, err)
	for name, change := range map[string][2]string{
		"unknown field":       {"  stepTemplate:", "  stepTemplates:"},
		"duplicate name":      {"name: summary\n      ref", "name: collect\n      ref"},
		"undeclared result":   {"steps.summary.results.verdict)", "steps.summary.result.verdict)"},
		"image beside action": {"      ref:\n        name: step-runner-summary", "      image: x\n      ref:\n        name: step-runner-summary"},
	} {
		broken := strings.Replace(string(data), change[0], change[1], 1)
		require.NotEqual(t, string(data), broken, name)
		_, err := admit([]byte(broken))
		require.Error(t, err, name)
	}
}

// created puts values like those of a real event into the template and checks the
// objects that would be made.
func created(t *testing.T, path string, tt *triggersv1beta1.TriggerTemplate) []any {
	t.Helper()
	var objs []any
	for _, rt := range tt.Spec.ResourceTemplates {
		text := string(rt.Raw)
		for _, p := range tt.Spec.Params {
			text = strings.ReplaceAll(text, "$(tt.params."+p.Name+")", "0123456789abcdef0123456789abcdef01234567")
		}
		require.NotContains(t, text, "$(tt.", path)
		obj, err := admit([]byte(text))
		require.NoError(t, err, path)
		objs = append(objs, obj)
	}
	return objs
}
