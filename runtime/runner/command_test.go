package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fake gives a Runner over a shell script in runc's place. $LOG is the file of
// its log and $ALL the arguments.
func fake(t *testing.T, script string) *Runner {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runc")
	must(t, os.WriteFile(path, []byte("#!/bin/sh\nLOG=$4 ALL=\"$*\"\n"+script+"\n"), 0o755))
	return &Runner{Binary: path, Root: t.TempDir(), Timeout: 20 * time.Second}
}

// quick fails the test when f takes as long as what it is about would.
func quick(t *testing.T, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestTimeout(t *testing.T) {
	for name, script := range map[string]string{
		"hangs":                      `echo $$ >%[1]s; exec sleep 600`,
		"hangs in a child":           `sleep 600 & echo $! >%[1]s; wait`,
		"hangs and heeds no SIGTERM": `trap "" TERM HUP INT; echo $$ >%[1]s; while :; do sleep 1; done`,
	} {
		t.Run(name, func(t *testing.T) {
			// Not in parallel: a program that is written while another test forks cannot
			// be executed (ETXTBSY).
			pidFile := filepath.Join(t.TempDir(), "pid")
			r := fake(t, fmt.Sprintf(script, pidFile))
			r.Timeout = time.Second
			quick(t, func() {
				_, err := r.State(t.Context(), "x")
				if !errors.Is(err, ErrTimeout) {
					t.Errorf("State = %v, want a timeout", err)
				}
			})
			gone(t, pidFile)
		})
	}
}

// What ends well, but leaves a child that keeps standard output, is over when
// runc is; and so is the child.
func TestChildKeepsOutput(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	r := fake(t, `sleep 600 & echo $! >`+pidFile+`; echo '{"id":"x","pid":7,"status":"running"}'`)
	quick(t, func() {
		s, err := r.State(t.Context(), "x")
		if err != nil || s.Pid != 7 || s.Status != Running {
			t.Errorf("State = %+v, %v", s, err)
		}
	})
	gone(t, pidFile)
}

func TestCancel(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	r := fake(t, `echo $$ >`+pidFile+`; exec sleep 600`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	quick(t, func() {
		if err := r.Delete(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Delete = %v", err)
		}
		if err := r.Delete(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Delete with an ended context = %v", err)
		}
	})
	gone(t, pidFile)
}

// gone fails the test unless the process whose pid is in the file has ended.
func gone(t *testing.T, pidFile string) {
	t.Helper()
	text, err := os.ReadFile(pidFile)
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	p, err := Watch(pid, 0)
	if errors.Is(err, ErrGone) {
		return
	}
	must(t, err)
	defer func() { _ = p.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := p.Wait(ctx); err != nil {
		t.Errorf("process %d lives on", pid)
		_ = p.Kill()
	}
}

// A create that is killed or fails is cleaned up with runc's own means; one
// whose id is taken is left alone.
func TestCreateCleansUp(t *testing.T) {
	calls := filepath.Join(t.TempDir(), "calls")
	r := fake(t, `echo "$ALL" >>`+calls+`
case "$7" in
create) mkdir "$2/x"; exec sleep 600;;
delete) rmdir "$2/x";;
esac`)
	r.Timeout = 500 * time.Millisecond
	quick(t, func() {
		if _, err := r.Create(t.Context(), "x", t.TempDir(), nil); !errors.Is(err, ErrTimeout) {
			t.Errorf("Create = %v", err)
		}
	})
	if left, err := r.List(); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	must(t, os.Mkdir(filepath.Join(r.Root, "y"), 0o700))
	if _, err := r.Create(t.Context(), "y", t.TempDir(), nil); !errors.Is(err, ErrExist) {
		t.Errorf("Create of a taken id = %v", err)
	}
	text, err := os.ReadFile(calls)
	must(t, err)
	if n := strings.Count(string(text), "\n"); n != 2 || !strings.Contains(string(text), "delete --force x") {
		t.Errorf("runc was called so:\n%s", text)
	}
}

// runc gets nothing of ours but what it is given.
func TestCleanEnvironment(t *testing.T) {
	t.Setenv("LD_PRELOAD_NOT", "x")
	t.Setenv("LISTEN_FDS", "1")
	out := filepath.Join(t.TempDir(), "out")
	r := fake(t, `env >`+out+`; ls -l /proc/self/fd >>`+out)
	leak, err := os.Create(filepath.Join(t.TempDir(), "leak"))
	must(t, err)
	defer func() { _ = leak.Close() }()
	must(t, r.Delete(t.Context(), "x"))
	text, err := os.ReadFile(out)
	must(t, err)
	for _, s := range []string{"LD_PRELOAD_NOT", "LISTEN_FDS", leak.Name()} {
		if strings.Contains(string(text), s) {
			t.Errorf("%s got through:\n%s", s, text)
		}
	}
}

func TestErrors(t *testing.T) {
	line := func(level, msg string) string {
		text, err := json.Marshal(map[string]string{"level": level, "msg": msg, "time": "2026-01-01T00:00:00Z"})
		must(t, err)
		return string(text) + "\n"
	}
	for name, c := range map[string]struct {
		log  string
		want error // by errors.Is, or nil: any other
		text string
	}{
		"not exist":       {line("error", "container does not exist"), ErrNotExist, "no such container"},
		"not running":     {line("error", "container not running"), ErrNotRunning, ""},
		"not stopped":     {line("error", "cannot delete container x that is not stopped: running"), ErrRunning, ""},
		"exists":          {line("error", "runc create failed: container with given ID already exists"), ErrExist, ""},
		"quoted":          {line("error", `exec: "container does not exist": not found`), nil, "not found"},
		"hostile suffix":  {line("error", "runc create failed: open /a failed: container does not exist"), nil, "open /a"},
		"hostile op":      {line("error", "runc a b failed: container does not exist"), nil, ""},
		"escape sequence": {line("error", "bad \x1b]0;title\a\n\u202epath"), nil, "bad ?]0;title? ?path"},
		"no log":          {"", nil, "exit status 1"},
		"garbage":         {"\x00\xff{{{\nnull\n[]\n\"x\"\n", nil, "exit status 1"},
		"warnings":        {line("warning", "just so"), nil, "exit status 1"},
		"the last three":  {line("error", "one") + line("error", "two") + line("error", "three") + line("fatal", "four"), nil, "two; three; four (exit"},
		"long":            {line("error", strings.Repeat("ä", 5000)), nil, ""},
		"huge":            {line("error", "old") + strings.Repeat("x", 1<<20) + "\n" + line("error", "new"), nil, "new (exit"},
	} {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			must(t, os.WriteFile(log, []byte(c.log), 0o600))
			r := fake(t, `cat `+log+` >"$LOG"; exit 1`)
			_, err := r.State(t.Context(), "x")
			var e *Error
			if !errors.As(err, &e) || e.Op != "state" || e.ID != "x" {
				t.Fatalf("State = %#v", err)
			}
			for _, kind := range []error{ErrNotExist, ErrExist, ErrRunning, ErrNotRunning} {
				if got := errors.Is(err, kind); got != (kind == c.want) {
					t.Errorf("%v is %v: %v", err, kind, got)
				}
			}
			if text := err.Error(); !strings.Contains(text, c.text) || len(text) > maxMessage+100 || strings.ContainsAny(text, "\n\x1b\a") {
				t.Errorf("text %q, want %q in it", text, c.text)
			}
		})
	}
}

func FuzzErrorsIn(f *testing.F) {
	f.Add([]byte(`{"level":"error","msg":"container does not exist"}`))
	f.Add([]byte("{\"level\":\"fatal\",\"msg\":\"\\u001b[2J\"}\n\xff"))
	f.Fuzz(func(t *testing.T, log []byte) {
		m := errorsIn(log)
		if len(m) > maxMessage || strings.ContainsFunc(m, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
			t.Errorf("%q", m)
		}
	})
}

func TestCheckMap(t *testing.T) {
	for text, ok := range map[string]bool{
		"         0     100000      65536\n": true,
		"0 100000 65536":                     true,
		"":                                   false,
		"\n":                                 false,
		"0 100000 65535\n":                   false,
		"0 100000 65537\n":                   false,
		"0 100001 65536\n":                   false,
		"1 100000 65536\n":                   false,
		"0 0 4294967295\n":                   false,
		"0 100000 65536\n65536 0 1\n":        false,
		"0 100000 65536\n\n":                 false,
		"0 100000 65536 1\n":                 false,
		"0 0100000 65536\n":                  false,
		"0 100000 65536\r65536 0 1\n":        false,
	} {
		if err := checkMap(text, 100000); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	if checkMap("0 0 65536\n", 0) == nil {
		t.Error("the host's own uids are a range for sandboxes")
	}
}

func TestPdeathsigThread(t *testing.T) {
	// The thread that starts runc must not be one that another goroutine
	// ends: here many do, all the time.
	r := fake(t, `sleep 0.05; echo '{}'`)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				runtime.LockOSThread() // for ever: the thread ends with the goroutine
			}()
			<-ended
		}
	}()
	for range 20 {
		if _, err := r.State(t.Context(), "x"); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	<-done
}
