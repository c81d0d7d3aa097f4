package main

import (
	"embed"
	"encoding/json"
	"strings"
	"testing"

	kyaml "sigs.k8s.io/yaml"
)

func testSettings(t *testing.T) settings {
	t.Helper()
	plan, err := newPlan("/state", "demo", 1)
	if err != nil {
		t.Fatal(err)
	}
	return settings{Plan: plan, Kube: "kube-1", Cluster: "cluster-1", Snapshotter: "overlayfs"}
}

// Every file must be filled in and well-formed, whichever programs will read it.
func TestRenderedFilesAreWellFormed(t *testing.T) {
	for folder, files := range map[string]embed.FS{"config": configFiles, "manifests": manifestFiles} {
		rendered, err := render(files, folder, testSettings(t))
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range rendered {
			text := string(content)
			if strings.Contains(text, "{{") || strings.Contains(text, "<no value>") {
				t.Errorf("%s is not filled in", name)
			}
			switch {
			case strings.HasSuffix(name, ".conflist"):
				if !json.Valid(content) {
					t.Errorf("%s is not JSON", name)
				}
			case strings.HasSuffix(name, ".yaml"):
				for _, document := range strings.Split(text, "\n---\n") {
					var object struct{ APIVersion, Kind string }
					if err := kyaml.Unmarshal([]byte(document), &object); err != nil || object.Kind == "" || object.APIVersion == "" {
						t.Errorf("%s: %v in:\n%s", name, err, document)
					}
				}
			}
		}
	}
}

func TestRenderedAddresses(t *testing.T) {
	with := testSettings(t)
	rendered, err := render(configFiles, "config", with)
	if err != nil {
		t.Fatal(err)
	}
	for name, wants := range map[string][]string{
		"10-pods.conflist": {`"subnet": "198.18.64.0/18"`, `"dst": "198.18.0.0/15"`},
		"kubelet.yaml":     {`clusterDNS: ["198.19.64.10"]`, `cgroupRoot: "/switchyard/demo"`, "failCgroupV1: false"},
		"containerd.toml":  {`address = "/var/lib/containerd/containerd.sock"`, `sandbox_image = "localhost/switchyard/pause:1"`, "restrict_oom_score_adj = true"},
	} {
		for _, want := range wants {
			if !strings.Contains(string(rendered[name]), want) {
				t.Errorf("%s lacks %s", name, want)
			}
		}
	}
}

func TestPrograms(t *testing.T) {
	all := programs(testSettings(t).Plan)
	seen := map[string]bool{}
	for _, one := range all {
		if seen[one.Name] {
			t.Errorf("%s is there twice", one.Name)
		}
		seen[one.Name] = true
		arguments := strings.Join(one.Args, " ")
		if strings.Contains(arguments, "/state/") {
			t.Errorf("%s is given a path of the machine, which the node does not see: %s", one.Name, arguments)
		}
		if one.Name == "kube-apiserver" {
			for _, want := range []string{"--advertise-address=198.19.127.254", "--service-cluster-ip-range=198.19.64.0/19", "--requestheader-client-ca-file="} {
				if !strings.Contains(arguments, want) {
					t.Errorf("the API server lacks %s", want)
				}
			}
		}
	}
}
