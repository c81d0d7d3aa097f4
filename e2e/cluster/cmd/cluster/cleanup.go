package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// cleanupTimeout limits the removal of each resource by the kernel.
const cleanupTimeout = 10 * time.Second

// removeNode removes the processes, mounts, link, control groups and folder of a
// cluster, in any state that a killed run can leave. It returns descriptions of what
// it found; finding nothing is no error.
func removeNode(clusters, name string) (found []string, err error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	plan, err := newPlan(clusters, name, 0)
	if err != nil {
		return nil, err
	}
	nodes, err := nodeProcesses()
	if err != nil {
		return nil, err
	}
	for _, node := range nodes {
		if node.Name == name {
			found = append(found, fmt.Sprintf("process %d", node.PID))
			if err := node.kill(cleanupTimeout); err != nil {
				return found, err
			}
		}
	}
	for index := range maxClusters {
		if linkOwner(index) == plan.NodeName() {
			found = append(found, "link "+linkName(index))
			if err := removeLink(index); err != nil {
				return found, err
			}
		}
	}
	all, err := hierarchies()
	if err != nil {
		return found, err
	}
	for _, h := range all {
		if _, err := os.Stat(filepath.Join(h.Mount, plan.Cgroup())); err == nil {
			found = append(found, "control groups")
			break
		}
	}
	if err := removeCgroups(all, plan.Cgroup(), cleanupTimeout); err != nil {
		return found, err
	}
	mounts, err := mountPoints()
	if err != nil {
		return found, err
	}
	for _, mount := range mounts {
		if !within(mount, plan.State) {
			continue
		}
		found = append(found, "mount "+mount)
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return found, fmt.Errorf("cannot unmount %s: %w", mount, err)
		}
	}
	if _, err := os.Stat(plan.State); err == nil {
		found = append(found, "folder "+plan.State)
	}
	if err := os.RemoveAll(plan.State); err != nil {
		return found, fmt.Errorf("cannot remove %s: %w", plan.State, err)
	}
	return found, nil
}
