package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Grow makes the sandbox's disk as large as s says. One that is open grows at once, if
// the kernel lets this process (CAP_SYS_RESOURCE in the machine's first user
// namespace), else [ErrOffline]; one that is not grows in the same way, or by
// resize2fs, which takes seconds. What was left half done the same call does to the
// end; after any other error the disk is as it was. Errors: [ErrShrink],
// [ErrNoSpace], [ErrDamaged], [ErrTools].
func (d *Driver) Grow(ctx context.Context, id string, s Spec) error {
	s.Size = whole(s.Size)
	if h := d.handle(id); h != nil {
		return d.grow(h, s)
	}
	if err := d.Open(ctx, id, s); err != nil {
		return err
	}
	err := d.grow(d.handle(id), s)
	if c := d.Leave(id); c != nil {
		err = errors.Join(err, c.Close())
	}
	if !errors.Is(err, ErrOffline) {
		return err
	}
	return d.growOffline(ctx, id, s)
}

// grow grows a mounted file system.
func (d *Driver) grow(h *handle, s Spec) (err error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	now, err := h.read()
	if err != nil {
		return err
	}
	switch {
	case s.Size < now.Quota:
		return fmt.Errorf("%w: it has %s, and %s were asked for", ErrShrink, human(now.Quota), human(s.Size))
	case s.Size == now.Quota && !now.Growing:
		return nil
	}
	dev, err := os.OpenFile("/dev/"+h.loop, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("grow the disk: %w", err)
	}
	defer func() { _ = dev.Close() }()
	resize := func(to Spec) error {
		if err := d.resizeImage(h.image, to); err != nil {
			return err
		}
		if err := unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
			return fmt.Errorf("grow %s: %w", h.loop, err)
		}
		return nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, resize(Spec{Size: now.Quota}))
		}
	}()
	if s.Size == now.Quota {
		return resize(Spec{Size: s.Size})
	}
	if err := resize(s); err != nil {
		return err
	}
	blocks := uint64(s.Size / blockSize)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, h.root.Fd(), resizeFS, uintptr(unsafe.Pointer(&blocks)))
	switch {
	case errno == unix.EPERM:
		return ErrOffline
	case errno != 0:
		return fmt.Errorf("grow the file system: %w", errno)
	}
	return nil
}

// resizeFS is EXT4_IOC_RESIZE_FS of linux/ext4.h.
const resizeFS = 0x40086610

func (d *Driver) resizeImage(image *os.File, s Spec) error {
	if s.Reserve {
		return d.setAside(image, s)
	}
	if err := image.Truncate(s.Size); err != nil {
		return fmt.Errorf("grow the disk: %w", err)
	}
	return nil
}

// growOffline grows what is not mounted, where the kernel does not let this process.
func (d *Driver) growOffline(ctx context.Context, id string, s Spec) error {
	var image *os.File
	var locked bool
	var err error
	poll(ctx, openWait, func() bool {
		if image, locked, err = d.lockImage(id); err == nil && !locked {
			err = errors.Join(errBusy, image.Close())
		}
		return !errors.Is(err, errBusy)
	})
	if err != nil {
		return fmt.Errorf("grow the disk: %w", err)
	}
	defer func() { _ = image.Close() }()
	if err := d.resizeImage(image, s); err != nil {
		return err
	}
	if err := check(ctx, image, "-f", "-p"); err != nil {
		return fmt.Errorf("grow the disk: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("not done after %v", checkTimeout))
	defer cancel()
	if err := runTool(ctx, image, resize2fs, imageArg); err != nil {
		return fmt.Errorf("grow the disk: %w", err)
	}
	return nil
}
