package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// A registry is the locked folder of all clusters: one command at a time creates or
// removes clusters. The folder itself is the lock, so no lock file remains.
type registry struct {
	folder string
	lock   *os.File
}

// openRegistry waits for the lock.
func openRegistry(folder string) (*registry, error) {
	for {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, err
		}
		lock, err := os.Open(folder)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
			lock.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", folder, err)
		}
		// The previous owner of the lock may have removed the folder with the last cluster.
		held, errHeld := lock.Stat()
		now, errNow := os.Stat(folder)
		if errHeld == nil && errNow == nil && os.SameFile(held, now) {
			return &registry{folder: folder, lock: lock}, nil
		}
		lock.Close()
		if errNow != nil && !errors.Is(errNow, os.ErrNotExist) {
			return nil, errNow
		}
	}
}

// close removes the folder and its parent if no cluster remains in it.
func (r *registry) close() {
	if os.Remove(r.folder) == nil {
		_ = os.Remove(filepath.Dir(r.folder))
	}
	r.lock.Close()
}

// freeIndex returns an unused index. It reads the links, so it also finds clusters of
// other folders.
func freeIndex(owner func(index int) string, nodeName string) (int, error) {
	for index := range maxClusters {
		if has := owner(index); has == "" || has == nodeName {
			return index, nil
		}
	}
	return 0, fmt.Errorf("%d clusters already run on this machine; stop one first", maxClusters)
}
