package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"cove/runtime/guest"
	"cove/runtime/oci"
)

func TestLifeOfAContainer(t *testing.T) {
	r := realRunc(t)
	// A daemon has a strict umask; what is made inside must not suffer.
	old := unix.Umask(0o077)
	t.Cleanup(func() { unix.Umask(old) })
	b := newBox(t, r, nil)
	ctx := t.Context()

	pid, err := r.Create(ctx, b.id, b.bundle, b.listen)
	must(t, err)
	must(t, AssertUserNS(pid, testBase))
	if err := AssertUserNS(pid, testBase+65536); !errors.Is(err, ErrUserNS) {
		t.Errorf("a wrong base: %v", err)
	}
	if err := AssertUserNS(os.Getpid(), testBase); !errors.Is(err, ErrUserNS) {
		t.Errorf("our own process: %v", err)
	}

	state, err := r.State(ctx, b.id)
	must(t, err)
	if state.Status != Created || state.Pid != pid || state.Bundle != b.bundle || state.Annotations[oci.AnnotationID] != b.id {
		t.Errorf("after create: %+v, pid %d", state, pid)
	}
	if _, err := r.Create(ctx, b.id, b.bundle, b.listen); !errors.Is(err, ErrExist) {
		t.Errorf("a second create: %v", err)
	}
	if ids, err := r.List(); err != nil || len(ids) != 1 || ids[0] != b.id {
		t.Errorf("List = %v, %v", ids, err)
	}
	p, err := Watch(pid, 0)
	must(t, err)
	defer func() { _ = p.Close() }()
	rec, err := r.read(b.id)
	must(t, err)
	if rec.StartTime != p.StartTime() {
		t.Errorf("runc's record says it started at %d, the kernel at %d", rec.StartTime, p.StartTime())
	}

	must(t, r.Start(ctx, b.id))
	state, err = r.State(ctx, b.id)
	must(t, err)
	if state.Status != Running || state.Pid != pid {
		t.Errorf("after start: %+v", state)
	}
	if err := r.Start(ctx, b.id); !errors.Is(err, ErrRunning) {
		t.Errorf("a second start: %v", err)
	}
	if err := r.Delete(ctx, b.id); !errors.Is(err, ErrRunning) {
		t.Errorf("delete of a running one: %v", err)
	}
	if err := r.Forget(b.id); !errors.Is(err, ErrRunning) {
		t.Errorf("forget of a running one: %v", err)
	}
	if got := b.look(t)["pid"]; got != "1" {
		t.Errorf("the program answers as pid %q", got)
	}

	must(t, r.Update(ctx, b.id, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(77))}}))
	found := false
	for _, g := range b.groups("/" + b.id) {
		if max, err := os.ReadFile(filepath.Join(g, "pids.max")); err == nil {
			if found = true; strings.TrimSpace(string(max)) != "77" {
				t.Errorf("%s: pids.max = %q after the update", g, max)
			}
		}
	}
	if !found {
		t.Error("no pids.max was found")
	}

	must(t, r.Kill(ctx, b.id, syscall.SIGTERM))
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	exit, err := p.Wait(wait)
	must(t, err)
	if exit != (Exit{Known: true, Code: 42}) && !forgotten(t, exit) {
		t.Errorf("exit = %+v, want status 42", exit)
	}
	if err := r.Kill(ctx, b.id, syscall.SIGTERM); !errors.Is(err, ErrNotRunning) {
		t.Errorf("kill of an ended one: %v", err)
	}
	if err := r.Start(ctx, b.id); !errors.Is(err, ErrNotRunning) && !errors.Is(err, ErrRunning) {
		t.Errorf("start of an ended one: %v", err)
	}
	state, err = r.State(ctx, b.id)
	must(t, err)
	if state.Status != Stopped || state.Pid != 0 {
		t.Errorf("after its end: %+v", state)
	}
	must(t, r.Delete(ctx, b.id))
	must(t, r.Delete(ctx, b.id))
	if left := b.groups("/" + b.id); len(left) != 0 {
		t.Errorf("control groups left by delete: %v", left)
	}
	if _, err := r.State(ctx, b.id); !errors.Is(err, ErrNotExist) {
		t.Errorf("state of none: %v", err)
	}
	if err := r.Start(ctx, b.id); !errors.Is(err, ErrNotExist) {
		t.Errorf("start of none: %v", err)
	}
	if err := r.Kill(ctx, b.id, syscall.SIGTERM); !errors.Is(err, ErrNotExist) {
		t.Errorf("kill of none: %v", err)
	}
}

// What the bundle promises, seen from inside.
func TestConfinement(t *testing.T) {
	r := realRunc(t)
	for name, strict := range map[string]bool{"sudo": false, "no new privileges": true} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, r, func(in *oci.Input, _ *specs.Spec) { in.Spec.NoNewPrivileges = strict })
			_, err := r.Create(t.Context(), b.id, b.bundle, b.listen)
			must(t, err)
			must(t, r.Start(t.Context(), b.id))
			seen := b.look(t)

			const caps = "00000000800405fb" // the eleven of package oci, by linux/capability.h
			oneLine := fmt.Sprintf("0 %d 65536", testBase)
			want := map[string]string{
				"CapBnd": caps, "CapPrm": caps, "CapEff": caps, "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
				"Seccomp": "2", "NoNewPrivs": map[bool]string{false: "0", true: "1"}[strict],
				"hostname": "inside.example", "pid": "1", "procs": "1", "interfaces": "lo:true",
				"/proc/self/oom_score_adj": "0",
				"/proc/timer_list":         "", "/proc/keys": "", "/proc/interrupts": "",
				"/proc/sys/net/ipv4/ip_unprivileged_port_start": "0",
				"write sys": "EROFS", "write cgroup": "EROFS",
				"read-only /run/cove/init": "true", "read-only /proc/sys": "true", "read-only /proc/irq": "true", "read-only /sys": "true",
				"mknod": "EPERM", "mount": "EPERM", "unshare": "EPERM", "pivot_root": "EPERM",
				"raw socket": "EPERM", "packet socket": "EPERM",
				"open allowed node": "ok", "open char node": "EPERM", "open block node": "EPERM",
				"become 65536": "EINVAL",
				"fallocate":    "EOPNOTSUPP", "fallocate, keep size": "EOPNOTSUPP", "fallocate, zeros": "EOPNOTSUPP", "fallocate, punch": "ok",
				"resvsp": "EOPNOTSUPP", "resvsp64": "EOPNOTSUPP", "resvsp, more bits": "EOPNOTSUPP",
				"fionread": "ok", "fsgetxattr": "ok", "no terminal": "ENOTTY",
				"fds": "0:/dev/null 1:/dev/null 2:/dev/null",
				"env": "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root container=cove",
			}
			for key, value := range want {
				if seen[key] != value {
					t.Errorf("%s: saw %q, want %q", key, seen[key], value)
				}
			}
			for _, m := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
				if got := strings.Join(strings.Fields(seen[m]), " "); got != oneLine {
					t.Errorf("%s: %q, want %q", m, got, oneLine)
				}
			}
			for _, p := range []string{"/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"} {
				if got := seen[p]; got != "dir " && got != "ENOENT" {
					t.Errorf("%s: %q, want an empty directory or none", p, got)
				}
			}
			for _, key := range []string{"alg socket", "vsock"} {
				if seen[key] == "ok" {
					t.Errorf("%s: allowed", key)
				}
			}
			for _, key := range []string{"write init", "write sysctl", "write sysrq"} {
				if got := seen[key]; got != "EROFS" && got != "EACCES" && got != "ENOENT" {
					t.Errorf("%s: %q", key, got)
				}
			}
			if got := seen["/proc/kcore"]; got != "" && got != "ENOENT" {
				t.Errorf("/proc/kcore: %q", got)
			}
			if got := strings.Fields(seen["/proc/sys/net/ipv4/ping_group_range"]); strings.Join(got, " ") != "0 65535" {
				t.Errorf("ping_group_range: %q", got)
			}
			for line := range strings.Lines(seen["/proc/self/cgroup"]) {
				if !strings.HasSuffix(strings.TrimSpace(line), ":/") {
					t.Errorf("the host's control groups show: %q", line)
				}
			}
			// "core" is a link that is made where there is a /proc/kcore.
			dev := strings.TrimPrefix(seen["dev"], "core ")
			if want := "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"; dev != want {
				t.Errorf("/dev: %q, want %q", dev, want)
			}
			setuid := "0"
			if strict || nosuid(t, b.bundle) {
				setuid = "1000"
			}
			if want := "setuid=" + setuid + " ping=ok port80=ok mqueue=ok shm=ok init=EACCES"; seen["user"] != want {
				t.Errorf("uid 1000: %q, want %q", seen["user"], want)
			}
		})
	}
}

func nosuid(t *testing.T, path string) bool {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs(path, &st))
	return st.Flags&unix.ST_NOSUID != 0
}

// A program that cannot be run is a failed create with a reason, and leaves
// nothing.
func TestCreateFails(t *testing.T) {
	r := realRunc(t)
	b := newBox(t, r, func(_ *oci.Input, s *specs.Spec) {
		if s != nil {
			s.Process.Args = []string{"/no/such/program"}
		}
	})
	_, err := r.Create(t.Context(), b.id, b.bundle, nil)
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, "/no/such/program") {
		t.Errorf("Create = %v", err)
	}
	if _, err := r.Create(t.Context(), "../x", b.bundle, nil); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("Create with a path for an id = %v", err)
	}
	if _, err := r.Create(t.Context(), b.id, t.TempDir(), nil); err == nil {
		t.Error("Create without a config.json succeeded")
	}
	if left := b.groups("/" + b.id); len(left) != 0 {
		t.Errorf("control groups left: %v", left)
	}
}

// The program may be over before Start has looked.
func TestStartOfAShortProgram(t *testing.T) {
	r := realRunc(t)
	b := newBox(t, r, func(_ *oci.Input, s *specs.Spec) {
		if s != nil {
			s.Process.Args = []string{guest.InitPath, "exit", "7"}
		}
	})
	for range 10 {
		pid, err := r.Create(t.Context(), b.id, b.bundle, nil)
		must(t, err)
		p, err := Watch(pid, 0)
		must(t, err)
		must(t, r.Start(t.Context(), b.id))
		exit, err := p.Wait(t.Context())
		must(t, err)
		if exit != (Exit{Known: true, Code: 7}) && !forgotten(t, exit) {
			t.Errorf("exit = %+v", exit)
		}
		must(t, p.Close())
		must(t, r.Delete(t.Context(), b.id))
	}
}

// A container that dies between create and start does not keep Start waiting,
// nor does one that is stopped there.
func TestStartDoesNotHang(t *testing.T) {
	r := realRunc(t)
	b := newBox(t, r, nil)
	pid, err := r.Create(t.Context(), b.id, b.bundle, nil)
	must(t, err)
	p, err := Watch(pid, 0)
	must(t, err)
	defer func() { _ = p.Close() }()

	must(t, p.Signal(unix.SIGSTOP))
	impatient := *r
	impatient.Timeout = 50 * time.Millisecond
	if err := impatient.Start(t.Context(), b.id); !errors.Is(err, ErrTimeout) {
		t.Errorf("Start of a stopped init = %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Start(ctx, b.id); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start with a context that ends = %v", err)
	}
	result := make(chan error, 1)
	go func() { result <- r.Start(t.Context(), b.id) }()
	must(t, p.Kill())
	if err := <-result; !errors.Is(err, ErrNotRunning) {
		t.Errorf("Start of a killed init = %v", err)
	}
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	must(t, r.Forget(b.id))
	must(t, r.Forget(b.id))
	if ids, err := r.List(); err != nil || len(ids) != 0 {
		t.Errorf("List after Forget = %v, %v", ids, err)
	}
	for _, g := range b.groups("/" + b.id) {
		must(t, os.Remove(g))
	}
}

func TestFeatures(t *testing.T) {
	r := realRunc(t)
	f, err := r.Features(t.Context())
	must(t, err)
	if f.Linux == nil || f.Linux.Seccomp == nil || f.Linux.Seccomp.Enabled == nil || !*f.Linux.Seccomp.Enabled {
		t.Error("this runc was built without seccomp")
	}
}

// Whenever runc is killed in the middle of a create, no record and no process
// stays; an empty control group may, and is the caller's.
func TestCreateKilled(t *testing.T) {
	r := realRunc(t)
	b := newBox(t, r, nil)
	killed := 0
	for i := range 24 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(2+3*i)*time.Millisecond)
		_, err := r.Create(ctx, b.id, b.bundle, b.listen)
		cancel()
		if err == nil {
			must(t, r.ForceDelete(t.Context(), b.id))
		} else if killed++; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Create = %v", err)
		}
		if ids, err := r.List(); err != nil || len(ids) != 0 {
			t.Errorf("List = %v, %v", ids, err)
		}
		for _, g := range b.groups("/" + b.id) {
			procs, err := os.ReadFile(filepath.Join(g, "cgroup.procs"))
			must(t, err)
			for _, pid := range strings.Fields(string(procs)) {
				n, err := strconv.Atoi(pid)
				must(t, err)
				p, err := Watch(n, 0)
				if errors.Is(err, ErrGone) {
					continue
				}
				must(t, err)
				end, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				if _, err := p.Wait(end); err != nil {
					t.Errorf("round %d: process %s lives on in %s", i, pid, g)
					_ = p.Kill()
				}
				cancel()
				must(t, p.Close())
			}
			// What has ended leaves its group a little later.
			for until := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
				err := os.Remove(g)
				if err == nil || errors.Is(err, os.ErrNotExist) {
					break
				}
				if time.Now().After(until) {
					t.Fatal(err)
				}
			}
		}
	}
	t.Logf("%d of 24 were killed", killed)
}
