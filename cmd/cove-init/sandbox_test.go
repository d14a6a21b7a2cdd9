package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/guest"
)

// stageEnv makes this test binary, as PID 1 of new namespaces, prepare their
// mounts and execute the cove-init that it names.
const stageEnv = "COVE_INIT_TEST_STAGE"

// filesEnv names the directory with the passwd and group to use there.
const filesEnv = "COVE_INIT_TEST_FILES"

func TestMain(m *testing.M) {
	if init := os.Getenv(stageEnv); init != "" {
		fmt.Fprintln(os.Stderr, "stage:", stage(init))
		os.Exit(1)
	}
	code := m.Run()
	if initBinary.dir != "" {
		_ = os.RemoveAll(initBinary.dir)
	}
	os.Exit(code)
}

// stage runs in the namespaces, before cove-init. It only returns an error.
func stage(init string) error {
	files := os.Getenv(filesEnv)
	mounts := []struct {
		source, target, fstype string
		flags                  uintptr
		data                   string
	}{
		{"", "/", "", unix.MS_PRIVATE | unix.MS_REC, ""},
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{"/dev/pts/ptmx", "/dev/ptmx", "", unix.MS_BIND, ""},
		{filepath.Join(files, "passwd"), "/etc/passwd", "", unix.MS_BIND, ""},
		{filepath.Join(files, "group"), "/etc/group", "", unix.MS_BIND, ""},
		{"tmpfs", "/mnt", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	}
	for _, m := range mounts {
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := unix.Mkdir("/mnt/dev", 0o755); err != nil {
		return err
	}
	if err := unix.Chown("/mnt/dev", 1000, 1000); err != nil {
		return err
	}
	unix.Umask(0o077)
	// As a daemon below nohup would pass it on.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGPIPE, unix.SIGTSTP)
	// Executing keeps descriptor 3; the rest is closed.
	return unix.Exec(init, []string{init}, []string{"PATH=/usr/bin:/bin"})
}

const (
	testPasswd = "root:x:0:0:root:/root:/bin/bash\ndev:x:1000:1000:Dev,,,:/mnt/dev:/bin/bash\nbroken line\nodd:x:1001:1001::relative:\n"
	testGroup  = "root:x:0:\ntty:x:5:dev\ndev:x:1000:\nbuild:x:2000:other,dev\n"
)

var initBinary struct {
	once      sync.Once
	dir, path string
	err       error
}

// buildInit builds cove-init, as it is installed; under the race detector with it.
func buildInit(tb testing.TB) string {
	tb.Helper()
	initBinary.once.Do(func() {
		initBinary.dir, initBinary.err = os.MkdirTemp("", "cove-init-test-")
		if initBinary.err != nil {
			return
		}
		initBinary.err = os.Chmod(initBinary.dir, 0o755)
		if initBinary.err != nil {
			return
		}
		initBinary.path = filepath.Join(initBinary.dir, "cove-init")
		args := []string{"build", "-trimpath", "-ldflags", "-s -w", "-o", initBinary.path}
		env := append(os.Environ(), "CGO_ENABLED=0")
		if raceEnabled {
			args, env = append(args, "-race"), append(os.Environ(), "CGO_ENABLED=1")
		}
		cmd := exec.Command("go", append(args, ".")...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			initBinary.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if initBinary.err != nil {
		tb.Fatalf("build cove-init: %v", initBinary.err)
	}
	return initBinary.path
}

// sandbox is a running cove-init in namespaces of its own.
type sandbox struct {
	*guest.Client
	socket string
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	exited chan struct{}
}

// newSandbox starts cove-init as PID 1 of new pid, mount, user, ipc and uts namespaces.
func newSandbox(tb testing.TB) *sandbox {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root to make namespaces with a range of users")
	}
	init := buildInit(tb)
	dir := tb.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	for name, content := range map[string]string{"passwd": testPasswd, "group": testGroup} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	// Longer than a socket address.
	long := filepath.Join(dir, string(bytes.Repeat([]byte("d"), 120)))
	if err := os.Mkdir(long, 0o700); err != nil {
		tb.Fatal(err)
	}
	socket := filepath.Join(long, "guest.sock")
	l := listen(tb, socket)
	const base = 3 << 16 << 4
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: 65536}}
	s := &sandbox{Client: guest.NewClient(socket), socket: socket, stderr: &bytes.Buffer{}, exited: make(chan struct{})}
	s.cmd = exec.Command("/proc/self/exe")
	s.cmd.Env = []string{stageEnv + "=" + init, filesEnv + "=" + dir}
	s.cmd.ExtraFiles = []*os.File{l}
	s.cmd.Stderr = s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{}, Setsid: true,
	}
	if err := s.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	_ = l.Close()
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	tb.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.exited
		if tb.Failed() && s.stderr.Len() > 0 {
			tb.Logf("cove-init: %s", s.stderr)
		}
	})
	if err := s.Configure(testContext(tb), guest.Request{
		Hostname: "box", User: "dev", Dir: "/mnt/work/deep", Shell: []string{"/bin/bash"}, Env: map[string]string{"GREETING": "hello", "PS1": "$ "},
	}); err != nil {
		tb.Fatalf("configure: %v\n%s", err, s.stderr)
	}
	return s
}

// listen makes the listener of a sandbox as the daemon does.
func listen(tb testing.TB, path string) *os.File {
	tb.Helper()
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		tb.Fatal(err)
	}
	defer d.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), filepath.Base(path)), Net: "unix"})
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// testContext ends a test that hangs.
func testContext(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), 60*time.Second, errors.New("the test took too long"))
	tb.Cleanup(cancel)
	return ctx
}
