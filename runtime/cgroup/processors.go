package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
)

// Processors decides on which of the machine's processors each sandbox runs, so
// that what programs count is what they may use: a limit of 1.5 cores makes two
// processors. Sets are chosen so that each processor has about the same number
// of promised cores, and chosen anew when sandboxes come, go and change; those of
// others move only where it is needed. Its methods may be called by any goroutine.
type Processors struct {
	tree *Tree
	sys  string

	mu sync.Mutex
	// placed are the claims, by sandbox.
	placed map[string]claim
	// shown is what onMove was told last.
	shown  map[string]string
	onMove func(id, list string)
	// apart and threads are what was read of the machine, which stays so.
	apart   []int
	threads map[int]int
}

// Processors returns the instance's, with nothing placed; nil where the host
// gives us no cpuset controller. It is right once [Tree.Delegate] was called.
func (t *Tree) Processors() *Processors {
	if !t.Has("cpuset") {
		return nil
	}
	return &Processors{
		tree: t, sys: "/sys", placed: map[string]claim{}, shown: map[string]string{}, onMove: func(string, string) {}, threads: map[int]int{},
	}
}

// Adopt takes over the sandboxes that run, by the cores that each was promised:
// their sets stay as they are in force, and are mended where they do not fit. From then on onMove is
// told the processors of a sandbox whenever they are others than before, as a
// list ("0-2,5"), all there are where it has no set. It is called with a lock held: it must not
// wait for long, nor call back. Called once, before the first Place.
func (p *Processors) Adopt(running map[string]float64, onMove func(id, list string)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onMove = onMove
	var errs []error
	for id, cores := range running {
		c := claim{id: id, cores: cores}
		list, err := p.tree.CPUs(id)
		if err == nil {
			c.set, err = parseList(list)
		}
		if err != nil && !isGone(err) {
			errs = append(errs, err)
		}
		p.placed[id] = c
	}
	return errors.Join(append(errs, p.settle())...)
}

// Place chooses the processors of a sandbox that may use so many cores, 0 for
// all: of one that is about to start, see [Processors.Put], or of one that runs
// and may use more or fewer now. It fails where a set could not be put in force,
// and stands all the same: the next that is placed puts it in force.
func (p *Processors) Place(id string, cores float64) error {
	if err := checkID(id); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.placed[id]
	c.id, c.cores = id, cores
	p.placed[id] = c
	return p.settle()
}

// Put puts the set of a sandbox in force, once it has a group and before its
// first instruction.
func (p *Processors) Put(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.placed[id]
	if !ok || c.set == nil {
		return nil
	}
	return p.tree.SetCPUs(id, formatList(c.set))
}

// Leave takes a sandbox out that has ended, and spreads the others anew. One that
// is not placed is no error.
func (p *Processors) Leave(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.placed[id]; !ok {
		return nil
	}
	delete(p.placed, id)
	delete(p.shown, id)
	return p.settle()
}

// settle spreads all claims and puts in force what has changed. A group that is
// not there has ended, or gets its set by Put.
func (p *Processors) settle() error {
	all, err := p.usable()
	if err != nil {
		return err
	}
	claims := make([]claim, 0, len(p.placed))
	for _, c := range p.placed {
		c.set = slices.Clone(c.set)
		claims = append(claims, c)
	}
	spread(all, claims)
	slices.Sort(all)
	everything := formatList(all)
	var errs []error
	for _, c := range claims {
		before := p.placed[c.id].set
		if !slices.Equal(before, c.set) {
			if err := p.tree.SetCPUs(c.id, formatList(c.set)); err != nil && !isGone(err) {
				errs = append(errs, err)
				c.set = before // tried again by the next
			}
		}
		p.placed[c.id] = c
		list := everything
		if c.set != nil {
			list = formatList(c.set)
		}
		if p.shown[c.id] != list {
			p.shown[c.id] = list
			p.onMove(c.id, list)
		}
	}
	return errors.Join(errs...)
}

// Sets are the processors of every sandbox that has a set of its own.
func (p *Processors) Sets() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	sets := map[string]string{}
	for id, c := range p.placed {
		if c.set != nil {
			sets[id] = formatList(c.set)
		}
	}
	return sets
}

// usable are the processors that sandboxes may run on now: those in force for
// the instance's group, less those that the machine's administrator has set apart
// (isolcpus). The first threads of all cores come before the second ones, so
// that two processors are two cores where there are any.
func (p *Processors) usable() ([]int, error) {
	h, _ := p.tree.with("cpuset")
	file := "cpuset.effective_cpus"
	if h.V2 {
		file = "cpuset.cpus.effective"
	}
	// On v1 the OCI runtime makes our group, with the first sandbox.
	data, err := readFile(filepath.Join(h.Path, p.tree.top(), file))
	if errors.Is(err, fs.ErrNotExist) {
		data, err = readFile(filepath.Join(h.Path, p.tree.layout.Parent, file))
	}
	var all []int
	if err == nil {
		all, err = parseList(string(data))
	}
	if err != nil {
		return nil, fmt.Errorf("find the processors: %w", err)
	}
	if left := slices.DeleteFunc(slices.Clone(all), p.setApart); len(left) > 0 {
		all = left
	}
	slices.SortStableFunc(all, func(a, b int) int { return p.thread(a) - p.thread(b) })
	return all, nil
}

// setApart tells whether a processor takes part in no balancing, as the kernel
// was told at its start.
func (p *Processors) setApart(n int) bool {
	if p.apart == nil {
		data, err := os.ReadFile(filepath.Join(p.sys, "devices/system/cpu/isolated"))
		if err == nil {
			p.apart, err = parseList(string(data))
		}
		if err != nil || p.apart == nil {
			p.apart = []int{}
		}
	}
	return slices.Contains(p.apart, n)
}

// thread is which of its core's threads a processor is, 0 for the first. One that
// is not told of is a core.
func (p *Processors) thread(n int) int {
	rank, ok := p.threads[n]
	if !ok {
		data, err := os.ReadFile(filepath.Join(p.sys, "devices/system/cpu/cpu"+strconv.Itoa(n), "topology/thread_siblings_list"))
		if err == nil {
			if siblings, err := parseList(string(data)); err == nil {
				rank = max(0, slices.Index(siblings, n))
			}
		}
		p.threads[n] = rank
	}
	return rank
}
