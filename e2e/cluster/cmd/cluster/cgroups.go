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
	// Controllers are those of version 1, by their names in the mount options.
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

// missingControllers lists the controllers that the kubelet needs and no hierarchy has.
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

// createCgroups creates the cluster's group in every hierarchy, and a group "node"
// below it for the node's own programs. Groups of pods are its siblings.
func createCgroups(all []hierarchy, group string) error {
	for _, h := range all {
		path := h.Mount
		for _, part := range append(strings.Split(strings.Trim(group, "/"), "/"), "node") {
			if h.Unified {
				enableControllers(path)
			}
			path = filepath.Join(path, part)
			if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				return fmt.Errorf("cannot create the control group %s (%w): run this on a machine or virtual machine whose /sys/fs/cgroup is writable", path, err)
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

// enableControllers enables every controller for the children of a version 2 group.
// It ignores errors, because the kubelet reports missing controllers.
func enableControllers(path string) {
	offered, _ := os.ReadFile(filepath.Join(path, "cgroup.controllers"))
	for _, controller := range strings.Fields(string(offered)) {
		_ = os.WriteFile(filepath.Join(path, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
	}
}

// inheritCpuset copies a new version 1 cpuset from its parent, because an empty one
// accepts no process.
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

// removeCgroups kills the remaining processes in the cluster's groups and removes the
// groups, with the last cluster also their parent. Missing groups are no error.
func removeCgroups(all []hierarchy, group string, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
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
			time.Sleep(50 * time.Millisecond) // version 1 has no event for an empty group
		}
		_ = os.Remove(filepath.Dir(top)) // fails while another cluster has a group in it
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
