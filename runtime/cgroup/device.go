package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Device is a block device by its numbers.
type Device struct{ Major, Minor uint32 }

// String is the device as the kernel's files have it: "8:0".
func (d Device) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// DeviceOf finds the whole block device on which the files of a directory are:
// of a partition the disk, for there limits hold; a device that is made of others
// (device mapper, RAID, loop) is one by itself. [ErrUnavailable]: they are on
// none, but in memory (tmpfs), on the network, on another file system (overlay),
// or on several devices at once (btrfs, zfs).
func DeviceOf(path string) (Device, error) { return deviceOf("/sys", path) }

func deviceOf(sys, path string) (Device, error) {
	var st unix.Stat_t
	if err := restart(func() error { return unix.Stat(path, &st) }); err != nil {
		return Device{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	d, err := wholeDevice(sys, Device{unix.Major(st.Dev), unix.Minor(st.Dev)})
	if err != nil {
		return Device{}, fmt.Errorf("find the block device of %s: %w", path, err)
	}
	return d, nil
}

func wholeDevice(sys string, d Device) (Device, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(sys, "dev/block", d.String()))
	if errors.Is(err, fs.ErrNotExist) {
		return Device{}, fmt.Errorf("its file system is on no single block device: %w", ErrUnavailable)
	}
	if err != nil {
		return Device{}, err
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	data, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "dev"))
	if err != nil {
		return Device{}, err
	}
	var whole Device
	if _, err := fmt.Fscanf(bytes.NewReader(data), "%d:%d", &whole.Major, &whole.Minor); err != nil {
		return Device{}, fmt.Errorf("%s holds %q", filepath.Dir(dir)+"/dev", data)
	}
	return whole, nil
}
