package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// parseMountPoints reads the mount points of /proc/self/mountinfo, the latest first,
// which is the order for unmounting.
func parseMountPoints(mountinfo io.Reader) ([]string, error) {
	var found []string
	lines := bufio.NewScanner(mountinfo)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		// The kernel escapes spaces and backslashes in octal.
		point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
		found = append([]string{point}, found...)
	}
	return found, lines.Err()
}

func mountPoints() ([]string, error) {
	mountinfo, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer mountinfo.Close()
	return parseMountPoints(mountinfo)
}

// within reports whether a path is equal to or below a folder.
func within(path, folder string) bool {
	return path == folder || folder == "/" || strings.HasPrefix(path, folder+"/")
}

// foreign reports whether a node that needs these folders does not need a mount. If
// the node kept the mount, it would stay busy after the machine unmounts it.
func foreign(mount string, needed []string) bool {
	for _, folder := range needed {
		if within(folder, mount) || within(mount, folder) {
			return false
		}
	}
	return true
}

// mountNode mounts the node's own /proc, /run, /tmp and /var from its state folder.
// The node shares the system files of the machine.
func mountNode(p Plan) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make the node's mounts private: %w", err)
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	needed := []string{p.State, filepath.Dir(executable), "/proc", "/sys", "/dev", "/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64"}
	mounts, err := mountPoints()
	if err != nil {
		return err
	}
	for _, mount := range mounts {
		if !foreign(mount, needed) {
			continue
		}
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cannot detach the mount %s: %w", mount, err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("cannot mount the node's /proc: %w", err)
	}
	binds := [][2]string{
		{filepath.Dir(executable), p.Outside(nodePrograms)},
		{p.Logs(), p.Outside(nodeLogs)},
	}
	for name := range sysctls {
		binds = append(binds, [2]string{filepath.Join(p.Outside(nodeSysctls), name), "/proc/sys/" + name})
	}
	for _, pair := range binds {
		if err := bind(pair[0], pair[1]); err != nil {
			return err
		}
	}
	// The state folder may be below any of the three, so keep it open while they change.
	ownVar, err := openPath(p.Var())
	if err != nil {
		return err
	}
	defer unix.Close(ownVar)
	ownTmp, err := openPath(p.Tmp())
	if err != nil {
		return err
	}
	defer unix.Close(ownTmp)
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("cannot mount the node's /run: %w", err)
	}
	if err := bind(handlePath(ownTmp), "/tmp"); err != nil {
		return err
	}
	if err := bind(handlePath(ownVar), "/var"); err != nil {
		return err
	}
	// The kubelet and the runtime propagate mounts to pods from here.
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

func bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("cannot mount %s on %s: %w", from, to, err)
	}
	return nil
}

// openPath opens a path for mounting it later, when its name refers to another folder.
func openPath(path string) (int, error) {
	handle, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open %s: %w", path, err)
	}
	return handle, nil
}

func handlePath(handle int) string { return fmt.Sprintf("/proc/self/fd/%d", handle) }
