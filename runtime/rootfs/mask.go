package rootfs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sort"

	"golang.org/x/sys/unix"
)

// maskDirs are the directories that the mask layer of these hidden paths
// needs, parents first, and with them the attributes that the merged
// directories will show, for overlayfs takes those of the topmost layer.
func (t usrTable) maskDirs(hidden []string) []string {
	need := map[string]bool{".": true}
	for _, h := range hidden {
		for d := path.Dir(h); !need[d]; d = path.Dir(d) {
			need[d] = true
		}
	}
	out := make([]string, 0, len(need))
	for d := range need {
		out = append(out, d)
	}
	sort.Strings(out) // a parent sorts before what is below it
	return out
}

// maskName names the mask layer of a table by what is in it.
func (t usrTable) maskName() string {
	hidden := t.hidden()
	h := sha256.New()
	for _, d := range t.maskDirs(hidden) {
		rec := t[d]
		fmt.Fprintf(h, "dir %q %o %d %d\n", d, rec.Mode, rec.UID, rec.GID)
	}
	for _, p := range hidden {
		fmt.Fprintf(h, "hide %q\n", p)
	}
	return maskPrefix + hex.EncodeToString(h.Sum(nil)[:8])
}

// buildMask makes the mask layer in dir, an empty directory: a whiteout, which
// is a character device 0/0, for every hidden path.
func (t usrTable) buildMask(dir string) error {
	hidden := t.hidden()
	dirs := t.maskDirs(hidden)
	for _, d := range dirs[1:] {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return fmt.Errorf("mask: %w", err)
		}
	}
	for _, p := range hidden {
		at := filepath.Join(dir, p)
		if err := unix.Mknod(at, unix.S_IFCHR, 0); err != nil {
			return &os.PathError{Op: "mask: make whiteout", Path: at, Err: err}
		}
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		rec, at := t[dirs[i]], filepath.Join(dir, dirs[i])
		mtime := unix.NsecToTimespec(rec.MTime)
		err := errors.Join(
			os.Lchown(at, int(rec.UID), int(rec.GID)),
			unix.Chmod(at, rec.Mode),
			unix.UtimesNanoAt(unix.AT_FDCWD, at, []unix.Timespec{mtime, mtime}, unix.AT_SYMLINK_NOFOLLOW))
		if err != nil {
			return fmt.Errorf("mask: %s: %w", dirs[i], err)
		}
	}
	return nil
}
