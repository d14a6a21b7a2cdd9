package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// scope is the command's own control group. A leaf, as a manager of services
// gives one: the root is exempt from the rule of no processes beside groups.
const scope = cgroups + "/vmtest.scope"

// run runs the command to its end and gives its status, 126 or 127 where it
// could not be started.
func (g *guest) run(s settings) (int, error) {
	err := errors.Join(os.MkdirAll(outDir, 0o755), os.MkdirAll(scope, 0o755), unix.Sethostname([]byte("vmtest")), loopbackUp(),
		unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 65536, Max: 65536}))
	if err != nil {
		return 126, err
	}
	group, err := os.Open(scope)
	if err != nil {
		return 126, err
	}
	defer group.Close()
	if len(s.argv) == 0 {
		return 127, errors.New("no command")
	}
	exe, err := exec.LookPath(s.argv[0])
	switch {
	case err == nil:
	case strings.Contains(s.argv[0], "/"): // from its own directory
		exe = s.argv[0]
	default:
		return 127, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 126, err
	}
	out, err := g.output("vmtest.out")
	if err != nil {
		return 126, err
	}
	errs, err := g.output("vmtest.err")
	if err != nil {
		return 126, err
	}
	g.logf("exec %q", s.argv)
	begin := time.Now()
	p, err := os.StartProcess(exe, s.argv, &os.ProcAttr{
		Dir: s.cwd, Env: environment(s), Files: []*os.File{null, out.w, errs.w},
		Sys: &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())},
	})
	if err != nil {
		return 126, fmt.Errorf("%s: %w", exe, err)
	}
	_, _ = out.w.Close(), errs.w.Close()
	booted := uptime()
	g.tell("started %s", booted)
	code := reap(p.Pid)
	// What the command left in its group would keep its output open.
	if err := write(scope+"/cgroup.kill", "1"); err != nil {
		g.logf("kill what is left: %v", err)
	}
	for _, o := range []*output{out, errs} {
		select {
		case <-o.done:
		case <-time.After(3 * time.Second):
			g.logf("an output is still open")
		}
	}
	if s.files {
		if err := g.sendFiles(); err != nil {
			return code, err
		}
	}
	peak, _ := os.ReadFile(scope + "/memory.peak")
	g.tell("stat boot=%s cmd=%.3f peak=%s", booted, time.Since(begin).Seconds(), strings.TrimSpace(string(peak)))
	return code, nil
}

func environment(s settings) []string {
	base := []string{"HOME=/root", "PATH=" + os.Getenv("PATH"), "TERM=dumb", "LANG=C.UTF-8", "USER=root", "VMTEST=1", "VMTEST_OUT=" + outDir}
	if !s.noScratch {
		base = append(base, "VMTEST_SCRATCH="+s.scratch, "TMPDIR="+s.scratch+"/tmp")
	}
	// Of two equal names a Go program takes the first, a shell the last.
	var out []string
	for _, b := range base {
		name, _, _ := strings.Cut(b, "=")
		given := false
		for _, e := range s.env {
			given = given || strings.HasPrefix(e, name+"=")
		}
		if !given {
			out = append(out, b)
		}
	}
	return append(out, s.env...)
}

// output is a pipe to one of the ports: a port cannot be polled, and the
// command may hand its output on to children that outlive it.
type output struct {
	w    *os.File
	done chan struct{}
}

func (g *guest) output(name string) (*output, error) {
	dst, err := port(name, os.O_WRONLY)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o := &output{w: w, done: make(chan struct{})}
	go func() {
		defer close(o.done)
		pump(dst, r)
	}()
	return o, nil
}

func (g *guest) sendFiles() error {
	o, err := g.output("vmtest.tar")
	if err != nil {
		return err
	}
	tar := exec.CommandContext(context.Background(), "tar", "-C", outDir, "-cf", "-", ".")
	tar.Stdout = o.w
	err = tar.Run()
	err = errors.Join(err, o.w.Close())
	<-o.done
	return err
}

func pump(dst, src *os.File) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			m, werr := dst.Write(rest)
			rest = rest[m:]
			switch {
			case werr == nil:
			case errors.Is(werr, unix.EAGAIN), errors.Is(werr, unix.EINTR):
				pause(time.Millisecond)
			default:
				_, _ = io.Copy(io.Discard, src)
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// reap waits for every child, orphans too, until pid ends, and returns its
// status as a shell does.
func reap(pid int) int {
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	for {
		var ws unix.WaitStatus
		w, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			<-child
		case w == pid && ws.Signaled():
			return 128 + int(ws.Signal())
		case w == pid:
			return ws.ExitStatus()
		}
	}
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("lo up: %w", err)
	}
	return nil
}
