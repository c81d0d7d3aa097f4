package main

import (
	"strings"
	"testing"
)

func TestPlansDoNotOverlap(t *testing.T) {
	var plans []Plan
	for index := range maxClusters {
		plan, err := newPlan("/state", "demo", index)
		if err != nil {
			t.Fatal(err)
		}
		if !testRange.Contains(plan.Pods.Addr()) || !testRange.Contains(plan.Services.Addr()) {
			t.Errorf("index %d: %s and %s are not both in %s", index, plan.Pods, plan.Services, testRange)
		}
		for _, inside := range []struct {
			what     string
			contains bool
			want     bool
		}{
			{"the API's Service in what is handed out", plan.Allocatable.Contains(plan.APIServiceIP), true},
			{"DNS in what is handed out", plan.Allocatable.Contains(plan.DNSIP), true},
			{"the machine's end in what is handed out", plan.Allocatable.Contains(plan.HostIP), false},
			{"the node's end in what is handed out", plan.Allocatable.Contains(plan.NodeIP), false},
			{"the node's end in what is routed", plan.Services.Contains(plan.NodeIP), true},
		} {
			if inside.contains != inside.want {
				t.Errorf("index %d: %s: %v", index, inside.what, inside.contains)
			}
		}
		if masked := plan.Services.Addr(); masked != plan.Services.Masked().Addr() || plan.Pods.Addr() != plan.Pods.Masked().Addr() {
			t.Errorf("index %d: a range does not start at its first address", index)
		}
		for _, other := range plans {
			if plan.Pods.Overlaps(other.Pods) || plan.Services.Overlaps(other.Services) || plan.Link() == other.Link() {
				t.Errorf("indices %d and %d overlap", index, other.Index)
			}
		}
		plans = append(plans, plan)
	}
	if _, err := newPlan("/state", "demo", maxClusters); err == nil {
		t.Error("an index beyond the last was accepted")
	}
}

func TestNames(t *testing.T) {
	for name, good := range map[string]bool{
		"demo": true, "test-2": true, strings.Repeat("a", 20): true,
		"": false, "Demo": false, "-demo": false, "2nd": false, "a/b": false, "..": false, "a b": false, strings.Repeat("a", 21): false,
	} {
		if err := checkName(name); (err == nil) != good {
			t.Errorf("checkName(%q) = %v", name, err)
		}
	}
}

func TestFreeIndex(t *testing.T) {
	links := map[int]string{0: "switchyard-demo", 2: "switchyard-test"}
	owner := func(index int) string { return links[index] }
	for node, want := range map[string]int{"switchyard-demo": 0, "switchyard-other": 1} {
		if got, err := freeIndex(owner, node); err != nil || got != want {
			t.Errorf("freeIndex for %s = %d, %v; want %d", node, got, err, want)
		}
	}
	links[1], links[3] = "unknown", "switchyard-last"
	if _, err := freeIndex(owner, "switchyard-other"); err == nil {
		t.Error("a fifth cluster got an index")
	}
}

func TestOutside(t *testing.T) {
	plan, _ := newPlan("/state", "demo", 0)
	if got := plan.Outside(containerdSock); got != "/state/demo/var/lib/containerd/containerd.sock" {
		t.Errorf("Outside = %s", got)
	}
}
