package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
	"unicode"
	"unicode/utf8"

	"cove/config"
	"cove/runtime/api"
)

// app is one run of the program: its streams and the directories of the daemon
// it talks to.
type app struct {
	stdin  *os.File
	stdout *os.File
	stderr *os.File
	// dirs are set before a command runs; dirsErr is why they could not be.
	dirs    config.Dirs
	dirsErr error
	// wantVersion is the flag --version of cove without a command.
	wantVersion bool
}

func newApp() *app {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	a.dirs, a.dirsErr = config.DirsFromEnv(os.Getenv)
	return a
}

// defaultDirs tells whether the environment names no directories of its own.
func (a *app) defaultDirs() bool {
	return a.dirs == config.Dirs{State: config.DefaultStateDir, Run: config.DefaultRunDir}
}

// client returns a client of a daemon that answers, starting one where there
// is none and the caller may.
func (a *app) client(ctx context.Context) (*api.Client, error) {
	if err := a.checkDirs(); err != nil {
		return nil, err
	}
	conn, err := a.dialDaemon()
	switch {
	case err == nil:
		closeQuietly(conn)
	case notListening(err):
		if err := a.startDaemon(ctx); err != nil {
			return nil, err
		}
	}
	// Of another error the first request tells more.
	return api.New(a.dirs.Socket()), nil
}

func (a *app) checkDirs() error {
	if a.dirsErr != nil {
		return &usageError{a.dirsErr}
	}
	return nil
}

// statusPatience is how long a daemon that takes connections may take to tell of
// itself: far longer than one takes that works, on whatever machine.
const statusPatience = 20 * time.Second

// status asks a daemon that is there for its status.
func (a *app) status(ctx context.Context) (api.DaemonStatus, error) {
	return a.statusWithin(ctx, statusPatience)
}

func (a *app) statusWithin(ctx context.Context, patience time.Duration) (api.DaemonStatus, error) {
	asked, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	st, err := api.New(a.dirs.Socket()).Status(asked)
	if err != nil && asked.Err() != nil && ctx.Err() == nil {
		return st, hint(fmt.Errorf("the daemon at %s takes connections, but does not answer within %v", a.dirs.Socket(), patience),
			"its log may say why; it can be killed: sandboxes run on, and the next daemon takes them over")
	}
	return st, err
}

// printf writes to stdout.
func (a *app) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(a.stdout, format, args...)
	return err
}

// printJSON writes v to stdout as indented JSON.
func (a *app) printJSON(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := a.stdout.Write(escapeControls(b.Bytes()))
	return err
}

// escapeControls writes what a terminal would take for more than text, which
// JSON lets pass, as \u escapes: C1 controls, and what turns the direction of
// writing. Such runes stand only in JSON's strings.
func escapeControls(text []byte) []byte {
	harmless := func(r rune) bool {
		return r < 0x7f || r > 0x9f && !unicode.Is(unicode.Bidi_Control, r)
	}
	if bytes.IndexFunc(text, func(r rune) bool { return !harmless(r) }) < 0 {
		return text
	}
	out := make([]byte, 0, len(text)+64)
	for _, r := range string(text) {
		if harmless(r) {
			out = utf8.AppendRune(out, r)
		} else {
			out = fmt.Appendf(out, "\\u%04x", r)
		}
	}
	return out
}

// warn writes a line to stderr that is no failure.
func (a *app) warn(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, "cove: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// closeQuietly closes what was only read, or whose writes have been answered
// for: its error would say nothing.
func closeQuietly(c io.Closer) { _ = c.Close() }

// must stops the program on an error that only a mistake in this program can
// cause.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
