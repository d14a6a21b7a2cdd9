// Vminit is PID 1 of the test guest. It is a static program at /init of an
// initramfs: it mounts the root, a unified cgroup v2 tree with every controller and
// a scratch disk, runs one command with its output on virtio-serial ports,
// reports the command's status on a control port, and powers off.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// confDir holds what the run is about: one file for each setting, in a second
// archive behind the initramfs.
const confDir = "/vmtest"

// guest is the machine while it comes up.
type guest struct {
	ctl     *os.File // "exit N", "error ...", "log ...", "stat ..."
	verbose bool
}

// settings are read before the root is switched.
type settings struct {
	argv, env                        []string
	cwd, scratch, preload, root      string
	payload, noScratch, files, units bool
}

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "vminit: must be PID 1")
		os.Exit(2)
	}
	g := &guest{verbose: conf("verbose", "") != ""}
	g.die(g.boot())
}

// boot runs the guest to its end; it comes back only with an error.
func (g *guest) boot() error {
	err := errors.Join(
		os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
		mount("proc", "/proc", "proc", 0, ""),
		mount("sysfs", "/sys", "sysfs", 0, ""),
		mount("devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"))
	if err != nil {
		return err
	}
	if err := loadModules("/modules"); err != nil {
		return err
	}
	if g.ctl, err = port("vmtest.ctl", os.O_RDWR); err != nil {
		return err
	}
	g.logf("init reached")
	s := readSettings()
	if err := g.mountAll(s); err != nil {
		return err
	}
	if s.units {
		return g.systemd(s)
	}
	code, err := g.run(s)
	if err != nil {
		g.tell("error %v", err)
	}
	g.finish(code)
	return nil
}

func readSettings() settings {
	return settings{
		argv: split(conf("argv", "")), env: split(conf("env", "")),
		cwd: conf("cwd", "/"), scratch: conf("scratch", "/scratch"), preload: conf("preload", ""), root: conf("root", "image"),
		payload: conf("payload", "") != "", noScratch: conf("noscratch", "") != "",
		files: conf("files", "") != "", units: conf("systemd", "") != "",
	}
}

func conf(name, otherwise string) string {
	b, err := os.ReadFile(filepath.Join(confDir, name))
	if err != nil {
		return otherwise
	}
	return strings.TrimRight(string(b), "\n")
}

// split takes apart a list whose items end where the next begins with NUL.
func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\x00")
}

// logf tells the kernel's log, and the caller who wants to know.
func (g *guest) logf(format string, a ...any) {
	msg := fmt.Sprintf("vminit[%s] ", uptime()) + fmt.Sprintf(format, a...) + "\n"
	kmsg("<6>" + msg)
	if g.verbose {
		g.tell("log %s", strings.TrimSpace(msg))
	}
}

func (g *guest) tell(format string, a ...any) {
	if g.ctl != nil {
		fmt.Fprintf(g.ctl, format+"\n", a...)
	}
}

func (g *guest) die(err error) {
	kmsg("<0>vminit: " + err.Error() + "\n")
	fmt.Fprintln(os.Stderr, "vminit:", err)
	g.tell("fatal %v", err)
	g.off()
}

func (g *guest) finish(code int) {
	g.tell("exit %d", code)
	g.off()
}

// off ends the machine; with qemu's -no-reboot a restart does so too.
func (g *guest) off() {
	unix.Sync()
	if g.ctl != nil {
		_ = g.ctl.Close()
	}
	pause(20 * time.Millisecond) // the last virtio buffers drain
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	select {}
}

func kmsg(line string) {
	if k, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		_, _ = k.WriteString(line)
		_ = k.Close()
	}
}

func uptime() string {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return "?"
	}
	up, _, _ := strings.Cut(string(b), " ")
	return up
}

// pause is for devices that come up without telling PID 1, which has no udev.
func pause(d time.Duration) { <-time.After(d) }

// await tries until ok, for at most five seconds.
func await(what string, ok func() bool) error {
	for range 500 {
		if ok() {
			return nil
		}
		pause(10 * time.Millisecond)
	}
	return fmt.Errorf("%s did not appear", what)
}
