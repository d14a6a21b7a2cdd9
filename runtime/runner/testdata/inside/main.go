// Command inside is PID 1 of the containers that the tests of package runner
// make: it looks around and answers each connection to its listener, file
// descriptor 3, with what it saw.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "exit":
			code, _ := strconv.Atoi(os.Args[2])
			os.Exit(code)
		case "euid":
			fmt.Print(os.Geteuid())
		case "user":
			user()
		}
		return
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	go func() {
		<-end
		os.Exit(42)
	}()
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		os.Exit(3)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(4)
		}
		_ = json.NewEncoder(c).Encode(look())
		_ = c.Close()
	}
}

// look gathers what a test compares with what it expects.
func look() map[string]string {
	seen := map[string]string{}
	for _, path := range []string{
		"/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/cgroup", "/proc/self/oom_score_adj",
		"/proc/sys/net/ipv4/ping_group_range", "/proc/sys/net/ipv4/ip_unprivileged_port_start",
		"/proc/timer_list", "/proc/keys", "/proc/kcore", "/proc/interrupts", "/proc/scsi", "/sys/firmware",
		"/sys/devices/virtual/powercap",
	} {
		seen[path] = content(path)
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if strings.HasPrefix(key, "Cap") || key == "NoNewPrivs" || key == "Seccomp" {
			seen[key] = strings.TrimSpace(value)
		}
	}
	seen["hostname"], _ = os.Hostname()
	seen["pid"] = strconv.Itoa(os.Getpid())
	seen["env"] = strings.Join(os.Environ(), " ")
	var names []string
	if ifs, err := net.Interfaces(); err == nil {
		for _, i := range ifs {
			names = append(names, fmt.Sprintf("%s:%v", i.Name, i.Flags&net.FlagUp != 0))
		}
	}
	seen["interfaces"] = strings.Join(names, " ")
	var nofile syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &nofile)
	seen["nofile"] = strconv.FormatUint(nofile.Max, 10)
	seen["dev"] = strings.Join(entries("/dev"), " ")
	seen["procs"] = strings.Join(slices.DeleteFunc(entries("/proc"), func(n string) bool { return n[0] < '0' || n[0] > '9' }), " ")
	seen["fds"] = descriptors()

	for _, path := range []string{"/run/cove/init", "/proc/sys", "/proc/irq", "/sys"} {
		var st syscall.Statfs_t
		err := syscall.Statfs(path, &st)
		seen["read-only "+path] = fmt.Sprint(err == nil && st.Flags&1 != 0) // ST_RDONLY
	}
	_, err := os.OpenFile("/run/cove/init", os.O_WRONLY, 0)
	seen["write init"] = name(err)
	seen["write sysctl"] = name(write("/proc/sys/kernel/panic", "1"))
	seen["write sysrq"] = name(write("/proc/sysrq-trigger", "h"))
	seen["write sys"] = name(write("/sys/kernel/profiling", "1"))
	// On version 1 the directory itself is a tmpfs of the container's.
	group := "/sys/fs/cgroup"
	if _, err := os.Stat(group + "/pids"); err == nil {
		group += "/pids"
	}
	seen["write cgroup"] = name(os.Mkdir(group+"/x", 0o755))
	seen["mknod"] = name(syscall.Mknod("/tmp/null", syscall.S_IFCHR|0o666, 1<<8|3))
	seen["mount"] = name(syscall.Mount("x", "/mnt", "tmpfs", 0, ""))
	seen["unshare"] = name(syscall.Unshare(syscall.CLONE_NEWUSER))
	seen["pivot_root"] = name(syscall.PivotRoot("/", "/"))
	seen["raw socket"] = name(socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_ICMP))
	seen["packet socket"] = name(socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0))
	seen["alg socket"] = name(socket(38, syscall.SOCK_SEQPACKET, 0))
	seen["vsock"] = name(socket(40, syscall.SOCK_STREAM, 0))
	_, err = os.OpenFile("/nodes/full", os.O_RDWR, 0)
	seen["open allowed node"] = name(err)
	_, err = os.OpenFile("/nodes/kmsg", os.O_RDWR, 0)
	seen["open char node"] = name(err)
	_, err = os.OpenFile("/nodes/disk", os.O_RDONLY, 0)
	seen["open block node"] = name(err)
	seen["become 65536"] = name(syscall.Chown("/tmp", 65536, 65536))

	preallocate(seen)

	cmd := exec.Command("/bin/inside", "user")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	out, err := cmd.Output()
	seen["user"] = string(out)
	if err != nil {
		seen["user"] = err.Error()
	}
	return seen
}

// preallocate tries the ways to set space aside, and those to give it back.
func preallocate(seen map[string]string) {
	f, err := os.CreateTemp("", "")
	if err != nil {
		seen["fallocate"] = err.Error()
		return
	}
	defer f.Close()
	_ = os.Remove(f.Name())
	for what, mode := range map[string]uint32{"fallocate": 0, "fallocate, keep size": 1, "fallocate, zeros": 0x10, "fallocate, punch": 3} {
		seen[what] = name(syscall.Fallocate(int(f.Fd()), mode, 0, 1<<20))
	}
	space := struct {
		kind, whence        int16
		start, len          int64
		sysid, pid, pad1, _ uint32
		pad                 [2]uint32
	}{len: 1 << 20}
	ioctl := func(cmd uintptr, arg unsafe.Pointer) string {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), cmd, uintptr(arg))
		if errno == 0 {
			return "ok"
		}
		return name(errno)
	}
	seen["resvsp"] = ioctl(0x40305828, unsafe.Pointer(&space))
	seen["resvsp64"] = ioctl(0x4030582a, unsafe.Pointer(&space))
	seen["resvsp, more bits"] = ioctl(0x1_4030582a, unsafe.Pointer(&space))
	var n int64
	seen["fionread"] = ioctl(0x541b, unsafe.Pointer(&n))
	seen["fsgetxattr"] = ioctl(0x801c581f, unsafe.Pointer(&struct{ space [28]byte }{}))
	seen["no terminal"] = ioctl(0x5401, unsafe.Pointer(&space))
}

// user is what a program of uid 1000 can do: setuid, ping, low ports.
func user() {
	out, err := exec.Command("/bin/setuid-inside", "euid").CombinedOutput()
	if err != nil {
		fmt.Print(err)
	}
	_, listenErr := net.Listen("tcp", "127.0.0.1:80")
	fmt.Printf("setuid=%s ping=%s port80=%s mqueue=%s shm=%s init=%s", out,
		name(socket(syscall.AF_INET, syscall.SOCK_DGRAM, syscall.IPPROTO_ICMP)), name(listenErr),
		name(write("/dev/mqueue/q", "")), name(write("/dev/shm/s", "x")), name(write("/run/x", "x")))
}

func socket(domain, kind, proto int) error {
	fd, err := syscall.Socket(domain, kind, proto)
	if err == nil {
		_ = syscall.Close(fd)
	}
	return err
}

func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if text != "" {
		_, err = f.WriteString(text)
	}
	return err
}

// name gives the errno's name, as far as the tests use it.
func name(err error) string {
	var errno syscall.Errno
	if err == nil {
		return "ok"
	}
	if !errors.As(err, &errno) {
		return err.Error()
	}
	switch errno {
	case syscall.EPERM:
		return "EPERM"
	case syscall.EACCES:
		return "EACCES"
	case syscall.EROFS:
		return "EROFS"
	case syscall.EINVAL:
		return "EINVAL"
	case syscall.ENOENT:
		return "ENOENT"
	case syscall.ENXIO:
		return "ENXIO"
	case syscall.ENOSYS:
		return "ENOSYS"
	case syscall.EOPNOTSUPP:
		return "EOPNOTSUPP"
	case syscall.ENOTTY:
		return "ENOTTY"
	}
	return errno.Error()
}

// content gives a file's text, a directory's entries, or why it cannot.
func content(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return "dir " + strings.Join(entries(path), " ")
	}
	f, err := os.Open(path)
	if err != nil {
		return name(err)
	}
	defer f.Close()
	buf := make([]byte, 256)
	n, _ := f.Read(buf)
	return strings.TrimSpace(string(buf[:n]))
}

func entries(dir string) []string {
	list, err := os.ReadDir(dir)
	if err != nil {
		return []string{name(err)}
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// descriptors lists the open files that are not ours to explain: all but the
// listener, the runtime's and this look.
func descriptors() string {
	var list []string
	for fd := range 64 {
		var st syscall.Stat_t
		if syscall.Fstat(fd, &st) != nil {
			continue
		}
		target, err := filepath.EvalSymlinks(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil {
			target, _ = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		}
		switch {
		case strings.HasPrefix(target, "socket:"), strings.Contains(target, "anon_inode:[event"),
			strings.HasPrefix(target, "/sys/fs/cgroup/"): // the Go runtime's look at its limits
			continue
		}
		list = append(list, fmt.Sprintf("%d:%s", fd, target))
	}
	return strings.Join(list, " ")
}
