package main

import (
	"archive/tar"
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestArchiveIsReadBack(t *testing.T) {
	var first, second bytes.Buffer
	for _, to := range []*bytes.Buffer{&first, &second} {
		if err := writeArchive(to, "localhost/switchyard/probe:1", []byte("program")); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("equal programs give different archives")
	}
	var other bytes.Buffer
	if err := writeArchive(&other, "localhost/switchyard/probe:1", []byte("another")); err != nil {
		t.Fatal(err)
	}
	images, err := readArchive(&first)
	if err != nil || len(images) != 1 || !reflect.DeepEqual(images[0].Tags, []string{"localhost/switchyard/probe:1"}) || len(images[0].Config) != 64 {
		t.Fatalf("got %+v, %v", images, err)
	}
	others, err := readArchive(&other)
	if err != nil || others[0].Config == images[0].Config {
		t.Errorf("different programs have the same id: %v", err)
	}
}

// buildah writes the manifest last, and the id without a suffix.
func TestReadArchiveOfBuildah(t *testing.T) {
	var file bytes.Buffer
	entries := tar.NewWriter(&file)
	id := strings.Repeat("ab", 32)
	for name, content := range map[string]string{
		"manifest.json": `[{"Config":"` + id + `.json","RepoTags":["localhost/a:1","localhost/b:2"],"Layers":[]}]`,
	} {
		if err := addFile(entries, "x/layer.tar", 0o644, []byte("layer")); err != nil {
			t.Fatal(err)
		}
		if err := addFile(entries, name, 0o644, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := entries.Close(); err != nil {
		t.Fatal(err)
	}
	images, err := readArchive(&file)
	if err != nil || !reflect.DeepEqual(images, []archive{{Config: id, Tags: []string{"localhost/a:1", "localhost/b:2"}}}) {
		t.Errorf("got %+v, %v", images, err)
	}
	for what, broken := range map[string]string{"an empty file": "", "not a tar file": strings.Repeat("text ", 300)} {
		if _, err := readArchive(strings.NewReader(broken)); err == nil || !strings.Contains(err.Error(), "buildah push") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestProgramName(t *testing.T) {
	for tag, want := range map[string]string{"localhost/switchyard/pause:1": "pause", "pause": "pause", "localhost:5000/a/b": "b"} {
		if got := programName(tag); got != want {
			t.Errorf("programName(%q) = %q", tag, got)
		}
	}
}
