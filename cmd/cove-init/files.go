package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"cove/runtime/files"
	"cove/runtime/guest"
)

// filesArg makes this program one that copies: a tar goes to its standard output
// or comes from its standard input. PID 1 starts it as the user whose files they
// are, so that it can do no more than that user's own programs.
const filesArg = "files"

// copyPipe is the size of the pipes that a copy goes through: what a user may have
// (pipe(7), pipe-max-size).
const copyPipe = 1 << 20

// newFiles is the program for a Files request.
func newFiles(conf *settings, req *guest.Request) (*program, *startError) {
	p, err := newProgram(conf, req, false)
	if err != nil {
		return nil, err
	}
	text, jerr := json.Marshal(req.Files)
	if jerr != nil {
		return nil, notExecutable("encode the request: %v", jerr)
	}
	p.Argv = []string{"/proc/self/exe", filesArg, string(text)}
	// The sandbox's variables are not for it.
	p.Env = []string{"HOME=" + homeOf(p.Env)}
	return p, nil
}

func homeOf(env []string) string {
	for _, kv := range env {
		if home, ok := strings.CutPrefix(kv, "HOME="); ok {
			return home
		}
	}
	return "/"
}

// copyFiles is the main function of the copying program. What it has to say it
// says at the end, in one line of JSON on standard error.
func copyFiles(text string) error {
	var f guest.FilesRequest
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	for _, fd := range []uintptr{0, 1} {
		// Larger pipes, fewer turns; where that may not be, it goes without.
		_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, copyPipe)
	}
	where := atHome(f.Path)
	var sum files.Summary
	var err error
	if f.Op == guest.Get {
		out := bufio.NewWriterSize(os.Stdout, 256<<10)
		sum, err = files.Pack(out, where, files.PackOptions{Name: f.Name, Follow: f.Follow, Show: f.Path})
		err = errors.Join(err, out.Flush())
	} else {
		o := files.UnpackOptions{Target: where, Name: f.Name, Into: f.Op == guest.Extract, Show: f.Path}
		if f.Owner != "" {
			id, ferr := findUser(f.Owner)
			if ferr != nil {
				return ferr
			}
			o.Owner = &files.Owner{UID: id.uid, GID: id.gid}
		}
		sum, err = files.Unpack(os.Stdin, o)
	}
	if err != nil {
		sum.Fatal = err.Error()
	}
	line, err := json.Marshal(sum)
	if err != nil {
		return err
	}
	if _, err := os.Stderr.Write(append(line, '\n')); err != nil {
		return err
	}
	if sum.Fatal != "" || sum.Failed > 0 {
		os.Exit(1)
	}
	return nil
}

// atHome puts the home directory in place of a leading ~, as a shell would.
func atHome(p string) string {
	if p == "" {
		return "."
	}
	if rest, ok := strings.CutPrefix(p, "~"); ok && (rest == "" || rest[0] == '/') {
		home := path.Clean("/" + os.Getenv("HOME"))
		return strings.TrimSuffix(home, "/") + rest
	}
	return p
}
