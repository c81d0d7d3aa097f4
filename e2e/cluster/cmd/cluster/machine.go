package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// checkMachine returns an error, with a remedy, if this machine cannot run a cluster.
func checkMachine() error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster needs root for namespaces, mounts and routes; run it with sudo")
	}
	for program, pack := range map[string]string{
		"etcd": "etcd-server", "containerd": "containerd", "ctr": "containerd", "containerd-shim-runc-v2": "containerd",
		"runc": "runc", "ip": "iproute2", "iptables": "iptables", "conntrack": "conntrack",
	} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("the program %s is missing: apt-get install %s", program, pack)
		}
	}
	if _, err := os.Stat("/usr/lib/cni/ptp"); err != nil {
		return errors.New("the network plugins are missing from /usr/lib/cni: apt-get install containernetworking-plugins")
	}
	filesystems, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	if !strings.Contains(string(filesystems), "\toverlay\n") {
		if exec.Command("modprobe", "overlay").Run() != nil {
			return errors.New("the kernel has no overlay file system: modprobe overlay, or use a kernel that has it")
		}
	}
	all, err := hierarchies()
	if err != nil {
		return err
	}
	if missing := missingControllers(all); len(missing) > 0 {
		return fmt.Errorf("the control group controllers %s are not available: mount them below /sys/fs/cgroup (in a container, run it privileged with the machine's cgroups)", strings.Join(missing, ", "))
	}
	return nil
}

// explainFork explains an error of creating namespaces.
func explainFork(err error) error {
	if errors.Is(err, unix.EPERM) {
		return errors.New("the kernel does not allow new namespaces: run this on a machine or virtual machine, or in a privileged container")
	}
	if errors.Is(err, unix.EINVAL) {
		return errors.New("the kernel lacks a kind of namespace (mount, PID, network, UTS or IPC): use a kernel that has them")
	}
	return fmt.Errorf("cannot start the node: %w", err)
}

// overlayMagic is the type of an overlay file system in statfs.
const overlayMagic = 0x794c7630

// snapshotterFor selects containerd's snapshotter, because overlayfs does not work on
// another overlay.
func snapshotterFor(folder string) (string, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(folder, &stat); err != nil {
		return "", fmt.Errorf("cannot read the file system type of %s: %w", folder, err)
	}
	if stat.Type == overlayMagic {
		return "native", nil
	}
	return "overlayfs", nil
}
