package gitops

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// root is the root of the repository, relative to the folder in which Go runs the tests.
const root = "../.."

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// objects reads every document of a YAML file.
func objects(t *testing.T, path string) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	reader := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(read(t, path))))
	buffer := make([]byte, 1<<20)
	for {
		length, err := reader.Read(buffer)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		object := map[string]any{}
		text, err := yaml.ToJSON(buffer[:length])
		if err == nil {
			// The API machinery decodes integers as int64.
			err = json.Unmarshal(text, &object)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if len(object) > 0 {
			all = append(all, &unstructured.Unstructured{Object: object})
		}
	}
}

// glob lists the files that match a pattern below the root of the repository, at least one.
func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no file matches %s: %v", pattern, err)
	}
	return paths
}
