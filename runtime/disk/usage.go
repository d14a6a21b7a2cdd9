package disk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// trimEvery is how often disks are looked at for what was deleted on them.
	trimEvery = 30 * time.Second
	// idleRunning and idleAtEnd are from how many bytes on it is worth giving
	// back what was deleted.
	idleRunning = 64 * mib
	idleAtEnd   = 4 * mib
)

// Usage tells how full a disk is, in a few system calls. Used is only known while it
// is open; a sandbox without a disk has Usage{}.
func (d *Driver) Usage(id string) (Usage, error) {
	if h := d.handle(id); h != nil {
		return h.usage()
	}
	image, err := os.OpenFile(filepath.Join(d.sandboxes, id, ImageFile), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return Usage{}, nil
	}
	if err != nil {
		return Usage{}, err
	}
	defer func() { _ = image.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(image.Fd()), &st); err != nil {
		return Usage{}, fmt.Errorf("usage of a disk: %w", err)
	}
	sb, err := readSuper(image)
	if err != nil {
		return Usage{Quota: st.Size, Host: st.Blocks * 512}, err
	}
	size := superSizeOf(sb)
	return Usage{Quota: size, Growing: st.Size > size, Host: st.Blocks * 512}, nil
}

func (h *handle) usage() (Usage, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.read()
}

// read is usage. The caller holds h.mu.
func (h *handle) read() (Usage, error) {
	if h.closed {
		return Usage{}, ErrNotOpen
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(h.root.Fd()), &fs); err != nil {
		return Usage{}, fmt.Errorf("usage of a disk: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(h.image.Fd()), &st); err != nil {
		return Usage{}, fmt.Errorf("usage of a disk: %w", err)
	}
	block := int64(fs.Bsize) //nolint:unconvert // 32 bits elsewhere
	size := int64(fs.Blocks) * block
	return Usage{
		Quota: size, Growing: st.Size > size, Used: int64(fs.Blocks-fs.Bfree) * block, Host: st.Blocks * 512,
	}, nil
}

// Sync writes what is on an open disk to the host's; of a sandbox without one it
// does nothing.
func (d *Driver) Sync(id string) error {
	h := d.handle(id)
	if h == nil {
		return nil
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return ErrNotOpen
	}
	if err := unix.Syncfs(int(h.root.Fd())); err != nil {
		return fmt.Errorf("write a disk: %w", err)
	}
	return nil
}

// Trim gives back to the host what was deleted on an open disk, unless its space is
// set aside. [ErrNotOpen].
func (d *Driver) Trim(_ context.Context, id string) error {
	h := d.handle(id)
	if h == nil {
		return ErrNotOpen
	}
	return h.giveBack(0, true)
}

// trimOn gives back, now and then, what was deleted, until Close. (The file system
// could do it at each commit instead, option discard: to delete 4000 files took ten
// times as long then.)
func (d *Driver) trimOn() {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-tick.C:
		}
		d.mu.Lock()
		open := maps.Clone(d.open)
		d.mu.Unlock()
		for id, h := range open {
			if d.ctx.Err() != nil {
				return
			}
			// One that is closed meanwhile gives it back itself.
			if err := h.giveBack(idleRunning, false); err != nil && !errors.Is(err, ErrNotOpen) {
				d.log.Warn("could not give back what was deleted on a disk", "sandbox", id, "error", err)
			}
		}
	}
}

// giveBack trims the disk when it occupies worth more bytes on the host, beyond what
// is used inside, than it did after the last time. settled writes everything first:
// what was deleted is free when the journal has it, at most five seconds later.
func (h *handle) giveBack(worth int64, settled bool) error {
	if h.spec.Reserve {
		return nil
	}
	h.trim.Lock()
	defer h.trim.Unlock()
	h.mu.RLock()
	defer h.mu.RUnlock()
	before, err := h.read()
	if err != nil {
		return err
	}
	if before.Host-before.Used < h.idle+worth {
		return nil
	}
	if settled {
		if err := unix.Syncfs(int(h.root.Fd())); err != nil {
			return fmt.Errorf("write a disk: %w", err)
		}
	}
	r := struct{ start, len, minlen uint64 }{len: 1<<64 - 1}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, h.root.Fd(), fitrim, uintptr(unsafe.Pointer(&r)))
	if errno == unix.EOPNOTSUPP { // the host's file system punches no holes
		return nil
	}
	if errno != 0 {
		return fmt.Errorf("fstrim: %w", errno)
	}
	after, err := h.read()
	if err != nil {
		return err
	}
	h.idle = max(after.Host-after.Used, 0)
	return nil
}

// fitrim is FITRIM of linux/fs.h.
const fitrim = 0xc0185879
