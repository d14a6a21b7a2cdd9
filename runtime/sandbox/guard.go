package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/disk"
	"cove/runtime/doctor"
)

// The guard keeps sandboxes from filling the host's disk: a reserve stays free.
// Below it those that write are held, frozen where they are, until there is room
// again, and no new ones start. So no sandbox sees the end of the host's disk,
// which on a disk image would be an I/O error, and neither does the host.
const (
	// fastest is how many bytes a second nothing writes. It and the distance to
	// the reserve say how long the guard may look away.
	fastest = 8 << 30
	// The guard looks at least every guardWriting while anything writes and no
	// sooner than guardSoon after the last time; while nothing does, less and less
	// often, from guardNear up to guardIdle.
	guardSoon    = 5 * time.Millisecond
	guardNear    = 20 * time.Millisecond
	guardWriting = 250 * time.Millisecond
	guardIdle    = 10 * time.Second
	// quietTime is for how long something counts as writing after it did.
	quietTime = 5 * time.Second
	// writingLeast is what must be gone between two looks for somebody to write.
	writingLeast = 64 << 10
	// lowInterval is how often it looks while the disk is nearly full, and
	// some sandbox may write or is held.
	lowInterval = 100 * time.Millisecond
	// gatherEvery is how often, while it is, what was deleted is given back.
	gatherEvery = 5 * time.Second
	// watchWriters is for how long sandboxes are watched to see who does anything,
	// where they were not watched before: when the reserve was as near as
	// watchBefore, unless there are more than watchMost.
	watchWriters = 5 * time.Millisecond
	watchBefore  = 100 * time.Millisecond
	watchMost    = 64
)

// Reserve is what is kept free of a file system of that many bytes, where the
// settings say nothing: a twentieth, at least 4 GiB; but of a small one no more
// than a tenth; but at least 256 MiB, what the fastest write until they stand
// still; but of a tiny one no more than a quarter.
func Reserve(total int64) int64 {
	return max(total/20, min(4<<30, max(total/10, min(256<<20, total/4))))
}

// LowDiskError is what a start is refused with while the host's disk is nearly
// full. It is an [ErrNoSpace].
type LowDiskError struct {
	Dir     string // the state directory
	Space   disk.Space
	Reserve int64
}

func (e *LowDiskError) Error() string {
	if few(e.Space, e.Reserve) {
		return fmt.Sprintf("the host's disk has nearly as many files as it can: %s of its inodes are free where %s is, and %s are kept free; nothing starts until some are deleted",
			percent(e.Space.FreeInodes, e.Space.Inodes), e.Dir, percent(e.Reserve, e.Space.Total))
	}
	return fmt.Sprintf("the host's disk is nearly full: %s of %s are free where %s is, and %s are kept free; nothing starts until there is room",
		sizeText(e.Space.Free), sizeText(e.Space.Total), e.Dir, sizeText(e.Reserve))
}

// Is makes errors.Is(err, ErrNoSpace) hold.
func (e *LowDiskError) Is(target error) bool { return target == ErrNoSpace }

// sizeText is a size for people: "3.9 GiB".
func sizeText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	if i == 0 || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// HostDisk is the file system of the state directory. Sizes are in bytes.
type HostDisk struct {
	disk.Space
	// Reserve is kept free; Low says that less is free, or was until just now.
	Reserve int64
	Low     bool
	// Promised is what all quotas together could still take.
	Promised int64
}

type guard struct {
	m *Manager
	// wake has it look at once.
	wake chan struct{}

	mu  sync.Mutex
	low bool
	// trouble is what it cannot do, in words.
	trouble string
	// holding is how many lots of sandboxes are being held.
	holding atomic.Int32

	// Of the goroutine that looks alone.
	room   int64 // at the last look, which was at
	at     time.Time
	wrote  time.Time // when somebody was last seen to write
	calm   time.Duration
	lastOK bool
	// gathered is when what was deleted was last given back; gathering says that
	// it goes on.
	gathered  time.Time
	gathering atomic.Bool
	// seen is the processor time of sandboxes at the last look, where they were
	// watched then.
	seen map[string]time.Duration
}

func newGuard(m *Manager) *guard { return &guard{m: m, wake: make(chan struct{}, 1), lastOK: true} }

// poke tells that something may begin to write.
func (g *guard) poke() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// adopt takes over who was held by an earlier daemon: they are let go only when there
// is as much room as they would have waited for then.
func (g *guard) adopt() {
	for _, b := range g.m.all() {
		if b.isHeld() != "" {
			g.low = true
		}
	}
}

// guardNice is how the thread that looks stands among others (setpriority(2)): the
// machine is busiest when somebody fills its disk, and a look that comes late
// comes too late. It starts no other thread or process, which would inherit it.
const guardNice = -15

// run looks until the Manager closes.
func (g *guard) run() {
	runtime.LockOSThread() // for good: it ends with its goroutine
	if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), guardNice); err != nil {
		g.m.log.Debug("the guard of the host's disk has no priority", "error", err)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-g.wake:
		case <-g.m.ctx.Done():
			return
		}
		timer.Reset(g.look())
	}
}

// measure gives the file system, and what of it is free beyond the reserve when
// all that was written has its place.
func (g *guard) measure() (s disk.Space, reserve, room int64, err error) {
	if g.m.opt.Space != nil {
		s, err = g.m.opt.Space()
	} else {
		s, err = disk.SpaceAt(g.m.opt.StateDir)
	}
	if err != nil {
		return s, 0, 0, fmt.Errorf("measure the host's disk: %w", err)
	}
	if reserve = Reserve(s.Total); g.m.opt.DiskReserve > 0 {
		// Of a disk that is smaller something must be left to use.
		reserve = min(g.m.opt.DiskReserve, s.Total/2)
	}
	room = s.Free - g.m.unwritten(s.Free, reserve+slack(reserve)) - reserve
	return s, reserve, min(room, inodeSpace(s)-reserve), nil
}

// inodeSpace is what is free by the number of files that can still be made, as if each
// took its part of the file system: of inodes the same part is kept free.
func inodeSpace(s disk.Space) int64 {
	if s.Inodes <= 0 {
		return s.Total
	}
	return int64(float64(s.FreeInodes) / float64(s.Inodes) * float64(s.Total))
}

// few tells whether it is files that the disk is nearly full of.
func few(s disk.Space, reserve int64) bool { return inodeSpace(s) < reserve+slack(reserve) }

// percent is a part for people: "4.2%".
func percent(n, of int64) string { return fmt.Sprintf("%.1f%%", float64(n)*100/float64(max(of, 1))) }

// unwritten is what was written on disk images and has no place on the host yet, at
// most. Where free is less than enough all that, it is looked at more closely.
func (m *Manager) unwritten(free, enough int64) int64 {
	var images int64
	var on []string
	for _, b := range m.all() {
		b.mu.Lock()
		if r := b.rec.Spec.Resources; b.run != nil && r.Disk > 0 && !r.DiskReserve {
			images += int64(r.Disk)
			on = append(on, b.id)
		}
		b.mu.Unlock()
	}
	if images == 0 {
		return 0
	}
	all, err := disk.Unwritten()
	if err != nil {
		all = images // without /proc nothing here would run
	}
	most := min(all, images)
	if m.opt.Unwritten == nil || free-most >= enough || len(on) > watchMost {
		return most
	}
	// Of the machine's some may be others'.
	var theirs int64
	for _, id := range on {
		n, err := m.opt.Unwritten.Unwritten(id)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return most
		}
		theirs += n
	}
	return min(theirs, most)
}

// slack is by how much more than the reserve must be free for the disk not to be
// low any more: who goes on writing is not held again at once.
func slack(reserve int64) int64 { return reserve / 4 }

// isShort tells whether there was less room than the reserve at the last look.
func (g *guard) isShort() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.low
}

// isLow tells whether the disk is low with that room, and remembers it.
func (g *guard) isLow(reserve, room int64) (low, before bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before = g.low
	g.low = room < 0 || before && room < slack(reserve)
	return g.low, before
}

// admit refuses what would write while the disk is low: with a *[LowDiskError].
func (g *guard) admit() error {
	s, reserve, room, err := g.measure()
	if err != nil {
		return nil // who cannot be told from a full disk meets it by itself
	}
	g.mu.Lock()
	low := room < 0 || g.low && room < slack(reserve)
	g.mu.Unlock()
	if low {
		g.poke()
		return &LowDiskError{Dir: g.m.opt.StateDir, Space: s, Reserve: reserve}
	}
	return nil
}

// leave is what whoever sets space aside must leave: with less, or a little more, all
// would be held for it.
func (g *guard) leave() int64 {
	s, reserve, room, err := g.measure()
	if err != nil {
		return 0 // see admit
	}
	return s.Free - room + slack(reserve)
}

// look does what there is to do now, and says when to look again.
func (g *guard) look() time.Duration {
	s, reserve, room, err := g.measure()
	if err != nil {
		if g.lastOK {
			g.m.log.Error("cannot keep the host's disk from filling", "error", err)
		}
		g.lastOK = false
		g.say(err.Error())
		return guardWriting
	}
	g.lastOK = true
	fell := g.room - room
	g.room, g.at = room, g.m.now()
	low, before := g.isLow(reserve, room)
	if low != before {
		g.m.log.Warn("the host's disk", "low", low, "free", s.Free, "reserve", reserve)
	}
	if !low {
		return g.relax(room, fell)
	}
	if !before {
		g.m.trash.again()
	}
	g.m.kept.empty()
	g.gather()
	all := room < -reserve/2
	return g.hold(holdText(s, reserve, all), all, !before || fell > writingLeast)
}

// holdText is why a sandbox is held; all says that those are that do nothing.
func holdText(s disk.Space, reserve int64, all bool) string {
	if few(s, reserve) {
		return fmt.Sprintf("the host's disk has nearly as many files as it can, less than %s of its inodes are free: it goes on by itself when there are more", percent(reserve, s.Total))
	}
	little := ""
	if all {
		little = ", so little that all sandboxes stand still"
	}
	return fmt.Sprintf("the host's disk is nearly full, less than %s of %s is free%s: it goes on by itself when there is room", sizeText(reserve), sizeText(s.Total), little)
}

// gather has what was deleted on disk images given back to the host, apart from the
// looking: it writes first. There is some time between one round and the next.
func (g *guard) gather() {
	now := g.m.now()
	if now.Sub(g.gathered) < gatherEvery || g.gathering.Load() {
		return
	}
	g.gathered = now
	var on []*box
	for _, b := range g.m.all() {
		b.mu.Lock()
		if b.run != nil && b.rec.Spec.Resources.Disk > 0 {
			on = append(on, b)
		}
		b.mu.Unlock()
	}
	g.gathering.Store(true)
	g.m.wg.Go(func() {
		defer g.gathering.Store(false)
		for _, b := range on {
			if err := g.m.opt.Disks.Trim(g.m.ctx, b.id); err != nil && !errors.Is(err, disk.ErrNotOpen) {
				g.m.log.Warn("could not give back what was deleted on a disk", "sandbox", b.id, "error", err)
			}
		}
		g.poke()
	})
}

// relax lets go of whom is held, and says when to look again with that much room.
func (g *guard) relax(room, fell int64) time.Duration {
	var held, run []*box
	for _, b := range g.m.all() {
		b.mu.Lock()
		if b.held != "" {
			held = append(held, b)
		}
		if b.run != nil {
			run = append(run, b)
		}
		b.mu.Unlock()
	}
	g.seen = nil
	err := eachBox(held, func(b *box) error { return g.m.letGo(g.m.ctx, b) })
	g.tell("let go of", err)
	if err != nil {
		return guardWriting
	}
	if len(run) == 0 {
		return time.Hour // a start wakes the guard
	}
	wait := time.Duration(float64(room) / fastest * float64(time.Second))
	if fell > writingLeast {
		g.wrote, g.calm = g.at, guardWriting
	}
	if d := g.at.Sub(g.wrote); d < 0 || d >= quietTime {
		g.calm = min(2*max(g.calm, guardWriting), guardIdle)
		return max(min(wait, g.calm), guardNear)
	}
	if wait < watchBefore && len(run) <= watchMost {
		g.seen = g.cpuTimes(run)
	}
	return max(min(wait, guardWriting), guardSoon)
}

// hold freezes those who write, where someone does; all where little is left.
func (g *guard) hold(why string, all, someone bool) time.Duration {
	var free []*box
	busy := false
	for _, b := range g.m.all() {
		b.mu.Lock()
		if b.holdable() {
			free = append(free, b)
		}
		busy = busy || b.held != "" || b.run != nil
		b.mu.Unlock()
	}
	if !all && someone {
		free = g.writers(free)
	}
	if all || someone {
		g.holdAll(free, why)
	}
	switch {
	case !busy:
		return guardIdle // only to tell when it is over
	case someone && len(free) <= watchMost:
		return guardNear // there may be others, or one that waited for the disk
	}
	return lowInterval
}

// writers are those of the sandboxes that may be writing. Nobody does so without
// processor time; whose cannot be told may.
func (g *guard) writers(boxes []*box) []*box {
	if len(boxes) == 0 || g.m.opt.CPUTimer == nil {
		return boxes
	}
	before := g.seen
	if before == nil {
		before = g.cpuTimes(boxes)
		select {
		case <-time.After(watchWriters):
		case <-g.m.ctx.Done():
			return nil
		}
	}
	g.seen = nil
	now := g.cpuTimes(boxes)
	var found []*box
	for _, b := range boxes {
		was, known := before[b.id]
		if n := now[b.id]; !known || n < 0 || n != was {
			found = append(found, b)
		}
	}
	return found
}

// cpuTimes is the processor time that sandboxes have used; -1 where it cannot be told.
func (g *guard) cpuTimes(boxes []*box) map[string]time.Duration {
	used := make(map[string]time.Duration, len(boxes))
	if g.m.opt.CPUTimer == nil {
		return used
	}
	for _, b := range boxes {
		n, err := g.m.opt.CPUTimer.CPUTime(b.id)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			n = 0 // it has ended
		case err != nil:
			n = -1
		}
		used[b.id] = n
	}
	return used
}

// tell keeps what went wrong for whom asks the daemon, and logs it once.
func (g *guard) tell(what string, err error) {
	if err == nil || g.m.ctx.Err() != nil {
		g.say("")
		return
	}
	if g.say(fmt.Sprintf("could not %s a sandbox for the host's disk: %v", what, err)) {
		g.m.log.Error("could not keep to the reserve of the host's disk", "what", what, "error", err)
	}
}

// say is true when it is news.
func (g *guard) say(text string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	news := text != g.trouble
	g.trouble = text
	return news
}

// warnings are what the guard has to tell, in words.
func (g *guard) warnings() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.trouble == "" {
		return nil
	}
	return []string{g.trouble}
}

// HostDisk measures the file system that holds all sandboxes.
func (m *Manager) HostDisk() (HostDisk, error) {
	s, reserve, room, err := m.guard.measure()
	if err != nil {
		return HostDisk{}, err
	}
	m.guard.mu.Lock()
	low := room < 0 || m.guard.low && room < slack(reserve)
	m.guard.mu.Unlock()
	return HostDisk{Space: s, Reserve: reserve, Low: low, Promised: m.promised()}, nil
}

// promised is what all quotas together could still take of the host's disk.
func (m *Manager) promised() int64 {
	if m.opt.Disks == nil {
		return 0
	}
	var sum int64
	for _, b := range m.all() {
		if u, err := m.opt.Disks.Usage(b.id); err == nil {
			sum += max(u.Quota-u.Host, 0)
		}
	}
	return sum
}

// check is what doctor says of the host's disk.
func (g *guard) check() doctor.Check {
	d, err := g.m.HostDisk()
	c := doctor.Check{Name: "the host's disk", OK: err == nil && !d.Low}
	if err != nil {
		c.Detail = err.Error()
		return c
	}
	c.Detail = fmt.Sprintf("%s of %s free, %s kept free", sizeText(d.Free), sizeText(d.Total), sizeText(d.Reserve))
	if few(d.Space, d.Reserve) {
		c.Detail += fmt.Sprintf("; %s of its inodes free", percent(d.FreeInodes, d.Inodes))
	}
	if d.Low {
		c.Detail += ": sandboxes that write are held, and none starts; make room"
	}
	return c
}

// eachBox does f for all side by side, but not too many.
func eachBox(boxes []*box, f func(*box) error) error {
	slots := make(chan struct{}, adopters)
	errs := make([]error, len(boxes))
	var wg sync.WaitGroup
	for i, b := range boxes {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = f(b)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
