//go:build !windows

package store

import "golang.org/x/sys/unix"

// FreeDisk returns the bytes this user can still write in the file system that holds dir.
func FreeDisk(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}
