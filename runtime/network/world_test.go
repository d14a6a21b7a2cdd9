package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cove/runtime/store"
)

// worldVar names the network namespace in which the test binary began again:
// it is the host of all tests here, and has no way out.
const worldVar = "COVE_TEST_NETWORK"

func TestMain(m *testing.M) {
	if os.Geteuid() == 0 {
		if err := leaveNetwork(); err != nil {
			fmt.Fprintln(os.Stderr, "a network namespace for the tests:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func leaveNetwork() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil || os.Getenv(worldVar) == here {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	if err := prepareInside(); err != nil {
		return err
	}
	if here, err = os.Readlink("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), worldVar+"="+here))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ip runs ip(8) in a network namespace; nil is the host's.
func ip(t testing.TB, ns *os.File, line string) {
	t.Helper()
	args := append([]string{"ip"}, strings.Fields(line)...)
	if ns != nil {
		args = append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), ns.Fd())}, args...)
	}
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func nft(t testing.TB, line string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "nft", strings.Fields(line)...).CombinedOutput(); err != nil {
		t.Fatalf("nft %s: %v\n%s", line, err, out)
	}
}

func newNS(t testing.TB) *os.File {
	t.Helper()
	made := make(chan *os.File)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = prepareInside()
		}
		ns, oerr := os.Open("/proc/thread-self/ns/net")
		if err = errors.Join(err, oerr); err != nil {
			t.Error(err)
		}
		made <- ns
	}()
	ns := <-made
	if ns == nil {
		t.FailNow()
	}
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

// world is what is around the host: the internet behind its default route,
// where the metadata of a cloud is too, and a LAN. Everything in it listens on
// port 80 and 53 and says who it is.
type world struct {
	t             testing.TB
	internet, lan *os.File
}

const (
	webV4, webV6   = "198.51.100.10", "2001:db8:100::10"
	lanV4, lanV6   = "192.168.77.10", "fd77::10"
	nearV6         = "2001:db8:77::10" // on the LAN, by its public address
	metaV4, metaV6 = "169.254.169.254", "fd00:ec2::254"
	hostWAN4       = "203.0.113.2"
	hostWAN6       = "2001:db8:1::2"
	hostLAN4       = "192.168.77.1"
	hostLAN6       = "fd77::1"
	resolverV4     = "192.168.77.53" // on the LAN
)

func newWorld(t testing.TB) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	w := &world{t: t, internet: newNS(t), lan: newNS(t)}
	ip(t, nil, fmt.Sprintf("link add wan0 type veth peer name up0 netns /proc/%d/fd/%d", os.Getpid(), w.internet.Fd()))
	ip(t, nil, fmt.Sprintf("link add lan0 type veth peer name eth0 netns /proc/%d/fd/%d", os.Getpid(), w.lan.Fd()))
	t.Cleanup(func() {
		for _, l := range []string{"wan0", "lan0"} {
			_ = exec.CommandContext(context.Background(), "ip", "link", "del", l).Run()
		}
	})
	for _, l := range []string{
		"addr add " + hostWAN4 + "/24 dev wan0", "addr add " + hostWAN6 + "/64 dev wan0 nodad", "link set wan0 up",
		"addr add " + hostLAN4 + "/24 dev lan0", "addr add " + hostLAN6 + "/64 dev lan0 nodad", "addr add 2001:db8:77::1/64 dev lan0 nodad", "link set lan0 up",
		"route add default via 203.0.113.1", "-6 route add default via 2001:db8:1::1",
	} {
		ip(t, nil, l)
	}
	for _, l := range []string{
		"addr add 203.0.113.1/24 dev up0", "addr add 2001:db8:1::1/64 dev up0 nodad", "link set up0 up",
		"addr add " + webV4 + "/32 dev lo", "addr add " + webV6 + "/128 dev lo nodad",
		"addr add " + metaV4 + "/32 dev lo", "addr add " + metaV6 + "/128 dev lo nodad",
		"addr add 10.9.9.9/32 dev lo",
	} {
		ip(t, w.internet, l)
	}
	for _, l := range []string{
		"addr add " + resolverV4 + "/24 dev eth0", "addr add " + lanV4 + "/24 dev eth0", "addr add " + lanV6 + "/64 dev eth0 nodad", "addr add " + nearV6 + "/64 dev eth0 nodad", "link set eth0 up",
		"route add default via " + hostLAN4,
	} {
		ip(t, w.lan, l)
	}
	w.serve(w.internet, "internet")
	w.serve(w.lan, "lan")
	w.serve(nil, "host")
	return w
}

// serve answers on port 80 of TCP, and on port 53 of both, in a namespace.
func (w *world) serve(ns *os.File, name string) {
	w.t.Helper()
	var web, dns net.Listener
	var udp net.PacketConn
	open := func() (err error) {
		if web, err = net.Listen("tcp", ":80"); err != nil {
			return err
		}
		if dns, err = net.Listen("tcp", ":53"); err != nil {
			return err
		}
		udp, err = net.ListenPacket("udp", ":53")
		return err
	}
	if ns == nil {
		must(w.t, open())
	} else {
		must(w.t, inNS(ns, open))
	}
	w.t.Cleanup(func() { _, _, _ = web.Close(), dns.Close(), udp.Close() })
	for _, l := range []net.Listener{web, dns} {
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, name)
				_ = c.Close()
			}
		}()
	}
	go func() {
		buf := make([]byte, 1<<12)
		for {
			n, who, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(append(buf[:min(n, 12)], name...), who)
		}
	}()
}

// outcome is what became of one attempt.
type outcome string

const (
	refused outcome = "refused"
	silent  outcome = "silent"
)

// reach tries to reach an address and port by TCP from a namespace: it gives
// the name of what answers.
func reach(t testing.TB, ns *os.File, addr string, port int) outcome {
	t.Helper()
	var got outcome
	must(t, inNS(ns, func() error {
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(port)).String(), 2*time.Second)
		if err != nil {
			got = refused
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				got = silent
			}
			return nil
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		b, err := io.ReadAll(c)
		got = outcome(b)
		if err != nil {
			got = silent
		}
		return nil
	}))
	return got
}

// ask sends a datagram to port 53 and gives who answers.
func ask(t testing.TB, ns *os.File, addr string) outcome {
	t.Helper()
	got := silent
	must(t, inNS(ns, func() error {
		c, err := net.DialTimeout("udp", netip.AddrPortFrom(netip.MustParseAddr(addr), 53).String(), time.Second)
		if err != nil {
			got = refused
			return nil
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		question := []byte{7, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		if _, err := c.Write(question); err != nil {
			got = refused
			return nil
		}
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		switch {
		case err == nil && n > 12:
			got = outcome(buf[12:n])
		case errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH):
			got = refused
		}
		return nil
	}))
	return got
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
	must(t, os.WriteFile(resolv, []byte("nameserver "+resolverV4+"\n"), 0o600))
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
