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

// layerMark is in the names of loop devices that serve layers, behind the sandbox
// that they are mounted for.
const layerMark = "+"

// Layer mounts the image of a layer, the directory dir, read-only and with owners
// shifted, for the root of the sandbox id. It was a sandbox's disk once, which was
// closed in order and is never written to again. It goes with its last user, as the
// disk of a sandbox does. Errors: [ErrDamaged]; mount.ErrNoIDMap.
func (d *Driver) Layer(ctx context.Context, id, dir string, ids *mount.IDMap) (_ *mount.Tree, err error) {
	image, err := os.OpenFile(filepath.Join(dir, ImageFile), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: open the layer: %w", ErrDamaged, err)
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	dev, _, err := attach(ctx, image, d.prefix+id+layerMark, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dev.Close()) }() // the file system has it
	// There is nothing in its journal.
	tree, err := mount.FileSystem("ext4", dev.Name(), [][2]string{{"ro", ""}, {"noload", ""}, {"minixdf", ""}}, ids)
	if err != nil {
		return nil, fmt.Errorf("mount the layer: %w", err)
	}
	return tree, nil
}
