package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/cgroup"
	"cove/runtime/disk"
	"cove/runtime/frame"
	"cove/runtime/guest"
	"cove/runtime/mount"
	"cove/runtime/network"
	"cove/runtime/rootfs"
	"cove/runtime/volume"
)

// machine is what outlives a Manager: the processes, the control groups, the
// leases, the mounts. Processes are real, in user namespaces of their own, and
// PID 1 answers on a real socket; everything else is kept in maps.
type machine struct {
	t *testing.T

	mu      sync.Mutex
	procs   map[string]*proc
	groups  map[string]bool
	mounted map[string]bool
	leases  map[uint32]string
	frozen  map[string]bool
	next    uint32
	// policies are those in force, by sandbox.
	policies map[string]network.Policy
	// limits are those in force and uses is what is in use, by sandbox.
	limits map[string]config.Resources
	uses   map[string]config.Resources
	// held, where it is set, is closed by the next change of memory, which then
	// waits until it is cancelled.
	held chan struct{}
	// until, where it is set, is what it waits for too.
	until chan struct{}
	// fake are the disks, as the daemon that lives now has them.
	fake *fakeDisks
	// space is the host's disk, works says in which sandboxes a program goes on.
	space disk.Space
	works map[string]bool
	// stuck: nothing stands still that is to be frozen.
	stuck bool
	// archiving, where it is set, is called while an archive is made.
	archiving func(context.Context)
	// asked, where it is set, is called when it is next asked how often the kernel
	// has killed for memory.
	asked func(id string)
	// layers is the store, of the daemon that lives now.
	layers *rootfs.Layers
	// boom fails the named driver call.
	boom map[string]error

	time clock
	// used and bytes are what sandboxes have used, by their ids; sessions are
	// their terminal sessions, and deaf those whose PID 1 does not tell.
	used     map[string]time.Duration
	bytes    map[string]int64
	sessions map[string][]guest.SessionInfo
	deaf     map[string]bool
}

// proc is one sandbox's PID 1.
type proc struct {
	cmd      *exec.Cmd
	listener net.Listener
	done     chan struct{}
	mu       sync.Mutex
	ready    bool
	thawed   chan struct{} // while it is frozen; closed when it is thawed
}

func newMachine(t *testing.T) *machine {
	m := &machine{
		t: t, procs: map[string]*proc{}, groups: map[string]bool{}, mounted: map[string]bool{}, leases: map[uint32]string{}, policies: map[string]network.Policy{},
		limits: map[string]config.Resources{}, uses: map[string]config.Resources{}, frozen: map[string]bool{}, boom: map[string]error{}, time: newClock(), works: map[string]bool{}, space: disk.Space{Total: 100 << 30, Free: 50 << 30},
		used: map[string]time.Duration{}, bytes: map[string]int64{}, sessions: map[string][]guest.SessionInfo{}, deaf: map[string]bool{}, next: 1 << 30,
	}
	t.Cleanup(func() {
		for id := range m.procs {
			m.end(id)
		}
	})
	return m
}

func (m *machine) fails(call string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boom[call]
}

// end kills a sandbox's processes, as the kernel ends a pid namespace.
func (m *machine) end(id string) {
	m.mu.Lock()
	p := m.procs[id]
	delete(m.procs, id)
	delete(m.frozen, id)
	m.mu.Unlock()
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.listener.Close()
	<-p.done
}

// Mount and what follows implement the drivers.
func (m *machine) Mount(_ context.Context, dir, target string, _ uint32, _ rootfs.Base) error {
	if err := m.fails("mount"); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "upper", "root")); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mounted[target] = true
	return os.MkdirAll(target, 0o711)
}

// Commit is the real one.
func (m *machine) Commit(_ context.Context, dir, _, layer string) error {
	if err := m.fails("commit"); err != nil {
		return err
	}
	return m.layers.Take(dir, layer)
}

func (m *machine) Ready() bool { return true }

func (m *machine) Settle(context.Context, string) error { return nil }

func (m *machine) View(ctx context.Context, dir, target string, b rootfs.Base) error {
	return m.Mount(ctx, dir, target, 0, b)
}

func (m *machine) Prepare(context.Context) error { return nil }

func (m *machine) Generation() string { return "g" }

func (m *machine) Detach(string) error { return nil }

func (m *machine) MountCow(context.Context, string, string, uint32, *mount.Tree, string) (*mount.Merged, error) {
	return nil, errors.New("there are no files here to make an overlay on")
}

func (m *machine) Unmount(dir, target string) error {
	m.fake.close(filepath.Base(dir))
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.mounted, target)
	return os.RemoveAll(target)
}

func (m *machine) Write(dir string, in BundleInput) error {
	m.mu.Lock()
	m.limits[in.ID] = in.Spec.Resources
	m.mu.Unlock()
	return os.WriteFile(filepath.Join(dir, "userns"), []byte(in.UserNS), 0o600)
}

func (m *machine) Create(_ context.Context, id, bundle string, listener *os.File) (int, error) {
	if err := m.fails("create"); err != nil {
		return 0, err
	}
	userNS, err := os.ReadFile(filepath.Join(bundle, "userns"))
	if err != nil {
		return 0, err
	}
	l, err := net.FileListener(listener)
	if err != nil {
		return 0, err
	}
	cmd := exec.Command("nsenter", "--user="+string(userNS), "/bin/sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	// It is in there when it has become sleep.
	for comm := ""; comm != "sleep\n"; {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		if err != nil {
			return 0, err
		}
		comm = string(data)
		time.Sleep(100 * time.Microsecond)
	}
	p := &proc{cmd: cmd, listener: l, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	go p.serve(func() (guest.Reply, bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		return guest.Reply{Sessions: m.sessions[id]}, !m.deaf[id]
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.procs[id], m.groups[id] = p, true
	return cmd.Process.Pid, nil
}

func (m *machine) Start(context.Context, string) error { return m.fails("start") }
func (m *machine) Forget(string) error                 { return nil }

// serve is PID 1's side of the protocol.
func (p *proc) serve(sessions func() (guest.Reply, bool)) {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.answer(conn, sessions)
	}
}

func (p *proc) answer(conn net.Conn, sessions func() (guest.Reply, bool)) {
	defer conn.Close()
	p.mu.Lock()
	if thawed := p.thawed; thawed != nil {
		p.mu.Unlock()
		select {
		case <-thawed:
		case <-p.done:
			return
		}
		p.mu.Lock()
	}
	hello, _ := json.Marshal(guest.Hello{Version: guest.ProtocolVersion, Ready: p.ready, Boot: "b"})
	p.mu.Unlock()
	if _, err := conn.Write(frame.Append(nil, frame.Hello, hello)); err != nil {
		return
	}
	_, body, err := frame.NewReader(conn).Next()
	var r guest.Request
	if err != nil || json.Unmarshal(body, &r) != nil {
		return
	}
	reply, _ := json.Marshal(guest.Reply{})
	switch r.Kind {
	case guest.Configure:
		p.mu.Lock()
		p.ready = true
		p.mu.Unlock()
	case guest.Sessions:
		list, ok := sessions()
		if !ok {
			return
		}
		reply, _ = json.Marshal(list)
	case guest.Shutdown:
		_, _ = conn.Write(frame.Append(nil, frame.Reply, reply))
		_ = p.cmd.Process.Kill()
		<-p.done
		return
	}
	_, _ = conn.Write(frame.Append(nil, frame.Reply, reply))
}

func (m *machine) Make(string) error { return nil }

func (m *machine) OCIPath(id string) string                                    { return "/cove-test/" + id }
func (m *machine) Warnings(config.Resources) []string                          { return nil }
func (m *machine) SetIO(string, cgroup.Device, config.Size, config.Size) error { return m.fails("io") }
func (m *machine) LiftIO(string) error                                         { return nil }

func (m *machine) OOMKills(id string) (uint64, error) {
	m.mu.Lock()
	asked := m.asked
	m.asked = nil
	m.mu.Unlock()
	if asked != nil {
		asked(id)
	}
	return 0, nil
}

func (m *machine) Kill(_ context.Context, id string) error { m.end(id); return nil }

func (m *machine) Thaw(_ context.Context, id string) error { return m.freezer(id, false) }

func (m *machine) Freeze(ctx context.Context, id string) error {
	m.mu.Lock()
	stuck := m.stuck
	m.mu.Unlock()
	if stuck {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return m.freezer(id, true)
}

// freezer stops PID 1, with which its side of the protocol is silent too.
func (m *machine) freezer(id string, freeze bool) error {
	call, signal := "thaw", syscall.SIGCONT
	if freeze {
		call, signal = "freeze", syscall.SIGSTOP
	}
	if err := m.fails(call); err != nil {
		return err
	}
	m.mu.Lock()
	p := m.procs[id]
	if m.frozen[id] = freeze; !freeze || p == nil {
		delete(m.frozen, id)
	}
	m.mu.Unlock()
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.thawed != nil && !freeze {
		close(p.thawed)
		p.thawed = nil
	} else if p.thawed == nil && freeze {
		p.thawed = make(chan struct{})
	}
	return p.cmd.Process.Signal(signal)
}

func (m *machine) Frozen(id string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.frozen[id], nil
}

func (m *machine) Remove(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.groups, id)
	delete(m.limits, id)
	delete(m.uses, id)
	return nil
}

func (m *machine) List() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := make([]string, 0, len(m.groups))
	for id := range m.groups {
		ids = append(ids, id)
	}
	return ids, nil
}

func (m *machine) Take(_ context.Context, sandbox string) (network.Namespaces, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next += 65536
	m.leases[m.next] = sandbox
	return network.NewNamespaces(m.next)
}

func (m *machine) Connect(_ context.Context, sandbox string, ns *os.File, p network.Policy) error {
	if err := m.fails("connect"); err != nil {
		return err
	}
	if _, err := ns.Stat(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.policies[sandbox] = p
	return nil
}

func (m *machine) Disconnect(sandbox string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.policies, sandbox)
	return nil
}

func (m *machine) Adopt(_ context.Context, running map[string]network.Running) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.policies = map[string]network.Policy{}
	for id, r := range running {
		m.policies[id] = r.Policy
	}
	return nil
}

func (m *machine) Drain(context.Context) error { return nil }
func (m *machine) Pooled(uint32) bool          { return false }

func (m *machine) Strays(known func(string) bool) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var strays []string
	for id := range m.policies {
		if !known(id) {
			strays = append(strays, "policy of "+id)
		}
	}
	return strays, nil
}

func (m *machine) Own(base uint32, _ int, _ uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leases[base] == "" {
		return fmt.Errorf("no lease from %d", base)
	}
	return nil
}

func (m *machine) Release(base uint32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.leases, base)
	return nil
}

func (m *machine) Mine() (map[uint32]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	mine := make(map[uint32]string, len(m.leases))
	for b, id := range m.leases {
		mine[b] = id
	}
	return mine, nil
}

// cove is a machine with the directories of one instance, through the lives of
// several Managers.
type cove struct {
	*machine
	dir, boot string
	gpus      GPUs // nil: none
	m         *Manager
	// dieAt is the stage at which the next operation's goroutine ends, as if
	// the daemon were killed there.
	dieAt string
	died  chan struct{} // closed when that happens
	// onStage, where it is set, is called at every stage.
	onStage    func(name string)
	timed      bool // its clocks and counters are the test's
	processors Processors
	device     func() (cgroup.Device, error)
	// steps are what goes on inside while time passes.
	steps []func(time.Duration)
}

func newCove(t *testing.T) *cove { return coveOf(t, false) }

// newTimed is one whose clocks stand still unless the test moves them.
func newTimed(t *testing.T) *cove { return coveOf(t, true) }

func coveOf(t *testing.T, timed bool) *cove {
	if os.Geteuid() != 0 {
		t.Skip("user namespaces with many ids, and files of other owners, need root")
	}
	c := &cove{machine: newMachine(t), dir: t.TempDir(), boot: "boot-1", timed: timed}
	c.open()
	t.Cleanup(func() { c.abandon() })
	return c
}

func (c *cove) open() {
	c.t.Helper()
	state, run := filepath.Join(c.dir, "state"), filepath.Join(c.dir, "run")
	for _, d := range []string{state, run} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			c.t.Fatal(err)
		}
	}
	var err error
	if c.layers, err = rootfs.OpenLayers(context.Background(), state, run); err != nil {
		c.t.Fatal(err)
	}
	opt := Options{
		StateDir: state, RunDir: run, Inst: "0test0", BootID: c.boot,
		Rootfs: c, Layers: c.layers, Disks: c.disks(), Runner: c, Cgroups: c, Limiter: c, Leases: c, Network: c, Bundler: c, Volumes: volume.New(volume.Options{}),
		Space: c.hostSpace, CPUTimer: c, Processors: c.processors, IODevice: c.device,
		OnStage: func(_, stage string) { c.stage(stage) },
		GPUs:    c.gpus, Archiver: c,
	}
	if c.timed {
		opt.Now, opt.Clock = func() time.Time { return c.time.now().Wall }, c.time.now
		opt.CPUTimer, opt.NetworkCounter = c, c
	}
	m, err := Open(context.Background(), opt)
	if err != nil {
		c.t.Fatal(err)
	}
	c.m = m
}

// abandon is kill -9 as seen from inside: nothing is finished, nothing tidied.
func (c *cove) abandon() {
	c.m.automation.cancel()
	<-c.m.automation.done
	c.m.mu.Lock()
	boxes := make([]*box, 0, len(c.m.boxes))
	for _, b := range c.m.boxes {
		boxes = append(boxes, b)
	}
	c.m.mu.Unlock()
	for _, b := range boxes {
		b.mu.Lock()
		if b.watch != nil {
			b.watch.cancel()
		}
		b.mu.Unlock()
	}
	c.m.cancel(errDied)
	c.m.wg.Wait()
	_ = c.m.bus.close()
	_ = c.m.links.Close()
}

var _ Rootfs = (*machine)(nil)
