package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// Options of a [Driver].
type Options struct {
	// StateDir is the daemon's state directory, which must exist.
	StateDir string
	// Dir is where the directories with the disks are, "sandboxes" in StateDir where it
	// is empty.
	Dir string
	// Inst is the instance's six hex digits: the names of its loop devices
	// begin with it.
	Inst string
	// Log gets what goes wrong in the background; nil discards it.
	Log *slog.Logger
}

// Driver makes, mounts and grows the disks of one instance's sandboxes. All methods
// may be called by any goroutine; of those that change one sandbox's disk, one at a
// time. The process must be root.
type Driver struct {
	log       *slog.Logger
	sandboxes string
	templates string
	prefix    string // of the names of loop devices
	making    sync.Mutex
	aside     sync.Mutex // held while space is set aside
	counter   *counter

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   map[string]*handle       // by sandbox
	leave  map[string]chan struct{} // by sandbox: closed when the handle that was taken out is closed
	last   map[string]string        // by sandbox: the loop device it had last

	layering sync.Mutex
	layers   map[string]string // by layer: the loop device it had last; guarded by layering
}

// handle is one open disk.
type handle struct {
	mu     sync.RWMutex // held for reading while the files are used, for writing to close them
	closed bool
	image  *os.File // the file that the loop device serves
	root   *os.File // root directory of the file system: its mount is the host's own
	loop   string   // the device's name in /dev
	dev    Device
	spec   Spec
	// idle is what the host had in use at the last trim beyond what is used
	// inside.
	idle int64
	trim sync.Mutex // guards idle
}

const (
	// openWait is how long a disk may take to be free again: its last user is
	// still writing, or a check that an earlier daemon began is at work.
	openWait = 30 * time.Second
	// goneWait is how long the kernel may take to detach a device of which
	// nobody is left.
	goneWait = 5 * time.Second
)

// errBusy: somebody else still has the image.
var errBusy = errors.New("it is still in use: a process of the sandbox has not ended, or a check of the disk is at work")

// New returns the driver of the disks below the state directory, and starts the
// goroutine that gives back to the host what was deleted; Close ends it. What an
// earlier daemon left attached it finds.
func New(o Options) (*Driver, error) {
	d := &Driver{
		log: o.Log, sandboxes: filepath.Join(o.StateDir, "sandboxes"), templates: filepath.Join(o.StateDir, templateDir),
		prefix: "cove-" + o.Inst + "/", open: map[string]*handle{}, leave: map[string]chan struct{}{},
		layers: map[string]string{},
	}
	if o.Dir != "" {
		d.sandboxes = o.Dir
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(d.templates, 0o700); err != nil {
		return nil, fmt.Errorf("disks: %w", err)
	}
	var err error
	if d.last, err = attachedTo(d.prefix); err != nil {
		return nil, err
	}
	if err := d.clearTemplates(); err != nil {
		return nil, err
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.counter = newCounter(d.sandboxes)
	d.wg.Go(func() { d.counter.run(d.ctx) })
	d.wg.Go(d.trimOn)
	return d, nil
}

// Close lets go of all disks; those of running sandboxes stay theirs.
func (d *Driver) Close() error {
	d.cancel()
	d.mu.Lock()
	d.closed = true
	left := d.open
	d.open = map[string]*handle{}
	d.mu.Unlock()
	d.wg.Wait()
	var errs []error
	for _, h := range left {
		errs = append(errs, h.close())
	}
	return errors.Join(errs...)
}

func (h *handle) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	return errors.Join(h.root.Close(), h.image.Close())
}

// Create makes the disk of a new sandbox in dir, opens it, and returns the root of
// the sandbox's own files: dir itself where s has no quota. The caller closes it, and
// may rename dir to what the Driver calls it. After an error nothing is left in dir.
// Errors: [ErrNoSpace], [ErrTools], ctx's and the kernel's.
func (d *Driver) Create(ctx context.Context, id, dir string, s Spec) (*os.File, error) {
	if s.Size == 0 {
		return os.OpenFile(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	s.Size = whole(s.Size)
	path := filepath.Join(dir, ImageFile)
	image, err := d.makeImage(ctx, path, s)
	if err != nil {
		return nil, err
	}
	h, err := d.attach(ctx, id, image, s)
	if err != nil {
		return nil, errors.Join(err, image.Close(), os.Remove(path))
	}
	root, err := mount.OpenWithin(h.root, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == nil {
		err = d.keep(id, h)
	}
	if err != nil {
		if root != nil {
			_ = root.Close()
		}
		return nil, errors.Join(err, h.close(), os.Remove(path))
	}
	return root, nil
}

// keep makes the handle the sandbox's.
func (d *Driver) keep(id string, h *handle) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fmt.Errorf("disks: %w", ErrClosed)
	}
	d.open[id], d.last[id] = h, h.loop
	return nil
}

// Open has the disk of the sandbox mounted; without a quota it does nothing. One that
// is being closed is waited for. A file system with errors is checked first, which
// may take minutes. Errors: [ErrDamaged], [ErrTools], ctx's and the kernel's.
func (d *Driver) Open(ctx context.Context, id string, s Spec) error {
	if s.Size == 0 {
		return nil
	}
	d.mu.Lock()
	leaving, open := d.leave[id], d.open[id]
	d.mu.Unlock()
	if open != nil {
		return nil
	}
	if leaving != nil {
		select {
		case <-leaving:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	var h *handle
	var err error
	in := poll(ctx, openWait, func() bool {
		h, err = d.tryOpen(ctx, id, s)
		return !errors.Is(err, errBusy)
	})
	if !in && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("open the disk: %w", err)
	}
	if err := d.keep(id, h); err != nil {
		return errors.Join(err, h.close())
	}
	return nil
}

// tryOpen opens an image that nobody else has, or the device that serves it. An image
// is locked for as long as it is attached, or a program is at work on it.
func (d *Driver) tryOpen(ctx context.Context, id string, s Spec) (_ *handle, err error) {
	image, locked, err := d.lockImage(id)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, image.Close())
		}
	}()
	if locked {
		return d.attachMended(ctx, id, image, s)
	}
	dev, err := d.find(id, image)
	if err != nil {
		return nil, err
	}
	if dev == nil {
		return nil, errBusy
	}
	h, err := mountLoop(dev, image, s)
	return h, errors.Join(err, dev.Close())
}

// attachMended attaches an image whose file system may not be in order: it may say so,
// or its journal, which only a mount reads, may, or the journal itself may be broken
// (the host's disk was full, or failed).
func (d *Driver) attachMended(ctx context.Context, id string, image *os.File, s Spec) (*handle, error) {
	good, err := inOrder(image)
	if err != nil {
		return nil, err
	}
	if good {
		h, err := d.attach(ctx, id, image, s)
		switch {
		case err == nil:
			if good, err = inOrder(image); good {
				return h, nil
			}
			if err = errors.Join(err, h.root.Close()); err != nil { // the image is still the caller's
				return nil, err
			}
		case !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EUCLEAN) && !errors.Is(err, unix.EBADMSG):
			return nil, err
		}
		if !poll(ctx, goneWait, func() bool { return !d.serves(id) }) {
			return nil, errBusy
		}
	}
	d.log.Warn("the disk of a sandbox is not in order; checking it", "sandbox", id)
	if err := check(ctx, image, "-f", "-p"); err != nil {
		return nil, err
	}
	return d.attach(ctx, id, image, s)
}

// serves tells whether some device still serves the sandbox's image.
func (d *Driver) serves(id string) bool {
	all, err := attachedTo(d.prefix)
	return err != nil || all[id] != ""
}

// lockImage opens the sandbox's image and tells whether nobody else has it.
func (d *Driver) lockImage(id string) (*os.File, bool, error) {
	path := filepath.Join(d.sandboxes, id, ImageFile)
	image, err := os.OpenFile(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, fmt.Errorf("%w: %s is missing", ErrDamaged, ImageFile)
	}
	if err != nil {
		return nil, false, err
	}
	err = flock(image)
	if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, false, errors.Join(err, image.Close())
	}
	return image, err == nil, nil
}

func flock(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return &os.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return nil
}

// find opens the device that serves the image, nil where there is none.
func (d *Driver) find(id string, image *os.File) (*os.File, error) {
	d.mu.Lock()
	loop := d.last[id]
	d.mu.Unlock()
	if loop != "" {
		if dev, err := reopen(loop, image, false); dev != nil || err != nil {
			return dev, err
		}
	}
	all, err := attachedTo(d.prefix)
	if err != nil {
		return nil, err
	}
	if loop = all[id]; loop == "" {
		return nil, nil
	}
	return reopen(loop, image, false)
}

// attach attaches and mounts an image that is locked, or not yet known to anybody. The
// device keeps the lock, for it is the image's open file that has it. After an
// error the image stays the caller's.
func (d *Driver) attach(ctx context.Context, id string, image *os.File, s Spec) (*handle, error) {
	if err := flock(image); err != nil {
		return nil, err
	}
	dev, direct, err := attach(ctx, image, d.prefix+id, false)
	if err != nil {
		return nil, err
	}
	if !direct {
		d.log.Debug("no direct I/O to a disk", "sandbox", id)
	}
	h, err := mountLoop(dev, image, s)
	return h, errors.Join(err, dev.Close()) // the file system has it now
}

// extOptions: a file system with errors is not written to any more; nothing is
// written in the background that the image has as holes; and df shows the quota as
// the size, what ext4 takes of it as used.
func extOptions() [][2]string {
	return [][2]string{{"errors", "remount-ro"}, {"noinit_itable", ""}, {"minixdf", ""}}
}

// mountLoop mounts what is on a device. Where it is mounted already, it is that file
// system.
func mountLoop(dev, image *os.File, s Spec) (*handle, error) {
	tree, err := mount.FileSystem("ext4", dev.Name(), extOptions(), nil)
	if errors.Is(err, unix.EBUSY) { // its last mount is just ending
		return nil, fmt.Errorf("%w: %w", errBusy, err)
	}
	if err != nil {
		return nil, fmt.Errorf("mount the disk: %w", err)
	}
	defer func() { _ = tree.Close() }()
	root, err := mount.OpenWithin(tree.Dir(), ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("mount the disk: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &st); err != nil {
		return nil, errors.Join(fmt.Errorf("mount the disk: %w", err), root.Close())
	}
	return &handle{
		image: image, root: root, loop: filepath.Base(dev.Name()), spec: s,
		dev: Device{Major: unix.Major(st.Dev), Minor: unix.Minor(st.Dev)},
	}, nil
}

// Tree is the sandbox's own files in dir, with their owners shifted: its disk, which
// must be open, or dir itself where it has none. Errors: [ErrNotOpen];
// mount.ErrNoIDMap.
func (d *Driver) Tree(dir string, id *mount.IDMap) (*mount.Tree, error) {
	d.mu.Lock()
	h := d.open[filepath.Base(dir)]
	d.mu.Unlock()
	if h != nil {
		return mount.FileSystem("ext4", "/dev/"+h.loop, extOptions(), id)
	}
	if _, err := os.Lstat(filepath.Join(dir, ImageFile)); !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(ErrNotOpen, err)
	}
	return mount.Clone(dir, id, false)
}

// Root is the root directory of the files of an open disk; the caller closes it, and
// must have done so when the disk is to be closed. Errors: [ErrNotOpen].
func (d *Driver) Root(id string) (*os.File, error) {
	h := d.handle(id)
	if h == nil {
		return nil, ErrNotOpen
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return nil, ErrNotOpen
	}
	return mount.OpenWithin(h.root, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// Leave takes the sandbox's disk out of use, and returns what closes it, for who
// knows when its last other user has gone: then it has been written to the host's
// disk, and its device is gone. That may take long; until it was called Open waits.
// It is nil where no disk is open.
func (d *Driver) Leave(id string) io.Closer {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counter.forget(id)
	h := d.open[id]
	if h == nil {
		return nil
	}
	delete(d.open, id)
	gone := make(chan struct{})
	d.leave[id] = gone
	return closer(func() error {
		defer func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.leave[id] == gone {
				delete(d.leave, id)
			}
			close(gone)
		}()
		return d.end(id, h)
	})
}

type closer func() error

func (c closer) Close() error { return c() }

// end closes a disk that the sandbox uses no more.
func (d *Driver) end(id string, h *handle) error {
	if err := h.giveBack(idleAtEnd, true); err != nil {
		d.log.Warn("could not give back what was deleted on a disk", "sandbox", id, "error", err)
	}
	err := h.close()
	// Who else may still have it for a moment: what names the host's disks (udev),
	// and the last process of the sandbox.
	gone := poll(d.ctx, goneWait, func() bool {
		name, e := nameOf(h.loop)
		return e != nil || name != d.prefix+id
	})
	if !gone && d.ctx.Err() == nil {
		d.log.Warn("a disk is still in use after its sandbox", "sandbox", id, "device", h.loop)
	}
	return err
}

// handle finds an open disk.
func (d *Driver) handle(id string) *handle {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open[id]
}

// Device is the block device of an open disk. [ErrNotOpen].
func (d *Driver) Device(id string) (Device, error) {
	if h := d.handle(id); h != nil {
		return h.dev, nil
	}
	return Device{}, ErrNotOpen
}

// Attached lists the sandboxes of this instance whose images some loop device serves,
// with the device's name.
func (d *Driver) Attached() (map[string]string, error) { return attachedTo(d.prefix) }
