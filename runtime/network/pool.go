package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// PoolOwner stands in leases for the sandbox that there is not yet.
	PoolOwner = "pool"
	// poolSize is how many namespaces are kept ready: they save a create the
	// milliseconds of making them, and each costs some kernel memory.
	poolSize = 4
	// poolPause is how long the pool waits when it could not make one.
	poolPause = time.Minute
	// poolRest is how long a pool that has some left stays as it is: what a
	// new sandbox runs first has the processor to itself.
	poolRest = 100 * time.Millisecond
)

// pool makes namespaces before they are needed.
type pool struct {
	uids UIDLeases
	log  *slog.Logger

	wake chan struct{}
	done chan struct{} // closed when the filler has ended; nil: it never began

	// leasing is held while a range is leased and not yet known here. It comes
	// before mu.
	leasing sync.Mutex

	mu     sync.Mutex
	ready  []Namespaces
	making uint32 // the range that is being made ready, or 0
}

func newPool(uids UIDLeases, log *slog.Logger) *pool {
	return &pool{uids: uids, log: log, wake: make(chan struct{}, 1)}
}

// start begins to fill the pool, until ctx ends.
func (p *pool) start(ctx context.Context) {
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		for ctx.Err() == nil {
			var pause <-chan time.Time
			for p.short() && ctx.Err() == nil {
				if err := p.fill(ctx); err != nil {
					if ctx.Err() == nil {
						p.log.Warn("could not make namespaces ahead of time", "error", err)
					}
					pause = time.After(poolPause)
					break
				}
			}
			select {
			case <-ctx.Done():
			case <-p.wake:
				p.rest(ctx)
			case <-pause:
			}
		}
	}()
}

// rest waits a little, unless the pool is empty.
func (p *pool) rest(ctx context.Context) {
	p.mu.Lock()
	empty := len(p.ready) == 0
	p.mu.Unlock()
	if empty {
		return
	}
	t := time.NewTimer(poolRest)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (p *pool) short() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ready) < poolSize
}

func (p *pool) fill(ctx context.Context) error {
	base, err := p.lease(ctx)
	if err != nil {
		return err
	}
	ns, err := NewNamespaces(base)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.making = 0
	if err != nil {
		return errors.Join(err, p.uids.Release(base))
	}
	p.ready = append(p.ready, ns)
	return nil
}

func (p *pool) lease(ctx context.Context) (uint32, error) {
	p.leasing.Lock()
	defer p.leasing.Unlock()
	base, err := p.uids.Acquire(ctx, PoolOwner)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.making = base
	return base, nil
}

// take gives namespaces of the pool; false when it has none. What is taken is
// made anew when its taker has closed it, and so is done with starting a
// sandbox: making namespaces costs as much as a part of that.
func (p *pool) take() (Namespaces, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ready) == 0 {
		p.refill()
		return Namespaces{}, false
	}
	ns := p.ready[0]
	p.ready = p.ready[1:]
	ns.closed = p.refill
	return ns, true
}

// refill wakes the filler.
func (p *pool) refill() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// has tells whether a range that is leased for the pool is in it.
func (p *pool) has(base uint32) bool {
	p.leasing.Lock()
	defer p.leasing.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ns := range p.ready {
		if ns.UIDBase == base {
			return true
		}
	}
	return base == p.making
}

// close gives back what nobody took. The context of start has ended.
func (p *pool) close() error {
	if p.done != nil {
		<-p.done
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, ns := range p.ready {
		errs = append(errs, ns.Close(), p.uids.Release(ns.UIDBase))
	}
	p.ready = nil
	return errors.Join(errs...)
}

// Take leases a range of uids to a sandbox and gives the namespaces of it. The
// caller closes them, and releases the lease when nothing runs with those uids.
func (d *Driver) Take(ctx context.Context, sandbox string) (Namespaces, error) {
	if ns, ok := d.pool.take(); ok {
		if err := d.o.UIDs.Assign(ns.UIDBase, sandbox); err != nil {
			return Namespaces{}, errors.Join(fmt.Errorf("lease a range of uids: %w", err), ns.Close(), d.o.UIDs.Release(ns.UIDBase))
		}
		return ns, nil
	}
	base, err := d.o.UIDs.Acquire(ctx, sandbox)
	if err != nil {
		return Namespaces{}, fmt.Errorf("lease a range of uids: %w", err)
	}
	ns, err := NewNamespaces(base)
	if err != nil {
		return Namespaces{}, errors.Join(err, d.o.UIDs.Release(base))
	}
	return ns, nil
}
