package network

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"

	"cove/runtime/network/nettest"
	"cove/runtime/store"
)

// The test binary's own network namespace is the host of all tests here.
func TestMain(m *testing.M) {
	if os.Geteuid() == 0 {
		if err := nettest.Leave(); err != nil {
			fmt.Fprintln(os.Stderr, "a network namespace for the tests:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func must(t testing.TB, err error) {
	t.Helper()
	nettest.Must(t, err)
}

// side is one instance: its driver and directories.
type side struct {
	t    testing.TB
	o    Options
	d    *Driver
	uids *store.UIDLeases
}

func newSide(t testing.TB, inst string) *side {
	t.Helper()
	bin := os.Getenv("COVE_BIN")
	if bin == "" {
		bin = filepath.Join("..", "..", "bin")
	}
	holder, err := filepath.Abs(filepath.Join(bin, "cove-init"))
	must(t, err)
	if _, err := os.Stat(holder); err != nil {
		t.Skipf("build first (make build): %v", err)
	}
	dir := t.TempDir()
	boot, err := store.BootID()
	must(t, err)
	for _, d := range []string{"state", "run", "leases"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o700))
	}
	s := &side{t: t}
	leases := filepath.Join(dir, "leases")
	s.uids, err = store.OpenUIDLeases(leases, inst, filepath.Join(dir, "state"), boot)
	must(t, err)
	resolv := filepath.Join(dir, "resolv.conf")
	must(t, os.WriteFile(resolv, []byte("nameserver "+nettest.Resolver+"\n"), 0o600))
	s.o = Options{
		Inst: inst, Boot: boot, StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), LeaseDir: leases,
		Holder: holder, UIDs: s.uids, resolvers: []string{resolv},
	}
	s.open(nil)
	t.Cleanup(func() {
		if s.d != nil {
			must(t, s.d.Close())
		}
		if _, err := netlink.LinkByName(linkName(inst, 0)); err == nil {
			t.Error("the uplink is left")
		}
	})
	return s
}

func (s *side) open(running map[string]Running) {
	s.t.Helper()
	var err error
	s.d, err = New(s.t.Context(), s.o)
	must(s.t, err)
	must(s.t, s.d.Adopt(s.t.Context(), running))
}

// box gives namespaces with a policy, and a process that stands for a sandbox.
func (s *side) box(id string, p Policy) (*os.File, int) {
	s.t.Helper()
	ns, err := s.d.Take(s.t.Context(), id)
	must(s.t, err)
	must(s.t, s.d.Connect(s.t.Context(), id, ns.Net, p))
	cmd := exec.CommandContext(context.Background(), "nsenter", fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), ns.Net.Fd()), "sleep", "1000")
	must(s.t, cmd.Start())
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if s.d != nil {
			must(s.t, s.d.Disconnect(id))
		}
		_ = ns.Close()
		must(s.t, s.uids.Release(ns.UIDBase))
	})
	return ns.Net, cmd.Process.Pid
}
