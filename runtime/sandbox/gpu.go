package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cove/config"
	"cove/runtime/gpu"
)

// readLimit is how long a list of GPUs waits for what they do.
const readLimit = 3 * time.Second

// GPU is a device of the machine's and who holds it.
type GPU struct {
	gpu.Device
	Use gpu.Use
	// Holders are the names of those sandboxes that hold it, or a part of it, and
	// that the caller may see; Held is how many do. Shared says that they share it.
	Holders []string
	Held    int
	Shared  bool
}

// GPUUse is what a device that a sandbox holds does.
type GPUUse struct {
	ID string // its CDI name
	gpu.Use
}

// GPUError is why a sandbox does not get the devices that it asks for.
type GPUError struct {
	Message, Hint string // what is wrong, and what to do
	// Absent says that this machine has no such devices; else others hold them, or
	// they cannot be used as the machine is now.
	Absent bool
	Err    error
}

func (e *GPUError) Error() string { return e.Message }
func (e *GPUError) Unwrap() error { return e.Err }

// gpuClaims are the devices that sandboxes hold, by sandbox. The next daemon has
// them from the running records.
type gpuClaims struct {
	mu   sync.Mutex
	held map[string][]gpu.Claim
	// kept are sandboxes that are stopped to be started again; true where what
	// they hold was given back meanwhile.
	kept map[string]bool
}

// of gives what the sandbox holds.
func (g *gpuClaims) of(id string) []gpu.Claim {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held[id]
}

// adopt notes what a sandbox holds that a daemon before started.
func (g *gpuClaims) adopt(id string, claims []gpu.Claim) {
	if len(claims) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil {
		g.held = map[string][]gpu.Claim{}
	}
	g.held[id] = claims
}

// give has the sandbox hold nothing any more.
func (g *gpuClaims) give(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, kept := g.kept[id]; kept {
		g.kept[id] = true
		return
	}
	delete(g.held, id)
}

// keep has the sandbox hold what it holds until letGo: nobody else gets it while
// the sandbox is stopped to be started again. letGo is told whether it was.
func (g *gpuClaims) keep(id string) (letGo func(started bool)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.kept == nil {
		g.kept = map[string]bool{}
	}
	g.kept[id] = false
	return func(started bool) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.kept[id] && !started {
			delete(g.held, id)
		}
		delete(g.kept, id)
	}
}

// take picks devices with what the others hold, and has the sandbox hold them.
func (g *gpuClaims) take(id string, devices []gpu.Device, r gpu.Request) ([]gpu.Device, []gpu.Claim, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	picked, err := gpu.Select(devices, r, g.holds(id))
	if err != nil {
		return nil, nil, err
	}
	claims := make([]gpu.Claim, 0, len(picked))
	for i := range picked {
		claims = append(claims, picked[i].Claim(r.Shared))
	}
	if g.held == nil {
		g.held = map[string][]gpu.Claim{}
	}
	g.held[id] = claims
	return picked, claims, nil
}

// holds are all claims but those of one sandbox, in an order that stays. The
// caller holds g.mu.
func (g *gpuClaims) holds(but string) []gpu.Hold {
	var holds []gpu.Hold
	for id, claims := range g.held {
		for _, c := range claims {
			if id != but {
				holds = append(holds, gpu.Hold{Holder: id, Claim: c})
			}
		}
	}
	slices.SortFunc(holds, func(a, b gpu.Hold) int {
		return cmp.Or(cmp.Compare(a.Holder, b.Holder), cmp.Compare(a.Claim.ID, b.Claim.ID))
	})
	return holds
}

// takeGPUs has the sandbox hold the devices that its Spec asks for, if any.
// Errors are *[GPUError].
func (m *Manager) takeGPUs(ctx context.Context, rec record) ([]gpu.Device, []gpu.Claim, error) {
	r := rec.Spec.Resources
	if r.GPU.Count == 0 && len(r.GPU.IDs) == 0 {
		return nil, nil, nil
	}
	var inv gpu.Inventory
	if m.opt.GPUs != nil {
		inv = m.opt.GPUs.Devices(ctx)
	}
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	devices, claims, err := m.gpus.take(rec.ID, inv.Devices, gpu.Request{Count: r.GPU.Count, IDs: r.GPU.IDs, Shared: r.GPUShared, Last: rec.GPUs})
	var unknown *gpu.UnknownError
	var held *gpu.HeldError
	switch {
	case errors.As(err, &unknown):
		hint := "cove gpu ls tells which there are"
		switch {
		case len(inv.Problems) > 0:
			hint = fmt.Sprintf("%s is not used: %s", inv.Problems[0].Source, inv.Problems[0].Why)
		case len(inv.Devices) == 0:
			hint = "cove doctor tells where it was looked for"
		}
		err = &GPUError{Message: unknown.Error(), Hint: hint, Absent: true, Err: err}
	case errors.As(err, &held):
		err = &GPUError{Message: m.heldBy(held, rec.Owner), Hint: heldHint(held, r.GPUShared), Err: err}
	}
	return devices, claims, err
}

// heldBy says in words which devices are held, and by whom as far as owner may
// know.
func (m *Manager) heldBy(e *gpu.HeldError, owner int) string {
	var parts []string
	for i := range e.Held {
		h := &e.Held[i]
		names, foreign := m.holders(h.Holders, Caller{UID: owner})
		switch {
		case foreign == 1:
			names = append(names, "a sandbox of another user")
		case foreign > 1:
			names = append(names, fmt.Sprintf("%d sandboxes of other users", foreign))
		}
		verb := "held"
		if h.Shared {
			verb = "shared"
		}
		parts = append(parts, fmt.Sprintf("%s is %s by %s", h.Device.String(), verb, strings.Join(names, " and ")))
	}
	text := strings.Join(parts, ", ")
	switch {
	case e.Want > 1 && e.Free == 0:
		return fmt.Sprintf("%d GPUs are asked for and none is free: %s", e.Want, text)
	case e.Want > 1 && e.Free == 1:
		return fmt.Sprintf("%d GPUs are asked for and 1 is free: %s", e.Want, text)
	case e.Want > 1:
		return fmt.Sprintf("%d GPUs are asked for and %d are free: %s", e.Want, e.Free, text)
	}
	return text
}

func heldHint(e *gpu.HeldError, shared bool) string {
	all := !slices.ContainsFunc(e.Held, func(h gpu.HeldDevice) bool { return !h.Shared })
	switch {
	case shared:
		return "stop that sandbox first; it does not share"
	case all:
		return "with gpu_shared = true it can be shared"
	}
	return "stop that sandbox first"
}

// holders are the names of sandboxes as far as the caller may see them, and how
// many others there are.
func (m *Manager) holders(ids []string, c Caller) (names []string, foreign int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		b := m.boxes[id]
		if b == nil {
			foreign++
			continue
		}
		rec := b.record()
		if !c.Sees(rec.Owner) {
			foreign++
			continue
		}
		names = append(names, rec.Name)
	}
	slices.Sort(names)
	return slices.Compact(names), foreign
}

// GPUs lists the machine's GPUs, what they do and who holds them. It waits some
// seconds at most.
func (m *Manager) GPUs(ctx context.Context, c Caller) []GPU {
	list := []GPU{}
	if m.opt.GPUs == nil {
		return list
	}
	inv := m.opt.GPUs.Devices(ctx)
	if len(inv.Devices) == 0 {
		return list
	}
	wait, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	m.opt.GPUs.Await(wait)
	m.gpus.mu.Lock()
	holds := m.gpus.holds("")
	m.gpus.mu.Unlock()
	claims := make([]gpu.Claim, len(inv.Devices))
	for i := range inv.Devices {
		claims[i] = inv.Devices[i].Claim(false)
	}
	uses := m.opt.GPUs.Use(claims)
	for i, d := range inv.Devices {
		g := GPU{Device: d, Use: uses[i], Shared: true}
		var ids []string
		for j := range holds {
			if h := &holds[j]; h.Claim.Takes(&d) {
				ids, g.Shared = append(ids, h.Holder), g.Shared && h.Claim.Shared
			}
		}
		ids = slices.Compact(ids)
		g.Held, g.Shared = len(ids), g.Shared && len(ids) > 0
		g.Holders, _ = m.holders(ids, c)
		list = append(list, g)
	}
	return list
}

// gpuUse is what the sandbox's devices do.
func (m *Manager) gpuUse(id string) []GPUUse {
	claims := m.gpus.of(id)
	if len(claims) == 0 || m.opt.GPUs == nil {
		return nil
	}
	var list []GPUUse
	for i, u := range m.opt.GPUs.Use(claims) {
		list = append(list, GPUUse{ID: claims[i].ID, Use: u})
	}
	return list
}

// prepareGPUs makes the devices ready for the sandbox. What it makes the release
// of the sandbox takes away.
func (m *Manager) prepareGPUs(id string, base uint32, devices []gpu.Device) (gpu.Edits, error) {
	if len(devices) == 0 {
		return gpu.Edits{}, nil
	}
	edits, err := m.opt.GPUs.Prepare(m.deviceDir(id), base, devices)
	var stale *gpu.StaleError
	if errors.As(err, &stale) {
		return edits, &GPUError{Message: stale.Error(), Hint: "load its driver (nvidia-modprobe -u, say), or have its CDI file made anew", Err: err}
	}
	if err != nil {
		return edits, fmt.Errorf("prepare the GPU: %w", noSpace(err))
	}
	return edits, nil
}

// detachGPUs takes the nodes of devices out of the daemon's tree of mounts.
func (m *Manager) detachGPUs(id string) error {
	if m.opt.GPUs == nil {
		return nil
	}
	return m.opt.GPUs.Detach(m.deviceDir(id))
}

func (m *Manager) deviceDir(id string) string { return filepath.Join(m.runDir(id), "devices") }

// claimNames are the CDI names of what is held.
func claimNames(claims []gpu.Claim) []string {
	var names []string
	for _, c := range claims {
		names = append(names, c.ID)
	}
	return names
}

// lastGPUs are the names by which a sandbox's devices are found again.
func lastGPUs(claims []gpu.Claim) []string {
	var names []string
	for _, c := range claims {
		names = append(names, cmp.Or(c.UUID, c.ID))
	}
	return names
}

// gpuLeaks are claims of sandboxes of which nothing runs.
func (m *Manager) gpuLeaks(running map[string]bool) []string {
	m.gpus.mu.Lock()
	defer m.gpus.mu.Unlock()
	var leaks []string
	for _, h := range m.gpus.holds("") {
		if !running[h.Holder] {
			leaks = append(leaks, fmt.Sprintf("%s held for %s", h.Claim.ID, h.Holder))
		}
	}
	return leaks
}

// asAbsent makes devices that this machine does not have a fault of the request.
func asAbsent(err error) error {
	var e *GPUError
	if !errors.As(err, &e) || !e.Absent {
		return err
	}
	return &InvalidError{Problems: []config.Problem{{Key: "resources.gpu", Message: e.Message, Hint: e.Hint}}, Unsupported: true}
}
