package main

import (
	"bytes"
	"embed"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed config/*
var configFiles embed.FS

//go:embed manifests/*.yaml
var manifestFiles embed.FS

// pauseImage, corednsImage and metricsServerImage are built locally and loaded into
// every cluster. No registry has them.
const (
	pauseImage         = "localhost/switchyard/pause:1"
	corednsImage       = "localhost/switchyard/coredns:1"
	metricsServerImage = "localhost/switchyard/metrics-server:1"
)

// settings are the template variables of config/ and manifests/.
type settings struct {
	Plan
	// Kube and Cluster are the file names of the node's programs other than
	// Debian's, all in one folder.
	Kube, Cluster string
	// Snapshotter is that of containerd: overlayfs, or native if the state folder
	// cannot be the upper layer of an overlay.
	Snapshotter string
}

func (settings) PauseImage() string         { return pauseImage }
func (settings) CoreDNSImage() string       { return corednsImage }
func (settings) MetricsServerImage() string { return metricsServerImage }
func (settings) ContainerdSock() string     { return containerdSock }
func (settings) ConfigFolder() string       { return nodeConfig }
func (settings) NetConfig() string          { return netConfig }
func (settings) PKI() string                { return nodePKI }
func (settings) TestRange() string          { return testRange.String() }

// render executes every template of a folder and returns the results by file name.
func render(files embed.FS, folder string, with settings) (map[string][]byte, error) {
	entries, err := files.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	rendered := map[string][]byte{}
	for _, entry := range entries {
		source, err := files.ReadFile(folder + "/" + entry.Name())
		if err != nil {
			return nil, err
		}
		parsed, err := template.New(entry.Name()).Option("missingkey=error").Parse(string(source))
		if err != nil {
			return nil, err
		}
		var text bytes.Buffer
		if err := parsed.Execute(&text, with); err != nil {
			return nil, err
		}
		rendered[entry.Name()] = text.Bytes()
	}
	return rendered, nil
}

// sysctls are the machine-wide settings that the kubelet requires. The node sees files
// with these values instead of the kernel's, so the machine's settings do not change.
var sysctls = map[string]string{
	"vm/overcommit_memory":      "1",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// writeState fills a new state folder with the files that the node's programs read and
// empty folders for their output.
func writeState(with settings) error {
	for _, folder := range []string{nodeBin, nodePrograms, nodeConfig, nodePKI, nodeLogs, nodeVolumes, nodeSysctls, netConfig, "/var/log", "/var/tmp", "/var/lib/containerd"} {
		if err := os.MkdirAll(with.Outside(folder), 0o755); err != nil {
			return err
		}
	}
	for _, folder := range []string{with.Logs(), with.Tmp()} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(with.Tmp(), 0o1777); err != nil {
		return err
	}
	// Programs expect /var/run to be /run.
	if err := os.Symlink("/run", filepath.Join(with.Var(), "run")); err != nil {
		return err
	}
	if err := linkPrograms(with); err != nil {
		return err
	}
	rendered, err := render(configFiles, "config", with)
	if err != nil {
		return err
	}
	for name, content := range rendered {
		folder := nodeConfig
		if name == "10-pods.conflist" {
			folder = netConfig
		}
		if err := os.WriteFile(filepath.Join(with.Outside(folder), name), content, 0o644); err != nil {
			return err
		}
	}
	for name, value := range sysctls {
		path := filepath.Join(with.Outside(nodeSysctls), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
	}
	return writePKI(with.Plan)
}

// linkPrograms creates a link for each name of a program.
func linkPrograms(with settings) error {
	names := map[string]string{"switchyard-cluster": with.Cluster}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"} {
		names[name] = with.Kube
	}
	for name, file := range names {
		if err := os.Symlink(filepath.Join(nodePrograms, file), filepath.Join(with.Outside(nodeBin), name)); err != nil {
			return err
		}
	}
	return nil
}
