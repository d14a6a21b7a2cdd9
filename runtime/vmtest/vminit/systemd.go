package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// systemd hands PID 1 over to systemd, with one target that runs the command
// in a delegated service, the way a packaged daemon runs.
func (g *guest) systemd(s settings) error {
	const units = "/run/systemd/system"
	if err := errors.Join(os.MkdirAll(units, 0o755), os.MkdirAll(outDir, 0o755)); err != nil {
		return err
	}
	var ports [2]string
	for i, name := range []string{"vmtest.out", "vmtest.err"} {
		f, err := port(name, os.O_WRONLY)
		if err != nil {
			return err
		}
		ports[i] = f.Name()
		_ = f.Close()
	}
	err := errors.Join(
		os.WriteFile(units+"/vmtest.service", []byte(service(s, ports[0], ports[1], g.ctl.Name())), 0o644),
		os.WriteFile(units+"/vmtest.target", []byte("[Unit]\nDefaultDependencies=no\nWants=vmtest.service\nAllowIsolate=yes\n"), 0o644))
	if err != nil {
		return err
	}
	g.logf("exec systemd")
	_ = g.ctl.Close()
	err = unix.Exec("/lib/systemd/systemd",
		[]string{"systemd", "--unit=vmtest.target", "--log-target=kmsg", "--show-status=no"}, []string{"PATH=" + os.Getenv("PATH")})
	return fmt.Errorf("exec systemd: %w", err)
}

func service(s settings, stdout, stderr, ctl string) string {
	var words []string
	for i, a := range s.argv {
		if i == 0 && strings.Contains(a, "/") && !filepath.IsAbs(a) {
			a = filepath.Join(s.cwd, a) // systemd wants an absolute path
		}
		words = append(words, strconv.Quote(strings.NewReplacer("%", "%%", "$", "$$").Replace(a)))
	}
	env := ""
	for _, e := range environment(s) {
		env += "Environment=" + strconv.Quote(e) + "\n"
	}
	return fmt.Sprintf(`[Unit]
DefaultDependencies=no
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
Delegate=yes
OOMPolicy=continue
WorkingDirectory=%s
%sStandardOutput=file:%s
StandardError=file:%s
ExecStart=%s
ExecStopPost=/bin/sh -c 'echo "stat boot=0 cmd=0 up=$(cut -d" " -f1 /proc/uptime)" > %s; echo "exit $EXIT_STATUS" > %s; sync'
`, s.cwd, env, stdout, stderr, strings.Join(words, " "), ctl, ctl)
}
