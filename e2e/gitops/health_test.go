package gitops

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

const script = root + "/gitops/argocd/health.lua"

// fixture is an object in one state, with the expected results of kstatus and Argo CD. The gitops
// tests of the operator write these files.
type fixture struct {
	KStatus string         `json:"kstatus"`
	ArgoCD  string         `json:"argocd"`
	Object  map[string]any `json:"object"`
	name    string
}

// fixtures reads all fixtures, with the defaults that the API server adds.
func fixtures(t *testing.T) []fixture {
	t.Helper()
	ours := definitions(t, glob(t, "crds/*.yaml")...)
	var all []fixture
	for _, path := range glob(t, "e2e/gitops/fixtures/*.json") {
		one := fixture{name: strings.TrimSuffix(filepath.Base(path), ".json")}
		if err := json.Unmarshal(read(t, path), &one); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		object := &unstructured.Unstructured{Object: one.Object}
		definition, ok := ours[object.GroupVersionKind()]
		if !ok {
			t.Fatalf("%s: no definition of %s", path, object.GroupVersionKind())
		}
		if err := definition.validate(object); err != nil {
			t.Errorf("%s: the API server would reject it: %v", one.name, err)
		}
		one.Object = definition.withDefaults(object).Object
		all = append(all, one)
	}
	return all
}

func TestKStatusOfEveryState(t *testing.T) {
	for _, fixture := range fixtures(t) {
		result, err := status.Compute(&unstructured.Unstructured{Object: fixture.Object})
		if err != nil {
			t.Errorf("%s: %v", fixture.name, err)
		} else if string(result.Status) != fixture.KStatus {
			t.Errorf("%s: %s instead of %s: %s", fixture.name, result.Status, fixture.KStatus, result.Message)
		}
	}
}

func TestArgoCDHealthOfEveryState(t *testing.T) {
	text := string(read(t, script))
	for _, fixture := range fixtures(t) {
		found, err := healthOf(&unstructured.Unstructured{Object: fixture.Object}, text)
		if err != nil {
			t.Errorf("%s: %v", fixture.name, err)
		} else if found.status != fixture.ArgoCD || found.message == "" || found.message == "nil" {
			t.Errorf("%s: %s instead of %s: %q", fixture.name, found.status, fixture.ArgoCD, found.message)
		}
	}
}

func TestFixturesCoverEveryHealth(t *testing.T) {
	seen := map[string]bool{}
	for _, fixture := range fixtures(t) {
		seen[fixture.KStatus], seen[fixture.ArgoCD] = true, true
	}
	for _, word := range []string{"Current", "InProgress", "Failed", "Terminating", "Healthy", "Progressing", "Degraded", "Suspended"} {
		if !seen[word] {
			t.Errorf("no fixture is %s", word)
		}
	}
}

// The status may be newer than a condition, for example if a tool writes only conditions.
func TestConditionsOfAnOlderGenerationAreIgnored(t *testing.T) {
	text := string(read(t, script))
	for _, fixture := range fixtures(t) {
		object := (&unstructured.Unstructured{Object: fixture.Object}).DeepCopy()
		conditions, found, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
		if !found || object.GetDeletionTimestamp() != nil {
			continue
		}
		for _, condition := range conditions {
			condition.(map[string]any)["observedGeneration"] = object.GetGeneration() - 1
		}
		if err := unstructured.SetNestedSlice(object.Object, conditions, "status", "conditions"); err != nil {
			t.Fatal(err)
		}
		if health, err := healthOf(object, text); err != nil || health.status != "Progressing" {
			t.Errorf("%s: %s, %v", fixture.name, health.status, err)
		}
	}
}

func TestInvalidScriptsFail(t *testing.T) {
	for _, text := range []string{
		"return { status = 'Healthy', message = os.getenv('HOME') }",
		"return { status = 'Healthy', message = io.read() }",
		"return { status = 'Good', message = '' }",
		"return 'Healthy'",
		"while true do end",
	} {
		if found, err := healthOf(&unstructured.Unstructured{Object: map[string]any{}}, text); err == nil {
			t.Errorf("%s: %v", text, found)
		}
	}
}

// argocd-cm.yaml contains the script for each kind. UPDATE_FIXTURES=1 writes the file.
func TestArgoCDSettingsContainTheScript(t *testing.T) {
	path := root + "/gitops/argocd/argocd-cm.yaml"
	text := strings.TrimRight(string(read(t, script)), "\n")
	var expected strings.Builder
	expected.WriteString("# For `kubectl patch configmap argocd-cm -n argocd --patch-file`; generated from health.lua.\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\n  namespace: argocd\ndata:\n")
	for _, kind := range []string{"AnalyticsPlatform", "WorkerPool"} {
		expected.WriteString("  resource.customizations.health.switchyard.dev_" + kind + ": |\n")
		for _, line := range strings.Split(text, "\n") {
			expected.WriteString(strings.TrimRight("    "+line, " ") + "\n")
		}
	}
	if os.Getenv("UPDATE_FIXTURES") != "" {
		if err := os.WriteFile(path, []byte(expected.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if string(read(t, path)) != expected.String() {
		t.Errorf("%s differs from %s: run this test with UPDATE_FIXTURES=1", path, script)
	}
	for _, object := range objects(t, path) {
		data, _, _ := unstructured.NestedStringMap(object.Object, "data")
		for key, value := range data {
			if strings.TrimRight(value, "\n") != text {
				t.Errorf("%s: YAML changes the script", key)
			}
		}
		if len(data) != 2 {
			t.Errorf("%d keys", len(data))
		}
	}
}
