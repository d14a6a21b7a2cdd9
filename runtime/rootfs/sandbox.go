package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/disk"
	"cove/runtime/mount"
)

// Paths in a sandbox's directory. Both uppers and both work directories lie
// below one directory because overlayfs wants them on one mount.
const (
	upperRoot = UpperRoot
	upperUsr  = UpperUsr
	workRoot  = "work/root"
	workUsr   = "work/usr"
)

// Upper is the directory that holds all that a sandbox has changed: what is kept
// of it in an archive.
const Upper = "upper"

// UpperRoot is what a sandbox has changed in its root, but for /usr where that is the
// host's: UpperUsr.
const (
	UpperRoot = Upper + "/root"
	UpperUsr  = Upper + "/usr"
)

// Dirs are the directories that [Create] makes, without those below them.
func Dirs() []string { return []string{Upper, "work"} }

// Fresh is what the root of a new sandbox begins with, over what it is made of.
type Fresh struct {
	// Hostname is written to /etc/hostname and /etc/hosts; "" leaves those below.
	Hostname string
	// GitConfig is /etc/gitconfig; "" writes none.
	GitConfig string
	// Resolver writes the /etc/resolv.conf that the host image has.
	Resolver bool
	// Dirs are directories at / that are not there below, and that others mount
	// on or programs count on: see [Layers.Lacks].
	Dirs []string
}

// Create makes the directories that hold a sandbox's changes in top, its
// directory or the root of its disk, and in them what it begins with. What exists is kept, so it may be
// called again after a crash, but never while the sandbox is mounted. Owners
// on disk are those inside: root is 0, whatever range the sandbox runs in.
func Create(top *os.File, f Fresh) error {
	if f.Hostname != "" && !config.ValidHostname(f.Hostname) {
		return fmt.Errorf("host name %q: must be letters, digits, dashes and dots, at most 64", f.Hostname)
	}
	dirs := []string{"upper", upperRoot, upperUsr, "work", workRoot, workUsr}
	for _, d := range f.Dirs {
		dirs = append(dirs, upperRoot+"/"+d)
	}
	for _, d := range dirs {
		if err := makeDir(top, d); err != nil {
			return fmt.Errorf("create root: %w", err)
		}
	}
	if slices.Contains(f.Dirs, tmpDir) {
		if err := chmodWithin(top, upperRoot+"/"+tmpDir, 0o777|unix.S_ISVTX); err != nil {
			return fmt.Errorf("create root: %w", err)
		}
	}
	return furnish(top, upperRoot, f)
}

// Furnish puts what f says into root, which is / of a layer.
func Furnish(root *os.File, f Fresh) error {
	for _, d := range f.Dirs {
		if err := makeDir(root, d); err != nil {
			return fmt.Errorf("create root: %w", err)
		}
	}
	if slices.Contains(f.Dirs, tmpDir) {
		if err := chmodWithin(root, tmpDir, 0o777|unix.S_ISVTX); err != nil {
			return fmt.Errorf("create root: %w", err)
		}
	}
	return furnish(root, ".", f)
}

// furnish writes the files of f below the directory root of top.
func furnish(top *os.File, root string, f Fresh) error {
	files := map[string]string{}
	if f.Hostname != "" {
		files["hostname"], files["hosts"] = f.Hostname+"\n", hostsFile(f.Hostname)
	}
	if f.GitConfig != "" {
		files["gitconfig"] = f.GitConfig
	}
	if f.Resolver {
		files["resolv.conf"] = resolvConf
	}
	if len(files) == 0 {
		return nil
	}
	if err := makeDir(top, root+"/etc"); err != nil {
		return fmt.Errorf("create root: %w", err)
	}
	for name, content := range files {
		err := writeNew(top, genFile{root + "/etc/" + name, 0o644, content}, 0)
		if err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("create root: %w", err)
		}
	}
	return nil
}

func chmodWithin(top *os.File, rel string, mode uint32) error {
	d, err := mount.OpenWithin(top, rel, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fchmod(int(d.Fd()), mode), d.Close())
}

// makeDir makes a directory below top, 0755 and root's, or keeps the one there.
func makeDir(top *os.File, rel string) error {
	parent, err := mount.OpenWithin(top, filepath.Dir(rel), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	name := filepath.Base(rel)
	err = unix.Mkdirat(int(parent.Fd()), name, 0o755)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "mkdirat", Path: rel, Err: err}
	}
	// The umask had a say, and a parent's setgid bit.
	d, err := mount.OpenWithin(parent, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(d.Chown(0, 0), d.Chmod(0o755), d.Close())
}

// Mount mounts the sandbox's root, its changes on b, at target, a directory below the run
// directory, which is made with all directories on the way enterable for the
// ids from base on, as whom the sandbox runs. A disk that it has is open. It takes 1 to 2 ms once the host
// image is prepared and base's id map is made; before that it prepares.
// Errors: [ErrDamaged], [ErrNoLayer], [ErrMounted], mount.ErrNoIDMap, mount.ErrReadOnly,
// ctx's. After an error nothing stays mounted.
func (h *Host) Mount(ctx context.Context, sandboxDir, target string, base uint32, b Base) (err error) {
	if err := b.Validate(); err != nil {
		return fmt.Errorf("mount root: %w", err)
	}
	if !within(h.opts.RunDir, target) || filepath.Clean(target) == filepath.Clean(h.opts.RunDir) {
		return fmt.Errorf("mount root: target %q is not below %s", target, h.opts.RunDir)
	}
	id, err := h.opts.IDMaps.Get(ctx, base)
	if err != nil {
		return fmt.Errorf("mount root: %w", err)
	}
	defer func() { _ = id.Close() }()
	return h.mountAs(ctx, sandboxDir, target, id, b)
}

// View mounts a root as Mount does, with the owners that files have on disk, for
// the daemon to read it while the sandbox does not run. It ends as that does.
func (h *Host) View(ctx context.Context, sandboxDir, target string, b Base) error {
	if err := b.Validate(); err != nil {
		return fmt.Errorf("mount root: %w", err)
	}
	return h.mountAs(ctx, sandboxDir, target, nil, b)
}

// mountAs is Mount with owners shifted by id, or not where that is nil.
func (h *Host) mountAs(ctx context.Context, sandboxDir, target string, id *mount.IDMap, b Base) (err error) {
	if err := h.awaitGone(ctx, target); err != nil {
		return err
	}
	dir, err := h.makeTarget(target)
	if err != nil {
		return fmt.Errorf("mount root: %w", err)
	}
	defer func() { _ = dir.Close() }()

	var use lowers
	names := b.Layers
	if b.Host {
		if use, err = h.acquire(ctx); err != nil {
			return fmt.Errorf("mount root: %w", err)
		}
		defer h.layers.RUnlock()
		names = append(names[:len(names):len(names)], use.skeleton, use.mask)
	}
	if len(b.Layers) > 0 {
		release, err := h.take(b.Layers)
		if err != nil {
			return fmt.Errorf("mount root: %w", err)
		}
		defer release()
	}
	if err := h.refer(target, names...); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, mount.Unmount(target), h.unrefer(target))
		}
	}()
	mounter, err := h.overlays(ctx)
	if err != nil {
		return fmt.Errorf("mount root: %w", err)
	}
	if err := h.mountLayers(ctx, mounter, sandboxDir, dir, b, use, id); err != nil {
		return fmt.Errorf("mount root: %w", err)
	}
	return nil
}

// parts are the directories of a layer that count on b.
func parts(b Base) []string {
	if b.Host {
		return []string{layerRoot, layerUsr}
	}
	return []string{layerRoot}
}

// take pins layers for a mount, until it has noted that it uses them.
func (h *Host) take(layers []string) (release func(), err error) {
	if h.opts.Layers == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoLayer, layers[0])
	}
	return h.opts.Layers.Pin(layers...)
}

// mountLayers makes the overlay of / and, on the host image, the one of /usr, and
// puts them in place.
func (h *Host) mountLayers(ctx context.Context, mounter *mount.Mounter, sandboxDir string, target *os.File, b Base, use lowers, id *mount.IDMap) (err error) {
	var trees []*mount.Tree
	defer func() {
		for _, t := range trees {
			err = errors.Join(err, t.Close())
		}
	}()
	clone := func(dir string, readOnly bool) *mount.Tree {
		if err != nil {
			return nil
		}
		var t *mount.Tree
		if t, err = mount.Clone(dir, id, readOnly); err == nil {
			trees = append(trees, t)
		}
		return t
	}
	var changes *mount.Tree
	if h.opts.Disks == nil {
		changes = clone(sandboxDir, false)
	} else if changes, err = h.opts.Disks.Tree(sandboxDir, id); err == nil {
		trees = append(trees, changes)
	}
	var roots, usrs []*mount.Tree // the topmost first
	for _, name := range slices.Backward(b.Layers) {
		layer := filepath.Join(h.layerDir, name)
		if _, e := os.Lstat(filepath.Join(layer, disk.ImageFile)); e == nil {
			for _, part := range parts(b) {
				if err != nil || h.opts.Disks == nil {
					break
				}
				var t *mount.Tree
				if t, err = h.opts.Disks.Layer(ctx, layer, id); err != nil {
					break
				}
				trees = append(trees, t)
				if err = t.Narrow(Upper + "/" + part); part == layerRoot {
					roots = append(roots, t)
				} else {
					usrs = append(usrs, t)
				}
			}
			continue
		}
		roots = append(roots, clone(filepath.Join(layer, layerRoot), true))
		if !b.Host {
			continue
		}
		if _, err := os.Lstat(filepath.Join(layer, layerUsr)); err == nil {
			usrs = append(usrs, clone(filepath.Join(layer, layerUsr), true))
		}
	}
	if b.Host {
		roots = append(roots, clone(filepath.Join(h.layerDir, use.skeleton), true))
		usrs = append(usrs, clone(filepath.Join(h.layerDir, use.mask), true), clone(filepath.Join(h.opts.HostRoot, "usr"), true))
	}
	if err != nil {
		return err
	}
	uppers := []string{upperRoot}
	if b.Host {
		uppers = append(uppers, upperUsr)
	}
	for _, d := range uppers {
		f, err := mount.OpenWithin(changes.Dir(), d, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, d, err)
		}
		_ = f.Close()
	}
	own, err := hasDisk(sandboxDir, changes.Dir())
	if err != nil {
		return err
	}
	overlay := func(o mount.Overlay) (*mount.Merged, error) {
		merged, err := mounter.Overlay(o)
		if !own || !errors.Is(err, unix.ENOSPC) {
			return merged, err
		}
		if e := spend(changes.Dir()); e != nil {
			return nil, errors.Join(err, e)
		}
		if merged, err = mounter.Overlay(o); errors.Is(err, unix.ENOSPC) {
			// Not the host's, which whoever sees ENOSPC would think.
			return nil, fmt.Errorf("%w: %v", ErrFull, err) //nolint:errorlint // see above
		}
		return merged, err
	}
	root, err := overlay(mount.Overlay{Lower: roots, Upper: changes, UpperDir: upperRoot, WorkDir: workRoot})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := checkRoot(root.Dir(), b.Host); err != nil {
		return err
	}
	if !b.Host {
		if own {
			if err := save(changes.Dir()); err != nil {
				return fmt.Errorf("make spare files: %w", err)
			}
		}
		return root.Attach(target)
	}
	usrRoot, err := overlay(mount.Overlay{Lower: usrs, Upper: changes, UpperDir: upperUsr, WorkDir: workUsr})
	if err != nil {
		return fmt.Errorf("/usr: %w", err)
	}
	defer func() { err = errors.Join(err, usrRoot.Close()) }()
	if own {
		if err := save(changes.Dir()); err != nil {
			return fmt.Errorf("make spare files: %w", err)
		}
	}
	if err := root.Attach(target); err != nil {
		return err
	}
	at, err := mount.OpenWithin(root.Dir(), "usr", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("%w: /usr: %w", ErrDamaged, err)
	}
	defer func() { _ = at.Close() }()
	return usrRoot.Attach(at)
}

// checkRoot refuses a root in which the places where others will mount are not
// plain directories: a link there could lead a mount elsewhere
// (CVE-2026-41579).
func checkRoot(root *os.File, host bool) error {
	places := []string{"dev", "proc", "sys", "run"}
	if host {
		places = append(places, "usr")
	}
	for _, d := range places {
		f, err := mount.OpenWithin(root, d, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return fmt.Errorf("%w: /%s is not a directory: %w", ErrDamaged, d, err)
		}
		_ = f.Close()
	}
	return nil
}

// makeTarget makes and opens the directory at target. What is above the run
// directory is not ours to change; what is below is made enterable for all.
func (h *Host) makeTarget(target string) (*os.File, error) {
	rel, err := filepath.Rel(h.opts.RunDir, target)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	cur, err := os.OpenFile(h.opts.RunDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	for part := range strings.SplitSeq(rel, "/") {
		next, err := enterable(cur, part)
		_ = cur.Close()
		if err != nil {
			return nil, fmt.Errorf("target: %w", err)
		}
		cur = next
	}
	return cur, nil
}

func enterable(parent *os.File, name string) (*os.File, error) {
	err := unix.Mkdirat(int(parent.Fd()), name, 0o711)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mkdirat", Path: name, Err: err}
	}
	d, err := mount.OpenWithin(parent, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		if errors.Is(err, unix.EXDEV) {
			return nil, fmt.Errorf("%w: %s", ErrMounted, name)
		}
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("stat %s: %w", name, err)
	}
	if st.Mode&0o011 != 0o011 {
		if err := unix.Fchmod(int(d.Fd()), st.Mode&0o7777|0o011); err != nil {
			_ = d.Close()
			return nil, fmt.Errorf("open %s for sandboxes: %w", name, err)
		}
	}
	return d, nil
}

// Unmount takes the root at target away, with everything mounted below it,
// removes the directory, and closes the disk of the sandbox in sandboxDir. It returns as soon as the root is no longer in the
// tree; what remains, writing the upper's file system to disk (overlayfs does
// that with its last user, and it may take long), goes on in the background,
// and a Mount at the same target, Drain and Close wait for it. Call it after the
// sandbox's last process is gone: else that process does the writing before it
// dies. A target that is not mounted or does not exist is no error.
func (h *Host) Unmount(sandboxDir, target string) error {
	held := h.reclaim(target)
	if held == nil {
		held = h.holdAll(target)
	}
	err := mount.Unmount(target)
	var own io.Closer
	if h.opts.Disks != nil {
		own = h.opts.Disks.Leave(filepath.Base(sandboxDir))
	}
	h.letGo(target, held, own)
	if err != nil {
		return err
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove mount point: %w", err)
	}
	return h.unrefer(target)
}

// Detach takes the root at target out of the daemon's tree of mounts, once the
// sandbox has its own: every mount there is copied into each sandbox that is
// made, so a thousand of them would make the next one slow. The root itself is
// held, so that it is the daemon who pays for its end (see [Host.Unmount], which
// is still to be called).
func (h *Host) Detach(target string) error {
	held := h.holdAll(target)
	if err := mount.Unmount(target); err != nil {
		closeAll(held)
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		closeAll(held)
		return nil
	}
	h.detached[filepath.Clean(target)] = held
	return nil
}

// reclaim gives back what Detach held.
func (h *Host) reclaim(target string) []*os.File {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := filepath.Clean(target)
	held := h.detached[key]
	delete(h.detached, key)
	return held
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// hold opens what is mounted at target, so that unmounting does not end it.
func hold(target string) []*os.File {
	var held []*os.File
	for _, p := range []string{filepath.Join(target, "usr"), target} {
		if f, err := os.OpenFile(p, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
			held = append(held, f)
		}
	}
	return held
}

// letGo closes what was held and then the disk that it lies on, in the background
// while the Host is open.
func (h *Host) letGo(target string, held []*os.File, own io.Closer) {
	end := func() {
		closeAll(held)
		if own == nil {
			return
		}
		if err := own.Close(); err != nil {
			h.log.Warn("closing a sandbox's disk", "target", target, "err", err)
		}
	}
	key := filepath.Clean(target)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		end()
		return
	}
	before := h.leaving[key]
	gone := make(chan struct{})
	h.leaving[key] = gone
	h.wg.Go(func() {
		end()
		if before != nil {
			<-before
		}
		h.mu.Lock()
		if h.leaving[key] == gone {
			delete(h.leaving, key)
		}
		h.mu.Unlock()
		close(gone)
	})
}

// Drain waits until all that was unmounted has ended, or ctx has.
func (h *Host) Drain(ctx context.Context) error {
	h.mu.Lock()
	targets := slices.Collect(maps.Keys(h.leaving))
	h.mu.Unlock()
	for _, t := range targets {
		if err := h.awaitGone(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// Settle waits until what was unmounted from target has ended, its disk closed too.
func (h *Host) Settle(ctx context.Context, target string) error { return h.awaitGone(ctx, target) }

// awaitGone waits until what was unmounted from target has ended: two overlays
// must not write to one upper.
func (h *Host) awaitGone(ctx context.Context, target string) error {
	h.mu.Lock()
	gone := h.leaving[filepath.Clean(target)]
	h.mu.Unlock()
	if gone == nil {
		return nil
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
