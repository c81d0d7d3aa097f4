package main

import (
	"reflect"
	"strings"
	"testing"
)

const mountinfo = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
24 22 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
27 24 0:25 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
28 24 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
30 22 0:30 / /var/lib/switchyard/clusters/demo/var rw - tmpfs tmpfs rw
31 30 0:31 / /var/lib/switchyard/clusters/demo/var/a\040b rw - tmpfs tmpfs rw
32 22 0:32 / /var/lib/switchyard/clusters/demo-2/var rw - tmpfs tmpfs rw
`

func TestParseHierarchies(t *testing.T) {
	got, err := parseHierarchies(strings.NewReader(mountinfo))
	want := []hierarchy{
		{Mount: "/sys/fs/cgroup/cpu,cpuacct", Controllers: []string{"rw", "cpu", "cpuacct"}},
		{Mount: "/sys/fs/cgroup/cpuset", Controllers: []string{"rw", "cpuset"}},
		{Mount: "/sys/fs/cgroup/systemd", Controllers: []string{"rw", "name=systemd"}},
		{Mount: "/sys/fs/cgroup/unified", Unified: true},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if !got[0].has("cpuacct") || got[0].has("memory") {
		t.Error("has is wrong about the controllers of a hierarchy")
	}
}

func TestMountsOfOneCluster(t *testing.T) {
	all, err := parseMountPoints(strings.NewReader(mountinfo))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, mount := range all {
		if within(mount, "/var/lib/switchyard/clusters/demo") {
			got = append(got, mount)
		}
	}
	// The latest first, without a cluster whose name has the same prefix.
	want := []string{"/var/lib/switchyard/clusters/demo/var/a b", "/var/lib/switchyard/clusters/demo/var"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestForeignMounts(t *testing.T) {
	needed := []string{"/var/lib/switchyard/clusters/demo", "/sys", "/usr"}
	for mount, want := range map[string]bool{
		"/": false, "/var": false, "/var/lib/switchyard": false, "/sys/fs/cgroup/cpu": false, "/usr/lib": false,
		"/var/lib/containers/merged": true, "/system": true, "/home": true,
	} {
		if got := foreign(mount, needed); got != want {
			t.Errorf("foreign(%s) = %v", mount, got)
		}
	}
}

func TestParseNodeCommand(t *testing.T) {
	name, index, ok := parseNodeCommand("switchyard-node\x00demo\x002\x00/var/lib/switchyard/clusters\x00")
	if !ok || name != "demo" || index != 2 {
		t.Errorf("got %q, %d, %v", name, index, ok)
	}
	for _, other := range []string{"", "bash\x00", "switchyard-node\x00demo\x00x\x00/s\x00", "switchyard-node\x00../x\x000\x00/s\x00", "vi\x00switchyard-node\x00demo\x000\x00"} {
		if _, _, ok := parseNodeCommand(other); ok {
			t.Errorf("%q is parsed as a node", other)
		}
	}
}

func TestIsNamespaceInit(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tx\nNSpid:\t4711\t1\nThreads:\t3\n": true,
		"Name:\tx\nNSpid:\t4711\n":                 false,
		"Name:\tx\nNSpid:\t4711\t17\n":             false,
		"Name:\tinit\nNSpid:\t1\n":                 false,
		"Name:\tx\n":                               false,
	} {
		if got := isNamespaceInit(status); got != want {
			t.Errorf("isNamespaceInit(%q) = %v", status, got)
		}
	}
}
