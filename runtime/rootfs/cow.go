package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cove/runtime/disk"
	"cove/runtime/mount"
)

// Cow is the directory, among a sandbox's own files, that holds what it has changed
// in the copy-on-write mount of that key. It lies in [Upper], and so goes into
// archives and counts against the disk; snapshots and forks do not take it.
func Cow(key string) string { return Upper + "/" + cowDir + "/" + key }

// cowDir is the directory of Upper that holds what was changed in directories of the
// host's: no layer has any of it.
const cowDir = "cow"

// nobody is who the files of ids that the sandbox does not have belong to.
const nobody = 65534

// MountCow makes an overlay on lower, a directory of the host's as it is to be seen
// by the sandbox whose ids begin at base, whose changes lie in [Cow] of key, in
// sandboxDir or on its disk, which is open. target is where its root is: the
// overlay's end is waited for as the root's is. The caller attaches and closes it.
func (h *Host) MountCow(ctx context.Context, sandboxDir, target string, base uint32, lower *mount.Tree, key string) (_ *mount.Merged, err error) {
	mounter, err := h.overlays(ctx)
	if err != nil {
		return nil, err
	}
	id, err := h.opts.IDMaps.Get(ctx, base)
	if err != nil {
		return nil, err
	}
	defer func() { _ = id.Close() }()
	work := "work/cow/" + key
	if err := h.makeCow(sandboxDir, lower, base, key, work); err != nil {
		return nil, fmt.Errorf("make the place of its changes: %w", err)
	}
	var changes *mount.Tree
	if h.opts.Disks != nil {
		changes, err = h.opts.Disks.Tree(sandboxDir, id)
	} else {
		changes, err = mount.Clone(sandboxDir, id, false)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, changes.Close()) }()
	merged, err := h.overlayCow(mounter, sandboxDir, mount.Overlay{Lower: []*mount.Tree{lower}, Upper: changes, UpperDir: Cow(key), WorkDir: work})
	if err != nil {
		return nil, err
	}
	if err := h.holdCow(target, merged); err != nil {
		return nil, errors.Join(err, merged.Close())
	}
	return merged, nil
}

// overlayCow makes the overlay also where the sandbox's disk is full, as the root's.
func (h *Host) overlayCow(mounter *mount.Mounter, sandboxDir string, o mount.Overlay) (*mount.Merged, error) {
	merged, err := mounter.Overlay(o)
	if !errors.Is(err, unix.ENOSPC) {
		return merged, err
	}
	own, e := hasDisk(sandboxDir, o.Upper.Dir())
	if e != nil || !own {
		return nil, errors.Join(err, e)
	}
	if e := spend(o.Upper.Dir()); e != nil {
		return nil, errors.Join(err, e)
	}
	merged, err = mounter.Overlay(o)
	if errors.Is(err, unix.ENOSPC) {
		return nil, fmt.Errorf("%w: %v", ErrFull, err) //nolint:errorlint // not the host's, see mountLayers
	}
	if err != nil {
		return nil, err
	}
	if err := save(o.Upper.Dir()); err != nil {
		return nil, errors.Join(fmt.Errorf("make spare files: %w", err), merged.Close())
	}
	return merged, nil
}

// makeCow makes the directories of one mount. The upper one, which is the top of
// the overlay, is made as the host's directory is; one that is there stays as the
// sandbox left it.
func (h *Host) makeCow(sandboxDir string, lower *mount.Tree, base uint32, key, work string) (err error) {
	top, err := h.ownFiles(sandboxDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, top.Close()) }()
	for _, d := range []string{"work", "work/cow", work, Upper, Upper + "/cow"} {
		if err := makeDir(top, d); err != nil {
			return err
		}
	}
	old, err := mount.OpenWithin(top, Cow(key), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == nil {
		return old.Close()
	}
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(lower.Dir().Fd()), &st); err != nil {
		return err
	}
	inside := func(host uint32) int {
		if host < base || host-base >= mount.IDs {
			return nobody
		}
		return int(host - base)
	}
	// Under another name until it is whole: after a crash it would be kept.
	fresh := Cow(".new-" + key)
	if err := makeDir(top, fresh); err != nil {
		return err
	}
	dir, err := mount.OpenWithin(top, fresh, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	err = errors.Join(dir.Chown(inside(st.Uid), inside(st.Gid)), unix.Fchmod(int(dir.Fd()), st.Mode&0o7777), dir.Close())
	if err != nil {
		return err
	}
	return unix.Renameat(int(top.Fd()), fresh, int(top.Fd()), Cow(key))
}

// ownFiles opens what the sandbox's own files lie in.
func (h *Host) ownFiles(sandboxDir string) (*os.File, error) {
	if h.opts.Disks != nil {
		top, err := h.opts.Disks.Root(filepath.Base(sandboxDir))
		if !errors.Is(err, disk.ErrNotOpen) {
			return top, err
		}
	}
	return os.OpenFile(sandboxDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// holdCow keeps the overlay until the root at target is unmounted.
func (h *Host) holdCow(target string, m *mount.Merged) error {
	fd, err := unix.FcntlInt(m.Dir().Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("hold the overlay: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	key := filepath.Clean(target)
	h.cows[key] = append(h.cows[key], os.NewFile(uintptr(fd), "overlay"))
	return nil
}

// holdAll opens what is mounted at target, so that unmounting does not end it, and
// takes over what [Host.MountCow] held.
func (h *Host) holdAll(target string) []*os.File {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := filepath.Clean(target)
	held := append(hold(target), h.cows[key]...)
	delete(h.cows, key)
	return held
}
