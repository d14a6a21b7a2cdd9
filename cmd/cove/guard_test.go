package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// smallHost is a cove whose state directory has a file system of its own, of that
// many MiB, and that file system as a directory that the test itself can open.
// It is mounted in a mount namespace of this host's: nothing else that starts on
// the machine meanwhile takes it along. It is in memory, so that what is written is
// not slowed down by the machine's own disk.
func smallHost(t *testing.T, mib int64) (h *host, small string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	bin := binDir(t)
	base, err := os.MkdirTemp("", "cove-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(base); err != nil {
			t.Errorf("remove the test's directory: %v", err)
		}
	})
	if err := os.Chmod(base, 0o711); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-ec", fmt.Sprintf(`cd %s
		mkdir -m 711 ram small
		mount -t tmpfs -o mode=0700 none ram
		truncate -s %dM ram/image
		mkfs.ext4 -q -m 0 ram/image
		mount -o loop ram/image small
		echo mounted
		exec sleep 1000`, base, mib))
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var word string
	if _, err := fmt.Fscan(out, &word); err != nil {
		t.Fatalf("mount a small file system: %v", err)
	}
	// What the test keeps open keeps the mounts.
	open := func(path string) *os.File {
		f, err := os.Open(fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, path))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	mounts, dir := open("ns/mnt"), open("root"+filepath.Join(base, "small"))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	h = hostAt(t, bin, base, filepath.Join(base, "small", "state"))
	h.mounts = mounts
	t.Cleanup(h.leave)
	return h, fmt.Sprintf("/proc/self/fd/%d", dir.Fd())
}

func (h *host) disk() api.HostDisk {
	h.t.Helper()
	c, err := api.New(filepath.Join(h.run, "cove.sock")).Status(h.t.Context())
	if err != nil || c.Disk == nil {
		h.t.Fatalf("status: %+v, %v", c, err)
	}
	return *c.Disk
}

func isHeld(h *host, name string) bool { return h.inspect(name).Held != "" }

// ballast has a file in dir take all but that much.
func (h *host) ballast(dir string, leave int64) (name string) {
	h.t.Helper()
	name = filepath.Join(dir, "ballast")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, st.Size()+h.disk().Free-leave); err != nil {
		h.t.Fatalf("fill the disk: %v", err)
	}
	return name
}

// writes has the sandbox write a file at 200 MB/s, where the machine can, and then
// its exit status into /tmp/wrote.
func (h *host) writes(name string, mib int64) {
	h.t.Helper()
	h.must("exec", name, "--", "sh", "-c", fmt.Sprintf(
		`(n=0 s=0; while [ $n -lt %d ]; do dd if=/dev/zero of=$HOME/big bs=1M count=20 seek=$n conv=notrunc 2> /tmp/dd; s=$?; [ $s = 0 ] || break; n=$((n+20)); sleep 0.05; done
		echo $s > /tmp/status; mv /tmp/status /tmp/wrote) > /dev/null 2>&1 &`, mib))
}

// TestReserve is a disk of 600 MiB that a sandbox fills as fast as it can.
func TestReserve(t *testing.T) {
	for _, quota := range []string{"0", "2GiB"} {
		t.Run(quota, func(t *testing.T) { testReserve(t, 600, quota) })
	}
}

func testReserve(t *testing.T, mib int64, quota string) {
	h, small := smallHost(t, mib)
	h.must("create", "-p", "shell", "-n", "writer", "--disk", quota)
	h.must("create", "-p", "shell", "-n", "idle")
	before := h.disk()
	if before.Low || before.Reserve != before.Total/4 {
		t.Fatalf("at first: %+v", before)
	}
	h.writes("writer", 2*mib)
	begin := time.Now()
	h.eventually("the hold", func() bool { return isHeld(h, "writer") })
	took := time.Since(begin)
	// What was written has its place now, on an image too.
	pid := h.inspect("writer").Running.Pid
	writeBack(t, fmt.Sprintf("/proc/%d/root/home/dev", pid))
	writeBack(t, small)
	after := h.disk()
	t.Logf("held after %v, %d MiB; free %d MiB of a reserve of %d MiB", took, (before.Free-after.Free)>>20, after.Free>>20, after.Reserve>>20)
	if !after.Low || after.Free < after.Reserve/2 {
		t.Errorf("after the hold: %+v", after)
	}
	switch why := h.inspect("idle").Held; {
	case strings.Contains(why, "so little that all sandboxes stand still"):
		// The machine was so slow to look that half the reserve was gone.
		t.Logf("all are held: %s", why)
	case why != "":
		t.Errorf("one that does nothing is held: %s", why)
	default:
		if got := h.must("exec", "idle", "--", "echo", "here"); got != "here\n" {
			t.Errorf("in one that does nothing: %q", got)
		}
	}
	// Everybody is told.
	if out, stderr, _ := h.cove("ls"); !strings.Contains(out, "started, held") || !strings.Contains(stderr, "writer stands still: the host's disk is nearly full") {
		t.Errorf("ls:\n%s%s", out, stderr)
	}
	if out := h.must("daemon", "status"); !strings.Contains(out, "nearly full") {
		t.Errorf("daemon status:\n%s", out)
	}
	if out, _, code := h.cove("doctor"); code != 1 || !strings.Contains(out, "FAIL the host's disk") {
		t.Errorf("doctor, status %d:\n%s", code, out)
	}
	for _, c := range [][]string{{"create", "-p", "shell", "-n", "new"}, {"restart", "writer"}} {
		h.refuse(1, []string{"nearly full", "MiB are free", "kept free", "make room"}, c...)
	}
	h.refuse(1, []string{"writer", "held", "nearly full"}, "exec", "writer", "--", "true")
	h.must("stop", "idle")
	h.refuse(1, []string{"nearly full", "make room"}, "start", "idle")

	// Held through the daemon's death.
	h.kill()
	h.must("daemon", "start")
	if d := h.inspect("writer"); d.Held == "" || d.State != lifecycle.Started {
		t.Errorf("after the daemon's death: %s, held %q", d.State, d.Held)
	}
	// Paused and resumed it is still held.
	h.must("pause", "writer")
	h.must("resume", "writer")
	if !isHeld(h, "writer") {
		t.Error("resumed, it is not held")
	}

	// There is room: it goes on where it was, and never saw an error. The rest of
	// what it writes does not fit, so room is made again and again.
	wrote := func() string {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/root/tmp/wrote", pid))
		return string(data)
	}
	holds := 0
	// Punched out from outside, as nothing inside can: it is frozen.
	punch := func() {
		t.Helper()
		f, err := os.OpenFile(fmt.Sprintf("/proc/%d/root/home/dev/big", pid), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 2<<30); err != nil {
			t.Fatal(err)
		}
	}
	for late := time.Now().Add(2 * time.Minute); wrote() == ""; {
		if time.Now().After(late) {
			t.Fatal("it does not come to its end")
		}
		if !isHeld(h, "writer") {
			continue
		}
		holds++
		punch()
		h.eventually("the thaw", func() bool { return !isHeld(h, "writer") })
	}
	said, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/tmp/dd", pid))
	if wrote() != "0\n" {
		t.Errorf("it ended with %q, and says %q, %v", wrote(), said, err)
	}
	t.Logf("held %d times: %s", holds, said)

	// Who is held can be stopped, and deleted. There is to be room enough without
	// the ballast: a little above the reserve is still low.
	punch()
	h.eventually("the thaw", func() bool { return !isHeld(h, "writer") })
	for _, end := range [][]string{{"stop", "writer"}, {"rm", "--now", "writer"}} {
		name := h.ballast(small, before.Reserve*11/10)
		h.writes("writer", 2*mib)
		// On a slow machine it may write on for too long, and is ended for that.
		h.eventually("the hold", func() bool { return isHeld(h, "writer") || h.inspect("writer").State == lifecycle.Stopped })
		h.must(end...)
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if end[0] == "stop" {
			// No event tells of it: nobody is held.
			for deadline := time.Now().Add(time.Minute); h.disk().Low; <-time.After(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("no room came about: %+v", h.disk())
				}
			}
			h.must("start", "writer")
			h.must("exec", "writer", "--", "sh", "-c", "rm -f ~/big")
		}
	}
}

func writeBack(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
}

// TestReserveOfInodes is a sandbox without a disk that makes as many empty files as
// it can: they take no space, but without inodes nobody makes any more.
func TestReserveOfInodes(t *testing.T) {
	h, _ := smallHost(t, 600)
	h.must("create", "-p", "shell", "-n", "writer")
	if d := h.disk(); d.Low || d.Inodes == 0 || d.InodesFree > d.Inodes {
		t.Fatalf("at first: %+v", d)
	}
	h.must("exec", "writer", "--", "sh", "-c", "(i=0; while : > $HOME/$i; do i=$((i+1)); done) > /dev/null 2>&1 &")
	h.eventually("the hold", func() bool { return isHeld(h, "writer") })
	d := h.disk()
	t.Logf("held with %d of %d inodes free", d.InodesFree, d.Inodes)
	if !d.Low || d.InodesFree < d.Inodes/8 || d.Free < 2*d.Reserve {
		t.Errorf("after the hold: %+v", d)
	}
	h.refuse(1, []string{"of its inodes are free"}, "create", "-p", "shell")
	h.must("rm", "writer")
	h.eventually("the end of it", func() bool { return !h.disk().Low })
	h.must("create", "-p", "shell", "-n", "next")
}

// TestSetAsideKeepsReserve: a disk that is set aside does not take what is kept free,
// for which everybody else would be held.
func TestSetAsideKeepsReserve(t *testing.T) {
	h, _ := smallHost(t, 600)
	sized := func(mib int64) string {
		return h.profile("aside", fmt.Sprintf("extends = \"shell\"\n[resources]\ndisk = \"%dMiB\"\ndisk_reserve = true\n", mib))
	}
	h.must("daemon", "start")
	d := h.disk()
	profile := sized((d.Free - d.Reserve/2) >> 20)
	h.refuse(1, []string{"cannot be set aside", "stay so for all"}, "create", "-p", profile)
	if d := h.disk(); d.Low {
		t.Errorf("afterwards: %+v", d)
	}
	profile = sized((d.Free - 2*d.Reserve) >> 20)
	h.must("create", "-p", profile, "-n", "aside")
	if d := h.disk(); d.Low || d.Free > 2*d.Reserve {
		t.Errorf("with one that fits: %+v", d)
	}
}

// TestReserveLongWrites is a sandbox whose threads write two gigabytes each with one
// system call, which no freezer interrupts: it is ended, and the others' disks
// never fail.
func TestReserveLongWrites(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("it takes python3")
	}
	for _, quota := range []string{"0", "1GiB"} {
		t.Run(quota, func(t *testing.T) {
			h, _ := smallHost(t, 1200)
			h.must("create", "-p", "shell", "-n", "writer", "--disk", quota)
			h.must("create", "-p", "shell", "-n", "other", "--disk", "256MiB")
			h.must("exec", "writer", "--", "sh", "-c", `cat > /tmp/w.py <<'END'
import mmap, os, threading
zeros = mmap.mmap(-1, 2047 << 20, prot=mmap.PROT_READ)
def write(i):
    os.write(os.open(os.path.expanduser("~/f%d" % i), os.O_CREAT | os.O_WRONLY), zeros)
for i in range(8):
    threading.Thread(target=write, args=(i,)).start()
END
python3 /tmp/w.py > /tmp/out 2>&1 &`)
			least := h.disk().Free
			h.eventually("the end", func() bool {
				least = min(least, h.disk().Free)
				return h.inspect("writer").State == lifecycle.Stopped
			})
			d := h.inspect("writer")
			t.Logf("ended, with %d MiB free at least, and %d MiB now", least>>20, h.disk().Free>>20)
			if d.Reason == nil || d.Reason.Kind != lifecycle.ReasonDisk {
				t.Errorf("it ended for %v", d.Reason)
			}
			if least == 0 {
				t.Error("the host's disk was full")
			}
			h.must("rm", "writer")
			h.eventually("room", func() bool { return !h.disk().Low && !isHeld(h, "other") })
			h.must("exec", "other", "--", "dd", "if=/dev/zero", "of=/tmp/file", "bs=1M", "count=100", "conv=fsync")
		})
	}
}
