package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"sort"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// dirRecord is what is known of one directory of /usr. Names are those of
// entries, sorted.
type dirRecord struct {
	// Changed is the directory's change time in nanoseconds when it was read,
	// or 0 when it was so recent that a later change could bear the same time.
	Changed int64
	Mode    uint32
	UID     uint32
	GID     uint32
	MTime   int64
	// Closed: not everyone may list and enter it, so nothing below is known
	// or shown.
	Closed bool
	Hidden []string // files that may not be seen
	Dirs   []string
}

// usrTable is what is known of all directories of /usr, by path below it; "."
// is /usr itself.
type usrTable map[string]*dirRecord

// alwaysHidden are directories of /usr that hold what belongs to this machine
// and its people, whatever their modes.
func alwaysHidden(rel string) bool { return rel == "local/etc" || rel == "home" }

// executableAlone are programs that some distributions install without the
// right to read, and that hold no secret: Fedora's sudo has mode 4111.
func executableAlone(rel string) bool { return rel == "bin/sudo" }

// hides tells whether an entry that is neither a directory nor a symbolic link
// is kept from sandboxes: files that not everyone may read, and everything
// that is no file (a socket would still be connected to the host's server).
func hides(rel string, st *unix.Stat_t) bool {
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return true
	}
	if st.Mode&0o004 != 0 {
		return false
	}
	return !(executableAlone(rel) && st.Uid == 0 && st.Mode&0o001 != 0)
}

// racy is how old a directory's last change must be for its time to tell it
// from the next change; file systems count time in steps of up to a second or
// two (the same rule as git's index).
const racy = 2 * time.Second

// scanner reads directories of a tree that holds one mount and nothing below
// it, in parallel.
type scanner struct {
	ctx  context.Context
	root *os.File
	now  time.Time

	mu    sync.Mutex
	table usrTable
	queue []string
	busy  int
	wake  *sync.Cond
	err   error
}

// scanAll reads every directory below root. It costs one stat per file: about
// 0.4 s of one core per 100,000 files when they are in memory.
func scanAll(ctx context.Context, root *os.File) (usrTable, error) {
	return scanFrom(ctx, root, usrTable{}, []string{"."})
}

// scanFrom reads the directories at paths, and all below them that table does
// not know, into table.
func scanFrom(ctx context.Context, root *os.File, table usrTable, paths []string) (usrTable, error) {
	s := &scanner{ctx: ctx, root: root, now: time.Now(), table: table, queue: paths}
	return s.run()
}

// run works the queue off.
func (s *scanner) run() (usrTable, error) {
	s.wake = sync.NewCond(&s.mu)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 8) {
		wg.Go(s.work)
	}
	wg.Wait()
	if s.err != nil {
		return nil, s.err
	}
	return s.table.reachable(), nil
}

// reachable is the table without directories that no other leads to: what was
// moved away while its parent was read may leave such a record.
func (t usrTable) reachable() usrTable {
	out := make(usrTable, len(t))
	t.walk(func(rel string, rec *dirRecord) { out[rel] = rec })
	return out
}

// walk calls fn for every directory, parents first.
func (t usrTable) walk(fn func(rel string, rec *dirRecord)) {
	todo := []string{"."}
	for len(todo) > 0 {
		rel := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		rec := t[rel]
		if rec == nil {
			continue
		}
		fn(rel, rec)
		for _, d := range rec.Dirs {
			todo = append(todo, path.Join(rel, d))
		}
	}
}

func (s *scanner) work() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.queue) == 0 && s.busy > 0 && s.err == nil {
			s.wake.Wait()
		}
		if len(s.queue) == 0 || s.err != nil {
			return
		}
		rel := s.queue[len(s.queue)-1]
		s.queue = s.queue[:len(s.queue)-1]
		s.busy++
		s.mu.Unlock()
		rec, err := s.read(rel)
		s.mu.Lock()
		s.busy--
		s.add(rel, rec, err)
		s.wake.Broadcast()
	}
}

// add takes what was read of one directory. The lock is held.
func (s *scanner) add(rel string, rec *dirRecord, err error) {
	if err != nil {
		if s.err == nil {
			s.err = err
		}
		return
	}
	if rec == nil { // gone since its parent was read
		return
	}
	if old := s.table[rel]; old != nil {
		for _, d := range old.Dirs {
			if _, still := slices.BinarySearch(rec.Dirs, d); !still {
				s.table.drop(path.Join(rel, d))
			}
		}
	}
	s.table[rel] = rec
	for _, d := range rec.Dirs {
		if p := path.Join(rel, d); s.table[p] == nil {
			s.queue = append(s.queue, p)
		}
	}
}

// drop forgets a directory and all below it.
func (t usrTable) drop(rel string) {
	rec := t[rel]
	if rec == nil {
		return
	}
	delete(t, rel)
	for _, d := range rec.Dirs {
		t.drop(path.Join(rel, d))
	}
}

// read looks at one directory and every entry of it; nil when it is gone.
func (s *scanner) read(rel string) (*dirRecord, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	d, err := mount.OpenWithin(s.root, rel, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		if absent(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("scan /usr: %w", err)
	}
	defer func() { _ = d.Close() }()
	var st unix.Stat_t
	// Before its entries: a change while they are read then shows next time.
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		return nil, fmt.Errorf("scan /usr/%s: %w", rel, err)
	}
	rec := s.record(rel, &st)
	if rec.Closed {
		return rec, nil
	}
	entries, err := d.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("scan /usr/%s: %w", rel, err)
	}
	for _, e := range entries {
		if err := s.entry(d, rel, e, rec); err != nil {
			return nil, err
		}
	}
	sort.Strings(rec.Dirs)
	sort.Strings(rec.Hidden)
	return rec, nil
}

func (s *scanner) record(rel string, st *unix.Stat_t) *dirRecord {
	rec := &dirRecord{
		Changed: st.Ctim.Nano(), Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, MTime: st.Mtim.Nano(),
		Closed: closed(rel, st),
	}
	if s.now.UnixNano()-rec.Changed < int64(racy) {
		rec.Changed = 0
	}
	return rec
}

func closed(rel string, st *unix.Stat_t) bool {
	return rel != "." && (st.Mode&0o005 != 0o005 || alwaysHidden(rel))
}

func (s *scanner) entry(d *os.File, dir string, e os.DirEntry, rec *dirRecord) error {
	name := e.Name()
	kind := e.Type()
	if kind&os.ModeSymlink != 0 {
		return nil // where it leads is decided inside
	}
	if kind.IsDir() {
		rec.Dirs = append(rec.Dirs, name)
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return fmt.Errorf("scan /usr/%s/%s: %w", dir, name, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
	case unix.S_IFDIR:
		rec.Dirs = append(rec.Dirs, name)
	default:
		if hides(path.Join(dir, name), &st) {
			rec.Hidden = append(rec.Hidden, name)
		}
	}
	return nil
}

// recheck brings a table up to date at the cost of one stat per directory:
// what was added to, removed from or renamed in a directory changed its time,
// and so did a new mode of the directory itself. A new mode of a file did not;
// only [scanAll] sees that. The table given is not changed.
func recheck(ctx context.Context, root *os.File, old usrTable) (usrTable, error) {
	table := make(usrTable, len(old))
	var again []string
	// Parents first: while a parent is unchanged, the name of a child leads to
	// the directory that was read.
	todo := []string{"."}
	for len(todo) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		rel := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		rec := old[rel]
		if rec == nil {
			again = append(again, rel)
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstatat(int(root.Fd()), rel, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			if absent(err) {
				continue
			}
			return nil, fmt.Errorf("check /usr/%s: %w", rel, err)
		}
		if st.Ctim.Nano() != rec.Changed || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			again = append(again, rel)
		}
		table[rel] = rec
		for _, d := range rec.Dirs {
			todo = append(todo, path.Join(rel, d))
		}
	}
	return scanFrom(ctx, root, table, again)
}

// hidden lists every path that sandboxes may not see, sorted; nothing below a
// listed directory is listed.
func (t usrTable) hidden() []string {
	var out []string
	t.walk(func(rel string, rec *dirRecord) {
		if rec.Closed {
			out = append(out, rel)
		}
		for _, n := range rec.Hidden {
			out = append(out, path.Join(rel, n))
		}
	})
	sort.Strings(out)
	return out
}
