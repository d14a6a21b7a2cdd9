package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Prefixes of what is no layer of the store, or not yet, or no longer.
const (
	makingPrefix = ".making-"
	gonePrefix   = ".gone-"
)

// The parts of a layer, which are directories in it: what it changes at /, and,
// of one that lies on the host image, at /usr.
const (
	layerRoot = "root"
	layerUsr  = "usr"
)

// Layers is the store of the layers that roots are made of, apart from those of
// the host image: of images that were pulled, of snapshots, of builds. A layer
// never changes. Its name is chosen by who makes it and tells what is in it, by a
// digest say, or is made up. All methods may be called by any goroutine.
type Layers struct {
	dir    string
	refDir string

	// use is held for reading by a mount from looking for its layers to noting
	// that it uses them, for writing by choosing the unused.
	use sync.RWMutex

	// removing has room for the one who removes.
	removing chan struct{}

	mu     sync.Mutex
	pinned map[string]int
	making map[string]*making
}

// making is a layer that somebody makes, for whoever wants the same.
type making struct {
	done chan struct{}
	err  error
}

// OpenLayers opens the store in stateDir, and takes away what a killed daemon left
// half made or half removed. runDir is the daemon's run directory. Both must exist.
func OpenLayers(ctx context.Context, stateDir, runDir string) (*Layers, error) {
	l := &Layers{
		dir: filepath.Join(stateDir, layersName), refDir: filepath.Join(runDir, refsName),
		removing: make(chan struct{}, 1), pinned: map[string]int{}, making: map[string]*making{},
	}
	for _, d := range []string{l.dir, l.refDir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("open the layers: %w", err)
		}
	}
	if err := errors.Join(l.clear(ctx, makingPrefix), l.clear(ctx, gonePrefix)); err != nil {
		return nil, fmt.Errorf("open the layers: %w", err)
	}
	return l, nil
}

// clear removes what has names with the prefix.
func (l *Layers) clear(ctx context.Context, prefix string) error {
	entries, err := os.ReadDir(l.dir)
	errs := []error{err}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			errs = append(errs, Remove(ctx, filepath.Join(l.dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// Has tells whether the store has a layer.
func (l *Layers) Has(name string) bool {
	if validLayer(name) != nil {
		return false
	}
	_, err := os.Lstat(filepath.Join(l.dir, name))
	return err == nil
}

// Path is where a layer lies, for package image to read it; its files belong to
// nobody but root.
func (l *Layers) Path(name string) string { return filepath.Join(l.dir, name) }

// Make makes a layer, unless the store has it, whole or not at all, also after a
// power failure: build fills the directory root, which is / of the layer. Several
// callers that want the same name share one build; it ends with the context of the
// one whose build it is, and then another takes it up. The layer is pinned when it
// returns without an error, see [Layers.Pin]; the caller calls release.
func (l *Layers) Make(ctx context.Context, name string, build func(ctx context.Context, root *os.File) error) (release func(), err error) {
	if err := validLayer(name); err != nil {
		return nil, err
	}
	for {
		if release, err := l.Pin(name); err == nil || !errors.Is(err, ErrNoLayer) {
			return release, err
		}
		l.mu.Lock()
		w := l.making[name]
		if w == nil {
			w = &making{done: make(chan struct{})}
			l.making[name] = w
			l.mu.Unlock()
			w.err = l.build(ctx, name, build)
			l.mu.Lock()
			delete(l.making, name)
			l.mu.Unlock()
			close(w.done)
			if w.err != nil {
				return nil, w.err
			}
			continue
		}
		l.mu.Unlock()
		select {
		case <-w.done:
			if w.err != nil && ctx.Err() == nil && !errors.Is(w.err, context.Canceled) && !errors.Is(w.err, context.DeadlineExceeded) {
				return nil, w.err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (l *Layers) build(ctx context.Context, name string, build func(ctx context.Context, root *os.File) error) (err error) {
	tmp, err := os.MkdirTemp(l.dir, makingPrefix)
	if err != nil {
		return fmt.Errorf("make layer: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, Remove(context.WithoutCancel(ctx), tmp))
		}
	}()
	root := filepath.Join(tmp, layerRoot)
	if err := os.Mkdir(root, 0o755); err != nil {
		return fmt.Errorf("make layer: %w", err)
	}
	if err := os.Chmod(root, 0o755); err != nil { // the umask had a say
		return fmt.Errorf("make layer: %w", err)
	}
	dir, err := os.Open(root)
	if err != nil {
		return fmt.Errorf("make layer: %w", err)
	}
	defer func() { _ = dir.Close() }()
	if err := build(ctx, dir); err != nil {
		return err
	}
	// One sync of the file system in place of one for each of thousands of files,
	// before the name that vouches for them.
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("make layer %s: sync: %w", name, err)
	}
	return l.adopt(tmp, name)
}

// adopt puts the directory at path, whose files are on the disk, into the store.
func (l *Layers) adopt(path, name string) error {
	if err := os.Rename(path, filepath.Join(l.dir, name)); err != nil {
		return fmt.Errorf("make layer: %w", err)
	}
	parent, err := os.Open(l.dir)
	if err != nil {
		return fmt.Errorf("make layer: %w", err)
	}
	defer func() { _ = parent.Close() }()
	if err := parent.Sync(); err != nil {
		return fmt.Errorf("make layer %s: sync: %w", name, err)
	}
	return nil
}

// Pin keeps layers from being collected until release, which may be called more
// than once: for who is about to record that they are used. [ErrNoLayer] where one
// is not there; none is pinned then.
func (l *Layers) Pin(names ...string) (release func(), err error) {
	l.use.RLock()
	defer l.use.RUnlock()
	for _, name := range names {
		if !l.Has(name) {
			return nil, fmt.Errorf("%w: %s", ErrNoLayer, name)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		l.pinned[name]++
	}
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, name := range names {
			if l.pinned[name]--; l.pinned[name] == 0 {
				delete(l.pinned, name)
			}
		}
	}), nil
}

// sizeFile keeps what a layer occupies.
const sizeFile = "size"

// Size is what a layer occupies, in bytes. It is counted once; fs.ErrNotExist where
// the store has no such layer.
func (l *Layers) Size(ctx context.Context, name string) (int64, error) {
	if err := validLayer(name); err != nil {
		return 0, err
	}
	dir := filepath.Join(l.dir, name)
	if text, err := os.ReadFile(filepath.Join(dir, sizeFile)); err == nil {
		if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			return n, nil
		}
	}
	n, err := occupied(ctx, dir)
	if err != nil {
		return 0, err
	}
	// What is lost of it is counted again.
	return n, os.WriteFile(filepath.Join(dir, sizeFile), strconv.AppendInt(nil, n, 10), 0o600)
}

// occupied is what the files below dir occupy, each once whatever its names.
func occupied(ctx context.Context, dir string) (int64, error) {
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	var n int64
	err := filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		if at := (inode{st.Dev, st.Ino}); st.Nlink == 1 || e.IsDir() || !seen[at] {
			seen[at] = true
			n += st.Blocks * 512
		}
		return nil
	})
	return n, err
}

// tmpDir is the directory at / that is everybody's.
const tmpDir = "tmp"

// places are the directories at / without which no sandbox starts, or few programs
// run.
func places() []string { return []string{"dev", "proc", "sys", "run", "etc", tmpDir} }

// Lacks lists what of the directories at / that a sandbox needs is not in the layers
// of b, for [Create]. On the host image that is nothing.
func (l *Layers) Lacks(b Base) []string {
	if b.Host {
		return nil
	}
	var lacks []string
	for _, d := range places() {
		found := false
		for _, name := range b.Layers {
			if st, err := os.Lstat(filepath.Join(l.dir, name, layerRoot, d)); err == nil && st.IsDir() {
				found = true
			}
		}
		if !found {
			lacks = append(lacks, d)
		}
	}
	return lacks
}

// Collect removes the layers that used does not name, that nobody has pinned and
// that no root is mounted of. used is asked once, when no root is being mounted
// and nothing is being pinned: what was recorded before a pin was released is in
// its answer. It may not call the store. What another Collect removes, or was removing
// when its context ended, is gone too when it returns without an error.
func (l *Layers) Collect(ctx context.Context, used func() (map[string]bool, error)) error {
	select {
	case l.removing <- struct{}{}:
		defer func() { <-l.removing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// What was left first: a layer that was made anew gets the same name when it goes.
	left := l.clear(ctx, gonePrefix)
	return errors.Join(left, l.retire(used), l.clear(ctx, gonePrefix))
}

// retire renames what is not used, so that nothing half removed is ever taken for
// a layer.
func (l *Layers) retire(used func() (map[string]bool, error)) error {
	l.use.Lock()
	defer l.use.Unlock()
	keep, err := used()
	if err != nil {
		return fmt.Errorf("find unused layers: %w", err)
	}
	mounted, err := referred(l.refDir)
	if err != nil {
		return fmt.Errorf("find unused layers: %w", err)
	}
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("find unused layers: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		name := e.Name()
		if validLayer(name) != nil || keep[name] || mounted[name] || l.pinned[name] > 0 || l.making[name] != nil || !e.IsDir() {
			continue
		}
		if err := os.Rename(filepath.Join(l.dir, name), filepath.Join(l.dir, gonePrefix+name)); err != nil {
			return fmt.Errorf("remove layer: %w", err)
		}
	}
	return nil
}
