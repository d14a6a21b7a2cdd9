package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// layerMark begins, behind the instance's prefix, the names of loop devices that serve
// layers; the layer's name follows.
const layerMark = "+"

// Layer mounts the image of a layer, the directory dir, read-only and with owners
// shifted, for a root. It was a sandbox's disk once, which was closed in order and is
// never written to again. All roots that lie on it share one loop device, and one file
// system, which go with the last of them. Errors: [ErrDamaged]; mount.ErrNoIDMap.
func (d *Driver) Layer(ctx context.Context, dir string, ids *mount.IDMap) (_ *mount.Tree, err error) {
	image, err := os.OpenFile(filepath.Join(dir, ImageFile), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: open the layer: %w", ErrDamaged, err)
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	// One at a time: who comes at the same moment finds the device of the first.
	d.layering.Lock()
	defer d.layering.Unlock()
	var tree *mount.Tree
	in := poll(ctx, openWait, func() bool {
		tree, err = d.mountLayer(ctx, filepath.Base(dir), image, ids)
		return !errors.Is(err, unix.EBUSY) // its last mount is just ending
	})
	if !in && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("mount the layer: %w", err)
	}
	return tree, nil
}

func (d *Driver) mountLayer(ctx context.Context, name string, image *os.File, ids *mount.IDMap) (_ *mount.Tree, err error) {
	dev, err := d.layerDevice(ctx, name, image)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dev.Close()) }() // the file system has it
	// There is nothing in its journal.
	return mount.FileSystem("ext4", dev.Name(), [][2]string{{"ro", ""}, {"noload", ""}, {"minixdf", ""}}, ids)
}

// layerDevice opens the device that serves the layer's image, attached now where there
// is none. The caller holds d.layering.
func (d *Driver) layerDevice(ctx context.Context, name string, image *os.File) (*os.File, error) {
	loop, known := d.layers[name]
	if !known { // by this daemon; one before may have left it to those that run
		all, err := d.AttachedLayers()
		if err != nil {
			return nil, err
		}
		loop = all[name]
	}
	if loop != "" {
		if dev, err := reopen(loop, image, true); dev != nil || err != nil {
			return dev, err
		}
	}
	dev, _, err := attach(ctx, image, d.prefix+layerMark+name, true)
	if err != nil {
		return nil, err
	}
	d.layers[name] = filepath.Base(dev.Name())
	return dev, nil
}

// AttachedLayers lists the layers of this instance that some loop device serves, with
// the device's name.
func (d *Driver) AttachedLayers() (map[string]string, error) {
	return namedDevices(d.prefix + layerMark)
}
