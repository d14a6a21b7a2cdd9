package mount

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxLower is how many lower layers the kernel takes (fs/overlayfs/params.c).
const MaxLower = 500

// Overlay describes an overlay mount.
type Overlay struct {
	// Lower are the read-only layers, the topmost first; at least one.
	Lower []*Tree
	// Upper holds both directories that the overlay writes to, which must lie
	// on one mount; UpperDir and WorkDir are their paths below it.
	Upper             *Tree
	UpperDir, WorkDir string
}

// Merged is an overlay that is mounted nowhere yet, or at the place given to
// [Merged.Attach].
type Merged struct {
	root *os.File
	at   string // where the classic way had to mount it, until Attach
}

// overlayOptions are pinned because distributions build the kernel with
// different defaults, and because redirects and metadata-only copies would tie
// an upper to these very lowers: no snapshot, fork or export. nofollow also
// keeps a hostile upper from redirecting directories.
func overlayOptions() [][2]string {
	return [][2]string{
		{"redirect_dir", "nofollow"}, {"metacopy", "off"}, {"index", "off"}, {"xino", "auto"},
	}
}

// Overlay makes the overlay: device nodes on it do not open, setuid programs
// work. Errors: [ErrReadOnly]; the kernel's, with what it logged about it.
func (m *Mounter) Overlay(o Overlay) (_ *Merged, err error) {
	if len(o.Lower) == 0 || len(o.Lower) > MaxLower {
		return nil, fmt.Errorf("overlay of %d layers: 1 to %d are possible", len(o.Lower), MaxLower)
	}
	if m.rung != RungFD {
		for _, t := range append([]*Tree{o.Upper}, o.Lower...) {
			if err := t.attach(m.attachDir); err != nil {
				return nil, err
			}
		}
	}
	upper, err := OpenWithin(o.Upper.root, o.UpperDir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("upper directory: %w", err)
	}
	defer func() { _ = upper.Close() }()
	work, err := OpenWithin(o.Upper.root, o.WorkDir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("work directory: %w", err)
	}
	defer func() { _ = work.Close() }()

	var merged *Merged
	if m.rung == RungClassic {
		merged, err = m.classic(o.Lower, upper, work)
	} else {
		merged, err = m.fsmount(o.Lower, upper, work)
	}
	if err != nil {
		return nil, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(merged.root.Fd()), &st); err != nil {
		return nil, errors.Join(fmt.Errorf("statfs of overlay: %w", err), merged.Close())
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return nil, errors.Join(ErrReadOnly, merged.Close())
	}
	return merged, nil
}

// fsmount makes the overlay through the mount API of Linux 5.2, the layers
// given as descriptors or, below 6.15, by their paths in /proc/self/fd.
func (m *Mounter) fsmount(lower []*Tree, upper, work *os.File) (*Merged, error) {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open overlay file system: %w", err)
	}
	fs := os.NewFile(uintptr(fd), "overlay")
	defer func() { _ = fs.Close() }()
	set := func(key string, f *os.File) error {
		if m.rung == RungFD {
			return unix.FsconfigSetFd(fd, key, int(f.Fd()))
		}
		return unix.FsconfigSetString(fd, key, fdPath(f))
	}
	fail := func(what string, err error) error {
		return fmt.Errorf("overlay: %s: %w%s", what, err, kernelLog(fs))
	}
	if err := unix.FsconfigSetString(fd, "source", "cove"); err != nil {
		return nil, fail("source", err)
	}
	for _, kv := range overlayOptions() {
		if err := unix.FsconfigSetString(fd, kv[0], kv[1]); err != nil {
			return nil, fail(kv[0], err)
		}
	}
	for _, t := range lower {
		if err := set("lowerdir+", t.lower()); err != nil {
			return nil, fail("layer "+t.name, err)
		}
	}
	if err := set("upperdir", upper); err != nil {
		return nil, fail("upper directory", err)
	}
	if err := set("workdir", work); err != nil {
		return nil, fail("work directory", err)
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, fail("create", err)
	}
	mnt, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return nil, fail("mount", err)
	}
	return &Merged{root: os.NewFile(uintptr(mnt), "overlay")}, nil
}

// classic makes the overlay by mount(2), whose options are cut off, silently,
// at the end of a page.
func (m *Mounter) classic(lower []*Tree, upper, work *os.File) (*Merged, error) {
	layers := make([]string, len(lower))
	for i, t := range lower {
		layers[i] = fdPath(t.lower())
	}
	opts := []string{"lowerdir=" + strings.Join(layers, ":"), "upperdir=" + fdPath(upper), "workdir=" + fdPath(work)}
	for _, kv := range overlayOptions() {
		opts = append(opts, kv[0]+"="+kv[1])
	}
	data := strings.Join(opts, ",")
	if len(data) >= os.Getpagesize() {
		return nil, fmt.Errorf("overlay of %d layers: too many for this kernel's mount(2)", len(lower))
	}
	at, err := os.MkdirTemp(m.attachDir, "merged-")
	if err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	if err := unix.Mount("cove", at, "overlay", unix.MS_NODEV, data); err != nil {
		return nil, errors.Join(fmt.Errorf("overlay: mount: %w", err), os.Remove(at))
	}
	root, err := os.OpenFile(at, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("overlay: %w", err), Unmount(at), os.Remove(at))
	}
	return &Merged{root: root, at: at}, nil
}

// Dir is the root of the merged tree, for opening files below it; it stays
// the Merged's. What the caller writes there as the host's root is owned by
// on-disk id 65536, which is nobody inside.
func (m *Merged) Dir() *os.File { return m.root }

// Attach mounts the overlay on dir, an open directory of the caller's mount
// namespace, where it stays after Close until it is unmounted.
func (m *Merged) Attach(dir *os.File) error {
	err := unix.MoveMount(int(m.root.Fd()), "", int(dir.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return &os.PathError{Op: "move_mount", Path: dir.Name(), Err: err}
	}
	if m.at != "" {
		err = os.Remove(m.at)
		m.at = ""
	}
	return err
}

// Close gives the descriptor back; an overlay that was attached nowhere ends.
func (m *Merged) Close() error {
	err := m.root.Close()
	if m.at != "" {
		err = errors.Join(err, Unmount(m.at), os.Remove(m.at))
		m.at = ""
	}
	return err
}

func fdPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// kernelLog reads what the kernel has to say about a failed fsconfig.
func kernelLog(fs *os.File) string {
	var out []string
	buf := make([]byte, 512)
	for len(out) < 8 {
		n, err := unix.Read(int(fs.Fd()), buf)
		if err != nil || n <= 0 {
			break
		}
		out = append(out, string(bytes.TrimSpace(buf[:n])))
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, "; ") + ")"
}
