package rootfs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"cove/runtime/disk"
	"cove/runtime/mount"
)

// Options of a [Host].
type Options struct {
	// StateDir is the daemon's state directory, which must exist; layers are
	// made in StateDir/layers.
	StateDir string
	// RunDir is the daemon's run directory, which must exist and be gone after
	// a reboot; targets lie below it.
	RunDir string
	// HostRoot is the root of the system that sandboxes are made from; "" is
	// "/".
	HostRoot string
	// Disks has the disks of sandboxes that have one, mounted. It belongs to
	// the caller, who closes it after the Host. Nil where none has one.
	Disks *disk.Driver
	// Layers is the store of all layers but the host image's own; nil where no
	// root has any.
	Layers *Layers
	// IDMaps makes the id maps. It belongs to the caller, who closes it after
	// the Host.
	IDMaps *mount.IDMaps
	// Log gets what goes wrong in the background; nil discards it.
	Log *slog.Logger
}

// Host makes roots from the host's own system. All methods may be called by
// any goroutine. The process must be root and in a mount namespace of its own
// (mount.EnterPrivateNamespace).
type Host struct {
	opts     Options
	log      *slog.Logger
	layerDir string
	refDir   string
	attach   string

	detecting sync.Mutex
	mounter   *mount.Mounter // nil until it was found out

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	kick   chan struct{}
	// layers is held for reading by a mount from choosing layers to noting
	// them, for writing by removing old ones.
	layers sync.RWMutex

	mu       sync.Mutex
	closed   bool
	now      lowers
	table    usrTable
	checked  time.Time // start of the last successful check or scan
	scanned  time.Time // start of the last successful scan of everything
	inflight *refresh
	leaving  map[string]chan struct{} // by target: closed when the mount is gone
	detached map[string][]*os.File    // by target: what Detach took out of the tree
	cows     map[string][]*os.File    // by target: overlays on directories of the host's
}

// refresh is one bringing up to date that several callers may wait for.
type refresh struct {
	done chan struct{}
	err  error
}

// New finds out what this kernel can do (a few milliseconds) and starts the
// goroutine that keeps up with the host; Close ends it. Errors:
// mount.ErrNoIDMap; [ErrHostLayout]; those of the directories.
func New(ctx context.Context, o Options) (*Host, error) {
	if o.HostRoot == "" {
		o.HostRoot = "/"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	usr := filepath.Join(o.HostRoot, "usr")
	for _, d := range []string{o.StateDir, o.RunDir} {
		if !filepath.IsAbs(d) {
			return nil, fmt.Errorf("directory %q: must be absolute", d)
		}
		if within(usr, d) {
			return nil, fmt.Errorf("%w: %s lies in %s, which would be below itself", ErrHostLayout, d, usr)
		}
	}
	h := &Host{
		opts: o, log: o.Log,
		layerDir: filepath.Join(o.StateDir, layersName),
		refDir:   filepath.Join(o.RunDir, refsName),
		kick:     make(chan struct{}, 1),
		leaving:  map[string]chan struct{}{},
		detached: map[string][]*os.File{},
		cows:     map[string][]*os.File{},
	}
	attach := filepath.Join(o.RunDir, "layers-attached")
	for _, d := range []string{h.layerDir, h.refDir, attach} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("host image: %w", err)
		}
	}
	h.attach = attach
	// On a full disk nothing can be tried, but what runs must still be
	// reached, and deleted to make room: the first mount tries again.
	if err := h.detect(ctx, attach, nil); err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return nil, err
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.wg.Go(h.keepUp)
	return h, nil
}

// detect finds the way of making overlays, in a directory that a crash leaves
// to be collected.
func (h *Host) detect(ctx context.Context, attach string, rungs []mount.Rung) (err error) {
	// Mount points that an earlier daemon left; the mounts ended with it.
	old, err := os.ReadDir(attach)
	if err != nil {
		return fmt.Errorf("host image: %w", err)
	}
	for _, e := range old {
		if err := os.Remove(filepath.Join(attach, e.Name())); err != nil {
			return fmt.Errorf("host image: left by an earlier daemon: %w", err)
		}
	}
	scratch, err := os.MkdirTemp(h.layerDir, tmpPrefix)
	if err != nil {
		return fmt.Errorf("host image: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	h.mounter, err = mount.Detect(ctx, mount.Config{Scratch: scratch, AttachDir: attach, IDMaps: h.opts.IDMaps, Rungs: rungs})
	return err
}

// overlays gives the way of making overlays, found out now where it could not
// be when the Host was made.
func (h *Host) overlays(ctx context.Context) (*mount.Mounter, error) {
	h.detecting.Lock()
	defer h.detecting.Unlock()
	if h.mounter == nil {
		if err := h.detect(ctx, h.attach, nil); err != nil {
			return nil, err
		}
	}
	return h.mounter, nil
}

// within tells whether p is dir or below it.
func within(dir, p string) bool {
	rel, err := filepath.Rel(dir, p)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// Close ends the background work and waits for it. What is mounted stays.
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.wg.Wait()
	for _, held := range h.detached {
		closeAll(held)
	}
	for _, held := range h.cows {
		closeAll(held)
	}
	return nil
}

// Prepare builds what all roots share, so that the first Mount does not have
// to wait: the skeleton (half a second, once per state of the host's packages)
// and the mask of /usr (a second when it has never been scanned, else a stat per
// directory). Several callers share one run; ctx ends the waiting only.
func (h *Host) Prepare(ctx context.Context) error { return h.refresh(ctx, false) }

// Ready tells whether the next Mount finds everything prepared.
func (h *Host) Ready() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now != lowers{}
}

// Reserve has the id maps of these bases made in the background, so that Mount
// finds them ready.
func (h *Host) Reserve(bases ...uint32) { h.opts.IDMaps.Prepare(bases...) }

// Generation names the state of the host that the next root will be made of,
// or is "" before the first Prepare.
func (h *Host) Generation() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.TrimPrefix(h.now.skeleton, skeletonPrefix)
}

// acquire returns the layers for a mount with h.layers held for reading; the
// caller releases it. It waits only when there are none yet, or when the last
// check failed: a mask that could not be checked is not trusted.
func (h *Host) acquire(ctx context.Context) (lowers, error) {
	for {
		h.layers.RLock()
		h.mu.Lock()
		now, due := h.now, time.Since(h.checked) >= recheckEvery
		h.mu.Unlock()
		if now != (lowers{}) {
			if due {
				h.ask()
			}
			return now, nil
		}
		h.layers.RUnlock()
		if err := h.refresh(ctx, false); err != nil {
			return lowers{}, err
		}
	}
}

// ask has the host checked in the background.
func (h *Host) ask() {
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// keepUp checks the host again when mounting asks for it. A host on which
// nothing is made costs nothing.
func (h *Host) keepUp() {
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-h.kick:
			h.mu.Lock()
			full := time.Since(h.scanned) >= rescanEvery
			h.mu.Unlock()
			if err := h.refresh(h.ctx, full); err != nil && h.ctx.Err() == nil {
				h.log.Error("checking the host image", "err", err)
			}
		}
	}
}

// refresh brings the layers up to date, or joins a run that does.
func (h *Host) refresh(ctx context.Context, full bool) error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return fmt.Errorf("host image: %w", ErrClosed)
	}
	r := h.inflight
	if r == nil {
		r = &refresh{done: make(chan struct{})}
		h.inflight = r
		h.wg.Go(func() { h.run(r, full) })
	}
	h.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *Host) run(r *refresh, full bool) {
	err := h.update(h.ctx, full)
	h.mu.Lock()
	r.err = err
	h.inflight = nil
	if err != nil {
		h.now = lowers{} // the next mount tries again, and tells its caller
	}
	h.mu.Unlock()
	close(r.done)
}

// update makes the skeleton and the mask side by side and puts them to use.
func (h *Host) update(ctx context.Context, full bool) error {
	start := time.Now()
	h.mu.Lock()
	old, table, scanned := h.now, h.table, h.scanned
	h.mu.Unlock()
	next := lowers{}
	g, gctx := errgroup.WithContext(ctx)
	if err := checkLayout(h.opts.HostRoot); err != nil {
		return err
	}
	g.Go(func() error {
		gen, err := generation(h.opts.HostRoot)
		if err != nil {
			return fmt.Errorf("host image: %w", err)
		}
		next.skeleton = skeletonPrefix + gen
		return makeLayer(h.layerDir, next.skeleton, func(dir string) error {
			return buildSkeleton(gctx, h.opts.HostRoot, dir)
		})
	})
	var fresh usrTable
	g.Go(func() (err error) {
		fresh, full, err = h.scan(gctx, table, full)
		if err != nil {
			return err
		}
		next.mask = fresh.maskName()
		return makeLayer(h.layerDir, next.mask, fresh.buildMask)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if full {
		scanned = start
	}
	h.mu.Lock()
	h.now, h.table, h.checked, h.scanned = next, fresh, start, scanned
	h.mu.Unlock()
	if scanned.IsZero() {
		// Only the directories were looked at so far: look at the files too,
		// now, but without anyone waiting for it.
		h.ask()
	}
	if next != old {
		if err := h.collect(ctx, next); err != nil {
			h.log.Warn("removing old layers of the host image", "err", err)
		}
	}
	return nil
}

// scan looks at /usr: everything, or the directories when a table of it is
// known. It tells whether it was everything.
func (h *Host) scan(ctx context.Context, table usrTable, full bool) (_ usrTable, all bool, err error) {
	tree, err := h.openUsr()
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	if table == nil {
		table = loadTable(h.layerDir, tree.Dir())
	}
	known := table
	if full || table == nil {
		all = true
		table, err = scanAll(ctx, tree.Dir())
	} else {
		table, err = recheck(ctx, tree.Dir(), table)
	}
	if err != nil {
		return nil, false, err
	}
	if table["."] == nil {
		return nil, false, fmt.Errorf("%w: /usr vanished while it was read", ErrHostLayout)
	}
	if all || !sameTable(known, table) {
		if err := saveTable(h.layerDir, tree.Dir(), table); err != nil {
			h.log.Warn("keeping the scan of /usr", "err", err)
		}
	}
	return table, all, nil
}

// sameTable tells whether nothing was read again: a check shares the records
// it did not have to replace.
func sameTable(a, b usrTable) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// Probe tells, for people, what this machine can do: the ways of making
// overlays that were tried, and whether the file systems in question can be
// id-mapped. It leaves nothing behind.
func (h *Host) Probe(ctx context.Context) []mount.Check {
	var checks []mount.Check
	add := func(name, detail string, err error) {
		c := mount.Check{Name: name, OK: err == nil, Detail: detail}
		if err != nil {
			c.Detail = err.Error()
		}
		checks = append(checks, c)
	}
	if mounter, err := h.overlays(ctx); err != nil {
		add("overlays on id-mapped layers", "", err)
	} else {
		for _, c := range mounter.Checks() {
			// Rungs that do not hold are no fault where another one does.
			if c.OK {
				checks = append(checks, c)
			}
		}
	}
	id, err := h.opts.IDMaps.Get(ctx, 1<<30)
	add("user namespace for id-mapped mounts", "", err)
	if err == nil {
		for name, dir := range map[string]string{"host's /usr can be id-mapped": filepath.Join(h.opts.HostRoot, "usr"), "state directory can be id-mapped": h.opts.StateDir} {
			t, err := mount.Clone(dir, id, true)
			if err == nil {
				err = t.Close()
			}
			add(name, dir, err)
		}
		_ = id.Close()
	}
	add("host's directories", "merged /usr", checkLayout(h.opts.HostRoot))
	gen, err := generation(h.opts.HostRoot)
	add("host generation", gen, err)
	var st unix.Stat_t
	err = unix.Stat(h.opts.StateDir, &st)
	if err == nil && (st.Mode&0o077 != 0 || st.Uid != 0) {
		err = fmt.Errorf("%s is open to others (mode %o, owner %d): it holds setuid files of sandboxes owned by root", h.opts.StateDir, st.Mode&0o777, st.Uid)
	}
	add("state directory is closed", "", err)
	return checks
}
