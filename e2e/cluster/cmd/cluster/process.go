package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nodeTitle is argv[0] of the node process, followed by the cluster's name and index.
// Cleanup finds a node by it, without depending on files.
const nodeTitle = "switchyard-node"

// A nodeProcess is the first process of a running node, seen from the machine.
type nodeProcess struct {
	PID   int
	Name  string
	Index int
}

// parseNodeCommand reads /proc/PID/cmdline.
func parseNodeCommand(cmdline string) (name string, index int, ok bool) {
	argv := strings.Split(strings.TrimSuffix(cmdline, "\x00"), "\x00")
	if len(argv) != 4 || argv[0] != nodeTitle {
		return "", 0, false
	}
	index, err := strconv.Atoi(argv[2])
	return argv[1], index, err == nil && checkName(argv[1]) == nil
}

// isNamespaceInit reports whether /proc/PID/status describes process 1 of a PID
// namespace below this one.
func isNamespaceInit(status string) bool {
	for _, line := range strings.Split(status, "\n") {
		if value, ok := strings.CutPrefix(line, "NSpid:"); ok {
			pids := strings.Fields(value)
			return len(pids) >= 2 && pids[len(pids)-1] == "1"
		}
	}
	return false
}

// nodeProcesses finds the nodes of every cluster on this machine.
func nodeProcesses() ([]nodeProcess, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var found []nodeProcess
	for _, path := range paths {
		cmdline, err := os.ReadFile(path)
		if err != nil {
			continue // the process has ended
		}
		name, index, ok := parseNodeCommand(string(cmdline))
		if !ok {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(path), "status"))
		if err != nil || !isNamespaceInit(string(status)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil {
			found = append(found, nodeProcess{PID: pid, Name: name, Index: index})
		}
	}
	return found, nil
}

// watch opens a descriptor that becomes readable when the node's last process has
// ended. It returns -1 if it has already ended.
func (n nodeProcess) watch() (int, error) {
	handle, err := unix.PidfdOpen(n.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("cannot watch process %d: %w", n.PID, err)
	}
	return handle, nil
}

// ends reports whether a watched node ends within the timeout.
func ends(handle int, timeout time.Duration) (bool, error) {
	deadline := time.Now().Add(timeout)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false, nil
		}
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return false, err
		}
		if ready > 0 {
			return true, nil
		}
	}
}

// dying reports whether the node has been killed and is about to end.
func (n nodeProcess) dying() (bool, error) {
	handle, err := n.watch()
	if err != nil || handle < 0 {
		return true, err
	}
	defer unix.Close(handle)
	return ends(handle, 200*time.Millisecond)
}

// kill kills the node; the kernel then removes every process, mount and link of its
// namespaces. It returns when the last process has ended.
func (n nodeProcess) kill(timeout time.Duration) error {
	handle, err := n.watch()
	if err != nil || handle < 0 {
		return err
	}
	defer unix.Close(handle)
	if err := unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot kill process %d: %w", n.PID, err)
	}
	gone, err := ends(handle, timeout)
	if err == nil && !gone {
		err = fmt.Errorf("the node of cluster %q, process %d, did not end within %s; the kernel is blocking it: see `dmesg`", n.Name, n.PID, timeout)
	}
	return err
}
