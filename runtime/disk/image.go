package disk

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// ImageFile is the name of the image in a sandbox's directory.
	ImageFile   = "disk.img"
	templateDir = "disks"
	// templatePrefix names the layout too: when it changes, so does this.
	templatePrefix = "ext4-1-"
	// maxTemplates is how many sizes are kept at hand, maxKept up to which: an empty
	// disk takes some 1/70000 of its size.
	maxTemplates = 32
	maxKept      = 512 << 30
	// formatTimeout bounds mke2fs, checkTimeout e2fsck and resize2fs: the latter read
	// all of a file system's own blocks.
	formatTimeout = time.Minute
	checkTimeout  = 10 * time.Minute

	blockSize = 4096
	mib       = 1 << 20
)

// whole is a size in whole blocks, no larger than size.
func whole(size int64) int64 { return size &^ (blockSize - 1) }

// mkfsArgs make a file system of that size. No block is set aside for root. Nothing
// is written that may as well be a hole: the image is made of zeros. The journal is
// what lets a disk survive a power cut without a check; a small one does, for it
// holds no data. What grows the file system later finds its tables reserved.
func mkfsArgs(size int64) []string {
	journal := min(max(size/64/mib, 4), 64)
	perInode := 16384
	if size < 512*mib {
		perInode = 8192
	}
	grown := max(16*size, 64<<30) / blockSize
	return []string{
		"-q", "-F", "-m", "0", "-b", strconv.Itoa(blockSize), "-I", "256", "-i", strconv.Itoa(perInode),
		"-J", "size=" + strconv.FormatInt(journal, 10), "-e", "remount-ro", "-L", "cove",
		"-O", "none,has_journal,ext_attr,resize_inode,dir_index,sparse_super,large_file,filetype,extent,flex_bg,huge_file,dir_nlink,extra_isize,64bit,metadata_csum,metadata_csum_seed",
		"-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0,resize=" + strconv.FormatInt(min(grown, 1<<32-1), 10),
		imageArg,
	}
}

// makeImage makes the image at path, which does not exist, and returns it open. It is
// on the host's disk when its file system has been synced: the loop device makes of
// that an fsync of the image.
func (d *Driver) makeImage(ctx context.Context, path string, s Spec) (_ *os.File, err error) {
	if s.Reserve {
		if err := room(d.templates, s.Size, s); err != nil {
			return nil, err
		}
	}
	template, err := d.template(ctx, s.Size)
	if err != nil {
		return nil, err
	}
	defer func() { _ = template.Close() }()
	image, err := os.OpenFile(path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the disk: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, image.Close(), os.Remove(path))
		}
	}()
	if err := copySparse(image, template); err != nil {
		return nil, fmt.Errorf("make the disk: %w", err)
	}
	if s.Reserve {
		if err := d.setAside(image, s); err != nil {
			return nil, err
		}
	}
	if err := freshUUID(image); err != nil {
		return nil, fmt.Errorf("make the disk: %w", err)
	}
	return image, nil
}

// template opens the empty file system of that size, which is made once.
func (d *Driver) template(ctx context.Context, size int64) (*os.File, error) {
	path := filepath.Join(d.templates, templatePrefix+strconv.FormatInt(size, 10))
	if f, err := os.Open(path); !errors.Is(err, os.ErrNotExist) {
		return f, err
	}
	d.making.Lock()
	defer d.making.Unlock()
	if f, err := os.Open(path); !errors.Is(err, os.ErrNotExist) {
		return f, err
	}
	if err := d.makeTemplate(ctx, path, size); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	d.pruneTemplates()
	if err == nil && size > maxKept {
		err = os.Remove(path)
	}
	return f, err
}

func (d *Driver) makeTemplate(ctx context.Context, path string, size int64) (err error) {
	tmp, err := os.CreateTemp(d.templates, tmpPrefix)
	if err != nil {
		return fmt.Errorf("make an empty disk: %w", err)
	}
	defer func() {
		err = errors.Join(err, tmp.Close())
		if e := os.Remove(tmp.Name()); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	if err := tmp.Truncate(size); err != nil {
		if errors.Is(err, unix.EFBIG) {
			return fmt.Errorf("%w: the host's file system has no files of %s", ErrNoSpace, human(size))
		}
		return fmt.Errorf("make an empty disk: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, formatTimeout)
	defer cancel()
	if err := runTool(ctx, tmp, mke2fs, mkfsArgs(size)...); err != nil {
		return fmt.Errorf("make an empty disk of %s: %w", human(size), err)
	}
	if err := tmp.Sync(); err != nil {
		return fmt.Errorf("make an empty disk: %w", err)
	}
	return os.Rename(tmp.Name(), path)
}

// tmpPrefix marks what a crash may leave half made.
const tmpPrefix = ".tmp-"

// clearTemplates removes what a daemon that was killed left half made, and what
// another layout had. Nobody is at work yet.
func (d *Driver) clearTemplates() error {
	entries, err := os.ReadDir(d.templates)
	if err != nil {
		return fmt.Errorf("disks: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), templatePrefix) {
			if err := os.RemoveAll(filepath.Join(d.templates, e.Name())); err != nil {
				return fmt.Errorf("disks: %w", err)
			}
		}
	}
	return nil
}

// pruneTemplates keeps the number of templates bounded.
func (d *Driver) pruneTemplates() {
	all, err := filepath.Glob(filepath.Join(d.templates, templatePrefix+"*"))
	if err != nil {
		d.log.Warn("could not look at the empty disks", "error", err)
	}
	for len(all) > maxTemplates {
		if err := os.Remove(all[0]); err != nil && !errors.Is(err, os.ErrNotExist) {
			d.log.Warn("could not remove an empty disk", "error", err)
		}
		all = all[1:]
	}
}

// copySparse copies what of src is not a hole, by reference where the host's file
// system can.
func copySparse(dst, src *os.File) error {
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		return nil
	}
	info, err := src.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if err := dst.Truncate(size); err != nil {
		return err
	}
	// The descriptor's own position is nobody's: the template was opened for this.
	for at := int64(0); at < size; {
		from, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // only a hole is left
			return nil
		}
		if err != nil {
			return fmt.Errorf("find data: %w", err)
		}
		to, err := unix.Seek(int(src.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("find a hole: %w", err)
		}
		if _, err := io.Copy(io.NewOffsetWriter(dst, from), io.NewSectionReader(src, from, to-from)); err != nil {
			return err
		}
		at = to
	}
	return nil
}

// setAside takes all of the image's space on the host. What is more than there is, is
// not tried: for a moment nobody else would have any. One at a time: two that fit
// need not fit together.
func (d *Driver) setAside(image *os.File, s Spec) error {
	d.aside.Lock()
	defer d.aside.Unlock()
	var st unix.Stat_t
	if err := unix.Fstat(int(image.Fd()), &st); err != nil {
		return fmt.Errorf("set the disk aside: %w", err)
	}
	if err := room(fmt.Sprintf("/proc/self/fd/%d", image.Fd()), s.Size-st.Blocks*512, s); err != nil {
		return err
	}
	err := unix.Fallocate(int(image.Fd()), 0, 0, s.Size)
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: %s cannot be set aside; somebody was faster", ErrNoSpace, human(s.Size))
	case err != nil:
		return fmt.Errorf("set the disk aside: %w", err)
	}
	return nil
}

// room is whether the file system of path has so many bytes free as are missing of
// the quota, and leaves what s says.
func room(path string, missing int64, s Spec) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return fmt.Errorf("set the disk aside: %w", err)
	}
	if free := int64(st.Bavail) * int64(st.Bsize); missing > 0 && missing > free-s.Leave { //nolint:unconvert // the types differ elsewhere
		kept := ""
		if s.Leave > 0 {
			kept = fmt.Sprintf(", of which %s stay so for all", human(s.Leave))
		}
		return fmt.Errorf("%w: %s cannot be set aside, %s are free%s", ErrNoSpace, human(s.Size), human(free), kept)
	}
	return nil
}

// The superblock of ext4 (Documentation/filesystems/ext4/super.rst).
const (
	superAt        = 1024
	superSize      = 1024
	superMagicAt   = 0x38
	superMagic     = 0xEF53
	superStateAt   = 0x3A
	superUUIDAt    = 0x68
	superBlocksAt  = 0x04
	superBlocksHi  = 0x150
	superSumAt     = 0x3FC
	superIncompat  = 0x60
	needsRecovery  = 4 // something is in the journal (EXT4_FEATURE_INCOMPAT_RECOVER)
	stateClean     = 1
	stateHasErrors = 2
)

// superSizeOf is the size of the file system in bytes.
func superSizeOf(sb []byte) int64 {
	blocks := uint64(binary.LittleEndian.Uint32(sb[superBlocksHi:]))<<32 | uint64(binary.LittleEndian.Uint32(sb[superBlocksAt:]))
	return int64(blocks) * blockSize
}

func readSuper(image *os.File) ([]byte, error) {
	sb := make([]byte, superSize)
	if _, err := image.ReadAt(sb, superAt); err != nil {
		return nil, fmt.Errorf("%w: no file system in it: %w", ErrDamaged, err)
	}
	if binary.LittleEndian.Uint16(sb[superMagicAt:]) != superMagic {
		return nil, fmt.Errorf("%w: no file system in it", ErrDamaged)
	}
	return sb, nil
}

// freshUUID makes the copy's UUID its own: two disks with one UUID confuse what
// names disks by it on the host (udev). The checksums of everything else do not
// depend on it (metadata_csum_seed).
func freshUUID(image *os.File) error {
	sb, err := readSuper(image)
	if err != nil {
		return err
	}
	id := sb[superUUIDAt : superUUIDAt+16]
	if _, err := rand.Read(id); err != nil {
		return err
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // RFC 9562, version 4
	// The kernel's crc32c is not inverted at the end.
	sum := ^crc32.Checksum(sb[:superSumAt], crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(sb[superSumAt:], sum)
	_, err = image.WriteAt(sb, superAt)
	return err
}

// inOrder tells whether the file system says that it is. One that was only not
// unmounted is: the kernel replays its journal.
func inOrder(image *os.File) (bool, error) {
	sb, err := readSuper(image)
	if err != nil {
		return false, err
	}
	state := binary.LittleEndian.Uint16(sb[superStateAt:])
	return state&stateClean != 0 && state&stateHasErrors == 0, nil
}

// Settled tells whether the file system on the disk of a sandbox that does not run is
// in order as it lies there, with nothing left in its journal: so that it can be mounted
// without that. One that was cut off from power is not, before it was open once. True
// where there is no disk.
func (d *Driver) Settled(id string) (bool, error) {
	image, err := os.OpenFile(filepath.Join(d.sandboxes, id, ImageFile), os.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = image.Close() }()
	sb, err := readSuper(image)
	if err != nil {
		return false, err
	}
	good, err := inOrder(image)
	return good && binary.LittleEndian.Uint32(sb[superIncompat:])&needsRecovery == 0, err
}

// check runs e2fsck, which mends what it can without a question.
func check(ctx context.Context, image *os.File, flags ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("not done after %v", checkTimeout))
	defer cancel()
	err := runTool(ctx, image, e2fsck, append(flags, imageArg)...)
	if exit, ok := errors.AsType[*exitError](err); ok {
		if exit.code == 1 { // errors were corrected (e2fsck(8))
			return nil
		}
		return fmt.Errorf("%w: e2fsck -p could not put it in order (run e2fsck on disk.img in its directory yourself, with the sandbox stopped): %w", ErrDamaged, err)
	}
	return err
}

// human is a size for people.
func human(size int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}} {
		if size >= u.size {
			return string(bytes.TrimSuffix(strconv.AppendFloat(nil, float64(size)/float64(u.size), 'f', 1, 64), []byte(".0"))) + " " + u.name
		}
	}
	return fmt.Sprintf("%d bytes", size)
}
