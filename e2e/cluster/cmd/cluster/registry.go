package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// A registry is the folder of all clusters, locked: one command at a time makes
// or removes clusters. The folder itself is the lock, so that no lock file is left.
type registry struct {
	folder string
	lock   *os.File
}

// openRegistry waits for its turn.
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
		// Whoever had the lock before may have removed the folder with its last cluster.
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

// close removes the folder, and the one above it, when no cluster is left in it.
func (r *registry) close() {
	if os.Remove(r.folder) == nil {
		_ = os.Remove(filepath.Dir(r.folder))
	}
	r.lock.Close()
}

// freeIndex picks a share of the addresses that no other cluster of the machine
// has, whichever folder that one lives in: the links tell.
func freeIndex(owner func(index int) string, nodeName string) (int, error) {
	for index := range maxClusters {
		if has := owner(index); has == "" || has == nodeName {
			return index, nil
		}
	}
	return 0, fmt.Errorf("%d clusters are running on this machine already; stop one first", maxClusters)
}
