package store

import "golang.org/x/sys/windows"

// FreeDisk returns the bytes this user can still write on the volume that holds dir.
func FreeDisk(dir string) (uint64, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	return free, windows.GetDiskFreeSpaceEx(path, &free, nil, nil)
}
