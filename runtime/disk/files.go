package disk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

const (
	// countAgain is the least age of a count that is made again; it is older where
	// counting takes long: of a hundred seconds at most one goes into one sandbox.
	// So it is for all together, but none waits for longer than countPause behind
	// another that has many files.
	countAgain = 30 * time.Second
	countRest  = 100
	countPause = 5 * time.Second
	// maxCounted is how many files are counted of one sandbox, and maxDepth how
	// deep: the content is hostile. Of one that has more it is not known.
	maxCounted = 2_000_000
	maxDepth   = 256
	countBatch = 512
)

// errTooMany: there is more than is counted.
var errTooMany = errors.New("too many files to count")

// counter counts, in the background and only of who is asked for, what the files of
// sandboxes without a disk occupy: nothing else knows.
type counter struct {
	sandboxes string
	mu        sync.Mutex
	counts    map[string]*count
	queue     chan string
}

// count is what was found.
type count struct {
	bytes int64
	known bool
	at    time.Time // of the end of the last count
	rest  time.Duration
	due   bool // it is in the queue, or being counted
}

func newCounter(sandboxes string) *counter {
	return &counter{sandboxes: sandboxes, counts: map[string]*count{}, queue: make(chan string, 1024)}
}

// Files is what the files of a sandbox that has no disk occupy, in bytes, as they were
// some time ago: to be asked is what has them counted, in the background. It is false
// where that is not known, yet or at all.
func (d *Driver) Files(id string) (int64, bool) {
	c := d.counter
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts[id]
	if n == nil {
		n = &count{}
		c.counts[id] = n
	}
	if !n.due && time.Since(n.at) >= n.rest {
		select {
		case c.queue <- id:
			n.due = true
		default: // the next time
		}
	}
	return n.bytes, n.known
}

// forget drops what is known of a sandbox that may be gone.
func (c *counter) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.counts, id)
}

// run counts until ctx ends.
func (c *counter) run(ctx context.Context) {
	for {
		var id string
		select {
		case id = <-c.queue:
		case <-ctx.Done():
			return
		}
		begin := time.Now()
		bytes, err := c.of(ctx, id)
		pause, again := rests(time.Since(begin))
		c.mu.Lock()
		if n := c.counts[id]; n != nil {
			*n = count{bytes: bytes, known: err == nil, at: time.Now(), rest: again}
		}
		c.mu.Unlock()
		rest := time.NewTimer(pause)
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return
		}
	}
}

// rests are for how long nothing is counted after a count that took so long, and for
// how long that sandbox is not.
func rests(took time.Duration) (all, own time.Duration) {
	return min(countRest*took, countPause), max(countRest*took, countAgain)
}

// of counts what is below the sandbox's upper directories.
func (c *counter) of(ctx context.Context, id string) (int64, error) {
	top, err := os.OpenFile(filepath.Join(c.sandboxes, id), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = top.Close() }()
	w := walk{ctx: ctx, links: map[uint64]bool{}}
	err = w.dir(top, "upper", 0)
	return w.bytes, err
}

// walk is one count under way.
type walk struct {
	ctx   context.Context
	bytes int64
	files int
	links map[uint64]bool // of files with several names those that were met, by inode
}

// dir counts a directory and what is in it. What goes away meanwhile is not there.
func (w *walk) dir(parent *os.File, name string, depth int) error {
	if depth > maxDepth {
		return errTooMany
	}
	d, err := mount.OpenWithin(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOATIME, 0)
	if err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return nil
		}
		return err
	}
	defer func() { _ = d.Close() }()
	for {
		names, err := d.Readdirnames(countBatch)
		if len(names) == 0 {
			return nil // its end, or it is gone
		}
		for _, n := range names {
			if err := w.entry(d, n, depth); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

func (w *walk) entry(d *os.File, name string, depth int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil //nolint:nilerr // it is gone
	}
	if w.files++; w.files > maxCounted {
		return errTooMany
	}
	dir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if !dir && st.Nlink > 1 {
		if w.links[st.Ino] {
			return nil
		}
		w.links[st.Ino] = true
	}
	w.bytes += st.Blocks * 512
	if dir {
		return w.dir(d, name, depth+1)
	}
	return nil
}
