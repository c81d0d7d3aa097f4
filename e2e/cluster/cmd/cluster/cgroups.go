package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A hierarchy is one mounted tree of control groups.
type hierarchy struct {
	// Mount is where the tree's root is mounted.
	Mount string
	// Unified is true for version 2, where one tree has every controller.
	Unified bool
	// Controllers are version 1's, as the mount options name them.
	Controllers []string
}

// parseHierarchies reads /proc/self/mountinfo.
func parseHierarchies(mountinfo io.Reader) ([]hierarchy, error) {
	var found []hierarchy
	seen := map[string]bool{}
	lines := bufio.NewScanner(mountinfo)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 || seen[left[4]] {
			continue
		}
		switch right[0] {
		case "cgroup":
			found = append(found, hierarchy{Mount: left[4], Controllers: strings.Split(right[2], ",")})
		case "cgroup2":
			found = append(found, hierarchy{Mount: left[4], Unified: true})
		default:
			continue
		}
		seen[left[4]] = true
	}
	return found, lines.Err()
}

func hierarchies() ([]hierarchy, error) {
	mountinfo, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer mountinfo.Close()
	return parseHierarchies(mountinfo)
}

func (h hierarchy) has(controller string) bool {
	for _, own := range h.Controllers {
		if own == controller {
			return true
		}
	}
	return false
}

// missingControllers names what the kubelet needs and no hierarchy offers.
func missingControllers(all []hierarchy) []string {
	var missing []string
	for _, controller := range []string{"cpu", "cpuset", "memory", "pids"} {
		found := false
		for _, h := range all {
			if h.Unified {
				offered, _ := os.ReadFile(filepath.Join(h.Mount, "cgroup.controllers"))
				for _, one := range strings.Fields(string(offered)) {
					found = found || one == controller
				}
			}
			found = found || h.has(controller)
		}
		if !found {
			missing = append(missing, controller)
		}
	}
	return missing
}

// makeCgroups makes the cluster's group in every hierarchy and a group "node"
// below it for the node's own programs; pods come beside it.
func makeCgroups(all []hierarchy, group string) error {
	for _, h := range all {
		path := h.Mount
		for _, part := range append(strings.Split(strings.Trim(group, "/"), "/"), "node") {
			if h.Unified {
				enableControllers(path)
			}
			path = filepath.Join(path, part)
			if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				return fmt.Errorf("cannot make the control group %s (%w): run this on a machine or virtual machine whose /sys/fs/cgroup is writable", path, err)
			}
			if h.has("cpuset") {
				if err := inheritCpuset(path); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// enableControllers hands every controller down to a version 2 group's children.
// What is refused there is missing in the children, and the kubelet says so.
func enableControllers(path string) {
	offered, _ := os.ReadFile(filepath.Join(path, "cgroup.controllers"))
	for _, controller := range strings.Fields(string(offered)) {
		_ = os.WriteFile(filepath.Join(path, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
	}
}

// inheritCpuset fills a new version 1 cpuset from its parent: an empty one takes no process.
func inheritCpuset(path string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(path, file))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(own)) != "" {
			continue
		}
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(path), file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(path, file), parent, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// enterCgroups moves a process into the group "node" of every hierarchy.
func enterCgroups(all []hierarchy, group string, pid int) error {
	for _, h := range all {
		procs := filepath.Join(h.Mount, group, "node", "cgroup.procs")
		if err := os.WriteFile(procs, []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("cannot move the node into its control group: %w", err)
		}
	}
	return nil
}

// removeCgroups kills what is left in the cluster's groups and removes them, and
// the group of all clusters with the last of them. It is content where none are.
func removeCgroups(all []hierarchy, group string, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for _, h := range all {
		top := filepath.Join(h.Mount, group)
		for {
			err := removeTree(top)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("cannot remove the control group %s: %w", top, err)
			}
			time.Sleep(50 * time.Millisecond) // no event tells that a group has become empty in version 1
		}
		_ = os.Remove(filepath.Dir(top)) // fails while another cluster has a group there
	}
	return nil
}

func removeTree(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(path, entry.Name())); err != nil {
				return err
			}
		}
	}
	procs, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
	for _, field := range strings.Fields(string(procs)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if err := syscall.Rmdir(path); err != nil && err != syscall.ENOENT {
		return err
	}
	return nil
}
