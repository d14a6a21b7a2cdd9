package mount

import (
	"container/list"
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// IDMaps makes and keeps [IDMap]s, one per base, so that the same range of ids
// costs a fork only once. It holds at most a bounded number; the longest
// unused go first. All methods may be called by any goroutine.
type IDMaps struct {
	limit int
	make  func(uint32) (*IDMap, error)
	queue chan uint32
	stop  chan struct{}
	done  chan struct{}

	mu      sync.Mutex
	entries map[uint32]*idmapEntry
	used    *list.List // of *idmapEntry, the last used in front
	closed  bool
}

type idmapEntry struct {
	base  uint32
	ready chan struct{} // closed once m or err is set
	m     *IDMap
	err   error
	place *list.Element
}

// NewIDMaps returns an empty set that holds at most limit maps (at least one),
// and starts the goroutine that serves [IDMaps.Prepare]; Close ends it.
func NewIDMaps(limit int) *IDMaps { return newIDMaps(limit, newIDMap) }

func newIDMaps(limit int, mk func(uint32) (*IDMap, error)) *IDMaps {
	limit = max(limit, 1)
	s := &IDMaps{
		limit:   limit,
		make:    mk,
		queue:   make(chan uint32, limit),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
		entries: map[uint32]*idmapEntry{},
		used:    list.New(),
	}
	go s.serve()
	return s
}

func (s *IDMaps) serve() {
	defer close(s.done)
	for {
		select {
		case <-s.stop:
			return
		case base := <-s.queue:
			// What fails here fails again, with someone to tell, in Get.
			if m, err := s.Get(context.Background(), base); err == nil {
				_ = m.Close()
			}
		}
	}
}

// Prepare has the maps of these bases made in the background, so that a later
// Get finds them ready (5 µs in place of a fork). It never waits; what does
// not fit into the queue is left to Get.
func (s *IDMaps) Prepare(bases ...uint32) {
	for _, b := range bases {
		select {
		case s.queue <- b:
		default:
			return
		}
	}
}

// Get returns the map of base, which the caller closes. Errors: those of the
// kernel, wrapping [ErrNoIDMap] where it refuses user namespaces; [ErrClosed];
// ctx's, while another caller makes the same map.
func (s *IDMaps) Get(ctx context.Context, base uint32) (*IDMap, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, fmt.Errorf("id maps: %w", ErrClosed)
	}
	e, ok := s.entries[base]
	if !ok {
		e = &idmapEntry{base: base, ready: make(chan struct{})}
		s.entries[base] = e
		s.mu.Unlock()
		m, err := s.make(base)
		return s.made(e, m, err)
	}
	s.mu.Unlock()
	select {
	case <-e.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.err != nil {
		return nil, e.err
	}
	if e.place == nil { // evicted, or closed, since it was ready
		if s.closed {
			return nil, fmt.Errorf("id maps: %w", ErrClosed)
		}
		return s.make(base)
	}
	s.used.MoveToFront(e.place)
	return e.m.dup()
}

// made puts a new map into the set and returns a copy for the caller.
func (s *IDMaps) made(e *idmapEntry, m *IDMap, err error) (*IDMap, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(e.ready)
	if err == nil && s.closed {
		_ = m.Close()
		err = fmt.Errorf("id maps: %w", ErrClosed)
	}
	if err != nil {
		e.err = err
		delete(s.entries, e.base)
		return nil, err
	}
	e.m = m
	e.place = s.used.PushFront(e)
	for s.used.Len() > s.limit {
		s.drop(s.used.Back())
	}
	return m.dup()
}

func (s *IDMaps) drop(el *list.Element) {
	e, ok := s.used.Remove(el).(*idmapEntry)
	if !ok {
		return
	}
	e.place = nil
	delete(s.entries, e.base)
	_ = e.m.Close()
}

// Close ends the goroutine and closes what is kept. Maps handed out by Get
// stay good until their own Close.
func (s *IDMaps) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.used.Len() > 0 {
		s.drop(s.used.Back())
	}
	return nil
}

func (m *IDMap) dup() (*IDMap, error) {
	fd, err := unix.FcntlInt(m.ns.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("dup user namespace: %w", err)
	}
	return &IDMap{ns: os.NewFile(uintptr(fd), m.ns.Name()), base: m.base}, nil
}
