package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loopBlock is the block size of the devices: ext4's, and no smaller than any
// disk's, so that direct I/O is possible.
const loopBlock = 4096

// attach gives the image a loop device that goes away by itself with its last
// user, and bears name. The device is open: that is its first user. Direct I/O is
// tried, so that nothing is kept in memory twice.
func attach(ctx context.Context, image *os.File, name string, readOnly bool) (_ *os.File, direct bool, err error) {
	control, err := os.OpenFile("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false, fmt.Errorf("this machine has no loop devices (modprobe loop): %w", err)
	}
	defer func() { _ = control.Close() }()
	direct = true
	for {
		if err := ctx.Err(); err != nil {
			return nil, false, context.Cause(ctx)
		}
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, false, fmt.Errorf("get a loop device: %w", err)
		}
		flags := unix.O_RDWR
		if readOnly {
			flags = unix.O_RDONLY
		}
		dev, err := os.OpenFile("/dev/loop"+strconv.Itoa(n), flags|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, false, fmt.Errorf("get a loop device: %w", err)
		}
		c := unix.LoopConfig{Fd: uint32(image.Fd()), Size: loopBlock}
		c.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		if readOnly {
			c.Info.Flags |= unix.LO_FLAGS_READ_ONLY
		}
		if direct {
			c.Info.Flags |= unix.LO_FLAGS_DIRECT_IO
		}
		copy(c.Info.File_name[:len(c.Info.File_name)-1], name)
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &c)
		if err == nil {
			info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
			if err != nil {
				_ = dev.Close()
				return nil, false, fmt.Errorf("attach a loop device: %w", err)
			}
			return dev, info.Flags&unix.LO_FLAGS_DIRECT_IO != 0, nil
		}
		_ = dev.Close()
		switch {
		case errors.Is(err, unix.EBUSY): // somebody was faster
		case errors.Is(err, unix.EINVAL) && direct:
			direct = false
		default:
			return nil, false, fmt.Errorf("attach a loop device: %w", err)
		}
	}
}

// reopen opens the loop device dev, by its name in /dev, if it is still the
// image's; nil if not.
func reopen(dev string, image *os.File, readOnly bool) (*os.File, error) {
	flags := unix.O_RDWR
	if readOnly {
		flags = unix.O_RDONLY
	}
	f, err := os.OpenFile("/dev/"+dev, flags|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at a loop device: %w", err)
	}
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		_ = f.Close()
		if errors.Is(err, unix.ENXIO) { // it serves nothing any more
			return nil, nil
		}
		return nil, fmt.Errorf("look at %s: %w", dev, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(image.Fd()), &st); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("stat: %w", err)
	}
	if info.Device != st.Dev || info.Inode != st.Ino {
		_ = f.Close()
		return nil, nil
	}
	return f, nil
}

// attachedTo lists the loop devices that bear a name beginning with prefix: the rest
// of the name to the device, but for those of layers. (Not by the path of the file,
// which is another one seen from another mount namespace.)
func attachedTo(prefix string) (map[string]string, error) {
	all, err := namedDevices(prefix)
	for name := range all {
		if strings.HasPrefix(name, layerMark) {
			delete(all, name)
		}
	}
	return all, err
}

// namedDevices is attachedTo with layers: of several by one name it has one.
func namedDevices(prefix string) (map[string]string, error) {
	dirs, err := filepath.Glob("/sys/block/loop*/loop")
	if err != nil {
		return nil, fmt.Errorf("list the loop devices: %w", err)
	}
	found := map[string]string{}
	for _, d := range dirs {
		dev := filepath.Base(filepath.Dir(d))
		name, err := nameOf(dev)
		if err != nil {
			return nil, err
		}
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			found[rest] = dev
		}
	}
	return found, nil
}

// nameOf is the name that a loop device bears, "" for one that is not attached.
func nameOf(dev string) (string, error) {
	f, err := os.OpenFile("/dev/"+dev, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		// A container's /dev need not have all that the machine has: what was
		// attached here is there.
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENXIO) {
			return "", nil
		}
		return "", fmt.Errorf("look at a loop device: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if errors.Is(err, unix.ENXIO) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", dev, err)
	}
	return unix.ByteSliceToString(info.File_name[:]), nil
}

// poll waits until done, with growing pauses: of what it is for the kernel tells
// nobody. It is false when that took longer than within, or ctx ended.
func poll(ctx context.Context, within time.Duration, done func() bool) bool {
	end := time.Now().Add(within)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if done() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		}
	}
}
