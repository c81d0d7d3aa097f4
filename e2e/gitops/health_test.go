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

// fixture is an object in a state that a user meets, as operator/tests/it/gitops.rs writes it, with what others should make of it.
type fixture struct {
	KStatus string         `json:"kstatus"`
	ArgoCD  string         `json:"argocd"`
	Object  map[string]any `json:"object"`
	name    string
}

// fixtures are all of them, as they come out of the API server.
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
		if err := definition.refuse(object); err != nil {
			t.Errorf("%s: the API server would refuse it: %v", one.name, err)
		}
		one.Object = definition.stored(object).Object
		all = append(all, one)
	}
	return all
}

func TestKStatusReadsEveryStateAsItIs(t *testing.T) {
	for _, fixture := range fixtures(t) {
		result, err := status.Compute(&unstructured.Unstructured{Object: fixture.Object})
		if err != nil {
			t.Errorf("%s: %v", fixture.name, err)
		} else if string(result.Status) != fixture.KStatus {
			t.Errorf("%s: %s instead of %s: %s", fixture.name, result.Status, fixture.KStatus, result.Message)
		}
	}
}

func TestArgoCDReadsEveryStateAsItIs(t *testing.T) {
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

func TestEveryHealthIsAmongTheStates(t *testing.T) {
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

// A condition of an older spec may be left beside a status that has moved on, for instance by a tool that writes conditions alone.
func TestWhatWasSaidOfAnOlderSpecCountsForNothing(t *testing.T) {
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

func TestAScriptThatReachesOutOrSaysNothingOfUseIsAnError(t *testing.T) {
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

// The script as a patch of Argo CD's settings, once for each kind. UPDATE_FIXTURES=1 writes it.
func TestTheSettingsOfArgoCDHoldTheScript(t *testing.T) {
	path := root + "/gitops/argocd/argocd-cm.yaml"
	text := strings.TrimRight(string(read(t, script)), "\n")
	var wanted strings.Builder
	wanted.WriteString("# For `kubectl patch configmap argocd-cm -n argocd --patch-file`; made of health.lua.\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\n  namespace: argocd\ndata:\n")
	for _, kind := range []string{"AnalyticsPlatform", "WorkerPool"} {
		wanted.WriteString("  resource.customizations.health.switchyard.dev_" + kind + ": |\n")
		for _, line := range strings.Split(text, "\n") {
			wanted.WriteString(strings.TrimRight("    "+line, " ") + "\n")
		}
	}
	if os.Getenv("UPDATE_FIXTURES") != "" {
		if err := os.WriteFile(path, []byte(wanted.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if string(read(t, path)) != wanted.String() {
		t.Errorf("%s is not made of %s: run this test with UPDATE_FIXTURES=1", path, script)
	}
	for _, object := range objects(t, path) {
		data, _, _ := unstructured.NestedStringMap(object.Object, "data")
		for key, value := range data {
			if strings.TrimRight(value, "\n") != text {
				t.Errorf("%s: YAML made something else of the script", key)
			}
		}
		if len(data) != 2 {
			t.Errorf("%d keys", len(data))
		}
	}
}
