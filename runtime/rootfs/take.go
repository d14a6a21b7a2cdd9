package rootfs

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cove/runtime/disk"
	"cove/runtime/mount"
)

// whole tells whether the store has the layer, with what is in it.
func (l *Layers) whole(name string) bool {
	for _, part := range []string{layerRoot, disk.ImageFile} {
		if _, err := os.Lstat(filepath.Join(l.dir, name, part)); err == nil {
			return true
		}
	}
	return false
}

// Whole tells whether the layer is there, with what is in it: one that a crash cut
// off in the making may not be.
func (l *Layers) Whole(name string) bool { return validLayer(name) == nil && l.whole(name) }

// isDisk tells whether what is to be taken, or was, is a disk.
func (l *Layers) isDisk(dir, name string) bool {
	if l.whole(name) {
		_, err := os.Lstat(filepath.Join(l.dir, name, disk.ImageFile))
		return err == nil
	}
	_, err := os.Lstat(filepath.Join(dir, disk.ImageFile))
	return err == nil
}

// takeDisk is [Layers.Take] of a disk.
func (l *Layers) takeDisk(dir, name string) error {
	if l.whole(name) {
		return nil
	}
	image, to := filepath.Join(dir, disk.ImageFile), filepath.Join(l.dir, name)
	if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Rename(image, filepath.Join(to, disk.ImageFile)); err != nil {
		return err
	}
	return errors.Join(syncDir(to), syncDir(l.dir), syncDir(dir))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Unchanged tells whether a sandbox has changed nothing since [Create] made an
// empty upper in top: there is nothing to take.
func Unchanged(top *os.File) (bool, error) {
	for _, d := range []string{upperRoot, upperUsr} {
		f, err := mount.OpenWithin(top, d, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		names, _ := f.Readdirnames(1)
		if err := f.Close(); err != nil {
			return false, err
		}
		if len(names) > 0 {
			return false, nil
		}
	}
	return true, nil
}
