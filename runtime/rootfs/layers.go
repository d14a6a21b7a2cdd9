package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// Names in the directory of layers that are this package's; others are left
// alone.
const (
	skeletonPrefix = "host-"
	maskPrefix     = "usrmask-"
	tmpPrefix      = ".tmp-rootfs-"
)

// Directories of the state directory and the run directory.
const (
	layersName = "layers"
	refsName   = "layers-used"
)

// lowers are the layers of the host image, by name in the directory of layers.
type lowers struct{ skeleton, mask string }

// makeLayer builds the layer name, unless it exists, so that it exists either
// whole or not at all, also after a power failure.
func makeLayer(dir, name string, build func(dir string) error) (err error) {
	final := filepath.Join(dir, name)
	if _, err := os.Lstat(final); err == nil {
		return nil
	}
	tmp, err := os.MkdirTemp(dir, tmpPrefix)
	if err != nil {
		return fmt.Errorf("make layer: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, Remove(context.Background(), tmp))
		}
	}()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fmt.Errorf("make layer: %w", err)
	}
	if err := build(tmp); err != nil {
		return err
	}
	// One sync of the file system in place of one for each of thousands of
	// files, before the name that vouches for them.
	parent, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("make layer: %w", err)
	}
	defer func() { _ = parent.Close() }()
	if err := unix.Syncfs(int(parent.Fd())); err != nil {
		return fmt.Errorf("make layer %s: sync: %w", name, err)
	}
	if err := os.Rename(tmp, final); err != nil {
		return fmt.Errorf("make layer: %w", err)
	}
	if err := parent.Sync(); err != nil {
		return fmt.Errorf("make layer %s: sync: %w", name, err)
	}
	return nil
}

// A reference is a file, named after a target, that names the layers which may
// be mounted there. It lies in the run directory: after a reboot nothing is
// mounted, and nothing is referenced.

func (h *Host) refPath(target string) string {
	sum := sha256.Sum256([]byte(filepath.Clean(target)))
	return filepath.Join(h.refDir, hex.EncodeToString(sum[:8]))
}

// refer notes that target uses these layers, before it does.
func (h *Host) refer(target string, names ...string) error {
	tmp, err := os.CreateTemp(h.refDir, ".new-")
	if err != nil {
		return fmt.Errorf("note layers in use: %w", err)
	}
	_, err = tmp.WriteString(strings.Join(names, "\n") + "\n")
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), h.refPath(target))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("note layers in use: %w", err), os.Remove(tmp.Name()))
	}
	return nil
}

func (h *Host) unrefer(target string) error {
	if err := os.Remove(h.refPath(target)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("note layers no longer in use: %w", err)
	}
	return nil
}

// collect removes layers of this package that nothing refers to, and what a
// crash left half built. A mounted root may outlive the daemon, so layers are
// in use until their target is unmounted or the machine rebooted.
func (h *Host) collect(ctx context.Context, current lowers) error {
	if err := h.retire(current); err != nil {
		return fmt.Errorf("find old layers: %w", err)
	}
	entries, err := os.ReadDir(h.layerDir)
	if err != nil {
		return fmt.Errorf("find old layers: %w", err)
	}
	var errs []error
	for _, e := range entries {
		name := filepath.Join(h.layerDir, e.Name())
		switch {
		case !strings.HasPrefix(e.Name(), tmpPrefix):
		case e.IsDir():
			errs = append(errs, Remove(ctx, name))
		default:
			errs = append(errs, os.Remove(name))
		}
	}
	return errors.Join(errs...)
}

// retire renames unused layers, so that a half removed one is never taken for
// a layer. No mount is between choosing its layers and noting them meanwhile.
func (h *Host) retire(current lowers) error {
	h.layers.Lock()
	defer h.layers.Unlock()
	used, err := referred(h.refDir)
	if err != nil {
		return err
	}
	used[current.skeleton], used[current.mask] = true, true
	entries, err := os.ReadDir(h.layerDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		ours := strings.HasPrefix(name, skeletonPrefix) || strings.HasPrefix(name, maskPrefix)
		if !ours || used[name] {
			continue
		}
		if err := os.Rename(filepath.Join(h.layerDir, name), filepath.Join(h.layerDir, tmpPrefix+name)); err != nil {
			return err
		}
	}
	return nil
}

// referred lists the layers that may be mounted somewhere.
func referred(refDir string) (map[string]bool, error) {
	used := map[string]bool{}
	refs, err := os.ReadDir(refDir)
	if err != nil {
		return nil, err
	}
	for _, r := range refs {
		raw, err := os.ReadFile(filepath.Join(refDir, r.Name()))
		if errors.Is(err, os.ErrNotExist) { // unmounted just now
			continue
		}
		if err != nil {
			return nil, err
		}
		for name := range strings.Lines(string(raw)) {
			used[strings.TrimSpace(name)] = true
		}
	}
	return used, nil
}

// openUsr makes a view of the host's /usr, without what is mounted below it,
// for scanning.
func (h *Host) openUsr() (*mount.Tree, error) {
	t, err := mount.Clone(filepath.Join(h.opts.HostRoot, "usr"), nil, true)
	if err != nil {
		return nil, fmt.Errorf("host's /usr: %w", err)
	}
	return t, nil
}
