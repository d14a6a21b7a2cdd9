package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"cove/runtime/guest"
)

const (
	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	defaultTerm = "xterm-256color"
	// defaultLang is there without any locale being installed (glibc since
	// 2.35, Debian's before), and text is what it looks like in it.
	defaultLang = "C.UTF-8"
	lastShell   = "/bin/sh"
)

// program is what is to be executed, and as whom. It is also what a supervisor
// is told.
type program struct {
	Argv []string `json:"argv"`
	Env  []string `json:"env"`
	// Dirs are the working directories to try, in order.
	Dirs   []string `json:"dirs"`
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups"`
	// notice is shown on the program's terminal before it starts.
	notice string
	// TTY: standard input is a terminal that becomes the controlling one.
	TTY bool `json:"tty"`
}

// startError is why a program could not be started.
type startError struct {
	code int
	text string
}

func (e *startError) Error() string { return e.text }

func notExecutable(format string, args ...any) *startError {
	return &startError{guest.CodeNotExecutable, fmt.Sprintf(format, args...)}
}

// newProgram makes a program from a request and the defaults.
func newProgram(conf *settings, req *guest.Request, tty bool) (*program, *startError) {
	user := req.User
	if user == "" {
		user = conf.user
	}
	id, err := findUser(user)
	if err != nil {
		return nil, notExecutable("%v", err)
	}
	p := &program{Argv: req.Argv, UID: id.uid, GID: id.gid, Groups: id.groups, TTY: tty}
	if len(p.Argv) == 0 {
		p.Argv = shellOf(conf, id)
	}
	p.Env = environment(conf, req, id, tty)
	if req.Dir != "" {
		p.Dirs = []string{req.Dir}
	} else {
		// A default that has gone missing should not lock anybody out.
		for _, d := range []string{conf.dir, id.home, "/"} {
			if d != "" {
				p.Dirs = append(p.Dirs, d)
			}
		}
	}
	return p, nil
}

// shellOf returns the first shell that exists: the sandbox's, the user's, any.
func shellOf(conf *settings, id *identity) []string {
	if len(conf.shell) > 0 && isExecutable(conf.shell[0]) {
		return conf.shell
	}
	if id.shell != "" && isExecutable(id.shell) {
		return []string{id.shell}
	}
	return []string{lastShell}
}

// environment makes the environment: what the system knows, under the
// sandbox's, under the request's.
func environment(conf *settings, req *guest.Request, id *identity, tty bool) []string {
	env := map[string]string{"PATH": defaultPath, "HOME": id.home, "SHELL": shellOf(conf, id)[0], "LANG": defaultLang}
	if id.name != "" {
		env["USER"], env["LOGNAME"], env["MAIL"] = id.name, id.name, "/var/mail/"+id.name
	}
	if tty {
		env["TERM"] = defaultTerm
	}
	maps.Copy(env, conf.env)
	if tty && req.Term != "" {
		env["TERM"] = req.Term
	}
	maps.Copy(env, req.Env)
	out := make([]string, 0, len(env))
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// start executes p with the given descriptors as 0, 1 and 2, in a session of
// its own. With p.TTY descriptor 0 becomes its controlling terminal.
func (p *program) start(c *children, files [3]uintptr) (*child, *startError) {
	dir, err := p.dir()
	if err != nil {
		return nil, err
	}
	attr := &syscall.ProcAttr{
		Dir:   dir,
		Env:   p.Env,
		Files: files[:],
		Sys: &syscall.SysProcAttr{
			Setsid:     true,
			Setctty:    p.TTY,
			Credential: &syscall.Credential{Uid: p.UID, Gid: p.GID, Groups: p.Groups},
		},
	}
	name := p.Argv[0]
	if strings.Contains(name, "/") {
		k, err := c.start(name, p.Argv, attr)
		if err != nil {
			return nil, p.explain(name, dir, err)
		}
		return k, nil
	}
	// As execvp: a file that may not be executed is passed over.
	var denied *startError
	for _, d := range strings.Split(p.path(), ":") {
		file := d + "/" + name
		if !strings.HasPrefix(d, "/") || !isExecutable(file) {
			continue
		}
		k, err := c.start(file, p.Argv, attr)
		if err == nil {
			return k, nil
		}
		if !errors.Is(err, unix.EACCES) {
			return nil, p.explain(file, dir, err)
		}
		if denied == nil {
			denied = p.explain(file, dir, err)
		}
	}
	if denied != nil {
		return nil, denied
	}
	return nil, &startError{guest.CodeNotFound, "executable not found: " + name}
}

func (p *program) path() string {
	for _, kv := range p.Env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			return v
		}
	}
	return defaultPath
}

// dir returns the first of p.Dirs that the program can start in.
func (p *program) dir() (string, *startError) {
	var first *startError
	for _, d := range p.Dirs {
		err := p.checkDir(d)
		if err == nil {
			return d, nil
		}
		if first == nil {
			first = err
		}
	}
	return "", first
}

func (p *program) checkDir(dir string) *startError {
	var st unix.Stat_t
	switch err := unix.Stat(dir, &st); {
	case errors.Is(err, unix.ENOENT):
		return notExecutable("the working directory %s does not exist", dir)
	case err != nil:
		return notExecutable("the working directory %s: %v", dir, err)
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return notExecutable("the working directory %s is not a directory", dir)
	case !p.mayEnter(&st):
		return notExecutable("the working directory %s: permission denied", dir)
	}
	return nil
}

// mayEnter judges by the permission bits, to say what is wrong before the
// kernel says no more than EACCES.
func (p *program) mayEnter(st *unix.Stat_t) bool {
	switch {
	case p.UID == 0:
		return true
	case st.Uid == p.UID:
		return st.Mode&0o100 != 0
	case st.Gid == p.GID || slices.Contains(p.Groups, st.Gid):
		return st.Mode&0o010 != 0
	}
	return st.Mode&0o001 != 0
}

// explain puts the error of an execution in words.
func (p *program) explain(file, dir string, err error) *startError {
	switch {
	case errors.Is(err, unix.ENOENT):
		if strings.HasPrefix(file, "/") && isExecutable(file) {
			return notExecutable("%s: its interpreter or loader does not exist", file)
		}
		return &startError{guest.CodeNotFound, "executable not found: " + file}
	case errors.Is(err, unix.EACCES):
		return notExecutable("%s: permission denied (started in %s)", file, dir)
	case errors.Is(err, unix.EAGAIN):
		return notExecutable("%s: the sandbox's limit of processes is reached", file)
	case errors.Is(err, unix.EINVAL) && (p.UID >= 1<<16 || p.GID >= 1<<16):
		return notExecutable("user %d:%d cannot exist in a sandbox", p.UID, p.GID)
	}
	return notExecutable("%s: %v", file, err)
}

func isExecutable(file string) bool {
	var st unix.Stat_t
	err := unix.Stat(file, &st)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0
}
