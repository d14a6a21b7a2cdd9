package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"cove/runtime/guest"
)

// sourceDir is where a source lies while it runs: what has it by path is told so
// by it (__file__, $0), and nobody else's programs can read it.
const sourceDir = "/tmp"

// newCode is the program for a Code request, and what removes its source again.
func (s *server) newCode(conf *settings, req *guest.Request) (p *program, remove func(), serr *startError) {
	if p, serr = newProgram(conf, req, req.TTY); serr != nil {
		return nil, nil, serr
	}
	i := p.firstOf(req.Code.Ways)
	if i < 0 {
		return nil, nil, &startError{guest.CodeNotFound, req.Code.Missing}
	}
	path, remove, err := writeSource(req.Code.Name, req.Code.Source, p.UID, p.GID)
	if err != nil {
		return nil, nil, notExecutable("keep the source in %s: %v", sourceDir, err)
	}
	way := req.Code.Ways[i]
	p.Argv = append(append(append([]string(nil), way.Argv...), path), req.Argv...)
	return p, remove, nil
}

// firstOf is the first of ways whose program p would find, or -1.
func (p *program) firstOf(ways []guest.Way) int {
	for i, w := range ways {
		for _, d := range strings.Split(p.path(), ":") {
			if strings.HasPrefix(d, "/") && isExecutable(d+"/"+w.Needs) {
				return i
			}
		}
	}
	return -1
}

// writeSource makes a directory of the user's that no other user can look into, and
// the source in it. Whatever the user does with them meanwhile, remove takes
// away no more than files right in that directory.
func writeSource(name string, source []byte, uid, gid uint32) (path string, remove func(), err error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", nil, err
	}
	tmp, err := unix.Open(sourceDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	base := "cove-code-" + hex.EncodeToString(random[:])
	dir := -1
	remove = func() {
		if dir >= 0 {
			clearDir(dir)
			_ = unix.Close(dir)
		}
		_ = unix.Unlinkat(tmp, base, unix.AT_REMOVEDIR)
		_ = unix.Close(tmp)
	}
	defer func() {
		if err != nil {
			remove()
		}
	}()
	if err := unix.Mkdirat(tmp, base, 0o700); err != nil {
		return "", nil, err
	}
	if dir, err = unix.Openat(tmp, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err != nil {
		return "", nil, err
	}
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return "", nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(source)
	if err = errors.Join(err, unix.Fchown(fd, int(uid), int(gid)), f.Close(), unix.Fchown(dir, int(uid), int(gid))); err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("%s/%s/%s", sourceDir, base, name), remove, nil
}

// clearDir removes the files in a directory: the source, and what was made of it.
func clearDir(dir int) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	d := os.NewFile(uintptr(fd), "source")
	defer func() { _ = d.Close() }()
	const most = 64
	names, _ := d.Readdirnames(most)
	for _, name := range names {
		_ = unix.Unlinkat(dir, name, 0)
	}
}
