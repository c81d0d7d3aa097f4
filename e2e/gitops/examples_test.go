package gitops

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// foreign lists the definitions of Argo CD and Flux in their Go modules, whose checksums Go
// verifies.
var foreign = []struct{ module, file string }{
	{"github.com/argoproj/argo-cd/v3@v3.5.7", "manifests/crds/application-crd.yaml"},
	{"github.com/fluxcd/source-controller@v1.9.6", "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml"},
	{"github.com/fluxcd/kustomize-controller@v1.9.6", "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"},
}

// inModule returns the path of a file of a Go module, and downloads the module if it is missing.
func inModule(t *testing.T, module, file string) string {
	t.Helper()
	command := exec.Command("go", "mod", "download", "-json", module)
	command.Stderr = os.Stderr
	output, err := command.Output()
	var found struct{ Dir, Error string }
	if decoded := json.Unmarshal(output, &found); err != nil || decoded != nil || found.Dir == "" {
		t.Fatalf("%s: %v: %s", module, err, found.Error)
	}
	return filepath.Join(found.Dir, file)
}

func TestExamplesMatchTheirDefinitions(t *testing.T) {
	paths := glob(t, "crds/*.yaml")
	for _, other := range foreign {
		paths = append(paths, inModule(t, other.module, other.file))
	}
	known := definitions(t, paths...)
	seen := map[string]int{}
	for _, path := range glob(t, "gitops/*/*.yaml") {
		for _, object := range objects(t, path) {
			kind := object.GroupVersionKind()
			seen[kind.Kind]++
			if definition, ok := known[kind]; ok {
				if err := definition.validate(object); err != nil {
					t.Errorf("%s: %s: %v", path, object.GetName(), err)
				}
				continue
			}
			switch kind.GroupKind() {
			case schema.GroupKind{Kind: "ConfigMap"}, schema.GroupKind{Kind: "Namespace"}:
			case schema.GroupKind{Group: "helm.toolkit.fluxcd.io", Kind: "HelmRelease"}:
				// Only the types of the controller are available as a module.
				if err := yaml.UnmarshalStrict(read(t, path), &helmv2.HelmRelease{}); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			default:
				t.Errorf("%s: no definition of %s", path, kind)
			}
		}
	}
	for _, kind := range []string{"Application", "GitRepository", "Kustomization", "HelmRelease", "AnalyticsPlatform", "WorkerPool"} {
		if seen[kind] == 0 {
			t.Errorf("no example has a %s", kind)
		}
	}
}

func TestPathsInExamplesExist(t *testing.T) {
	for _, path := range glob(t, "gitops/*/*.yaml") {
		for _, object := range objects(t, path) {
			for _, fields := range [][]string{{"spec", "path"}, {"spec", "source", "path"}, {"spec", "chart", "spec", "chart"}} {
				folder, found, _ := unstructured.NestedString(object.Object, fields...)
				if !found {
					continue
				}
				if entries, err := os.ReadDir(filepath.Join(root, folder)); err != nil || len(entries) == 0 {
					t.Errorf("%s: %s: %v", path, folder, err)
				}
			}
		}
	}
}

func TestInvalidObjectsAreRejected(t *testing.T) {
	ours := definitions(t, glob(t, "crds/*.yaml")...)
	pool := func(spec map[string]any) *unstructured.Unstructured {
		spec["platformRef"] = map[string]any{"name": "main"}
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "switchyard.dev/v1alpha1", "kind": "WorkerPool", "metadata": map[string]any{"name": "extra"}, "spec": spec,
		}}
	}
	definition := ours[schema.GroupVersionKind{Group: "switchyard.dev", Version: "v1alpha1", Kind: "WorkerPool"}]
	if err := definition.validate(pool(map[string]any{"kind": "cdn"})); err != nil {
		t.Errorf("a valid pool: %v", err)
	}
	for what, spec := range map[string]map[string]any{
		"an unknown field":                {"kind": "cdn", "replica": int64(1)},
		"an unknown kind":                 {"kind": "gpu"},
		"a GPU for a pool that uses none": {"kind": "cdn", "gpu": map[string]any{"count": int64(1)}},
	} {
		if definition.validate(pool(spec)) == nil {
			t.Errorf("%s is accepted", what)
		}
	}
}
