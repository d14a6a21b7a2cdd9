package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/tuitest"
)

// prompt waits until the shell waits for a command.
func (t *terminal) prompt() {
	t.t.Helper()
	t.Wait("the shell's prompt", func(sc tuitest.Screen) bool {
		return sc.Y < len(sc.Lines) && strings.HasSuffix(strings.TrimRight(sc.Lines[sc.Y], " "), "$") && !sc.Has("zed  ")
	})
}

// row waits until the sandbox's row has the word.
func (t *terminal) row(name, word string) {
	t.t.Helper()
	t.Wait(name+" to be "+word, func(sc tuitest.Screen) bool {
		line, _ := sc.Line(" " + name + " ")
		return strings.Contains(line, word)
	})
}

// back waits until the list is there again after a session.
func (t *terminal) back(word string) tuitest.Screen {
	t.t.Helper()
	sc := t.Wait("the list with "+word, func(sc tuitest.Screen) bool { return sc.Has(word) && sc.Has("> ") && sc.Has("zed") })
	t.listModes()
	return sc
}

// Attach and detach, many times, in all four encodings of ctrl+]. What is typed
// before the detach key belongs to the shell, what is typed behind it to the
// list, and not a key of either is lost; the terminal is clean each time.
func TestAttachRounds(t *testing.T) {
	h := realHost(t)
	for _, name := range []string{"box", "zed"} {
		h.must("create", "-p", "shell", "-n", name)
	}
	s := &scene{h}
	tt := s.tui(90, 24)
	tt.pick("box")
	n := 0
	for range rounds(5) {
		for _, enc := range encodings() {
			n++
			tt.enter(fmt.Sprint("round-", n))
			if n%3 == 0 {
				tt.Send("printf '\\033[?1003h\\033[?1h\\033=\\033[>5u\\033[?25l\\033[44m'\r")
			}
			// In one write: the list's keys are read together with the others.
			tt.Send("typed=" + fmt.Sprint(n) + "\r" + enc + "jk" + "j")
			tt.selected("zed")
			tt.listModes()
			tt.Send("k")
			tt.selected("box")
			if n%5 == 0 {
				tt.Send("\r")
				tt.Send(fmt.Sprintf("echo [$typed-%d]\r", n))
				tt.See(fmt.Sprintf("[%d-%d]", n, n))
				tt.Send(enc)
				tt.selected("box")
			}
		}
	}
	t.Logf("%d rounds", n)
	tt.leave()
}

// An attach that is refused at once leaves the screen alive, however often it
// is tried (charmbracelet/bubbletea#1778).
func TestRefusedAttachDoesNotFreeze(t *testing.T) {
	s := newStandIn(t)
	box := api.Sandbox{ID: "0123456789ab", Name: "box", State: lifecycle.Started, Image: "host", Created: time.Now()}
	s.mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(api.Event{Type: api.EventSnapshot, Cursor: api.Cursor{Epoch: "e", Seq: 1}, Sandboxes: []api.Sandbox{box}})
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	s.mux.HandleFunc("POST /v1/sandboxes/{ref}/attach", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusServiceUnavailable, api.Error{Code: api.CodeUnavailable, Message: "the sandbox does not answer", Hint: "cove restart box"})
	})
	cmd := s.command()
	tt := &terminal{Terminal: tuitest.Start(t, tuitest.Config{Cols: 100, Env: cmd.Env}, filepath.Join(binDir(t), "cove")), t: t}
	tt.selected("box")
	for range 30 {
		tt.Send("\r")
		tt.See("✗ attach box: ")
		tt.Send("?")
		tt.See("─ Help ─")
		tt.Send("\x1b")
		tt.Gone("─ Help ─")
		tt.Send("\x1b")
		tt.Gone("✗ attach box: ")
	}
	tt.leave()
}

func attachStories() []story {
	return []story{
		{"cove attach, left by every key", func(s *scene) {
			for i, enc := range encodings() {
				tt := s.attach("box", 80, 24)
				tt.say(fmt.Sprint("direct-", i))
				tt.Send("printf '\\033[?1049h\\033[?1003h\\033[?1h\\033=\\033[>5u\\033[?25l\\033[44mDIR''TY'\r")
				tt.See("DIRTY")
				tt.Send(enc)
				tt.See("detached from box")
				tt.gone(true)
				if tt.Screen().Has("DIRTY") {
					s.t.Error("the session is in the person's scrollback")
				}
				after := s.attach("box", 80, 24)
				after.prompt()
				after.Send("printf '\\033[?1049l\\033[?1003l\\033[?1l\\033>\\033[<u\\033[?25h\\033[m'; clear\r")
				after.say(fmt.Sprint("cleaned-", i))
				after.Send(enc)
				after.gone(true)
			}
		}},
		{"a second ctrl+] goes to the program", func(s *scene) {
			tt := s.tui(90, 24)
			tt.pick("box")
			tt.enter("cat")
			tt.Send("cat -v\r")
			tt.Send("\x1d\x1d\r") // read together
			tt.See("^]")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.Send("\x1d") // and in time
			tt.Wait("a second one", func(sc tuitest.Screen) bool { return strings.Count(sc.Text(), "^]") >= 2 && !sc.Has("zed") })
			tt.Send("\x03")
			tt.prompt()
			tt.say("after-cat")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.leave()
		}},
		{"pasted text does not detach", func(s *scene) {
			tt := s.tui(90, 24)
			tt.pick("box")
			tt.enter("paste")
			tt.Wait("the brackets", func(tuitest.Screen) bool { return tt.Mode(2004) })
			tt.Send("cat -v <<< '\x1b[200~a\x1dX\x1b[201~'\r")
			tt.See("a^]X")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.leave()
		}},
		{"typing ahead belongs to the shell", func(s *scene) {
			tt := s.tui(90, 24)
			tt.pick("box")
			tt.Send("\recho sDq-$((6*7))\r")
			tt.See("sDq-42")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.leave()
		}},
		{"what the sandbox writes reaches no further than its screen", func(s *scene) {
			tt := s.tui(90, 24)
			tt.pick("box")
			tt.enter("hostile")
			tt.Send(`printf '\033[?2l\033[21t\033]52;c;c3RvbGVu\a\033[?1034h\033[2h\033P+q544e\033\\\033]0;my title\a'; read x` + "\r")
			tt.Wait("the title", func(sc tuitest.Screen) bool { return sc.Title == "box: my title" })
			tt.Send("\r")
			tt.prompt()
			tt.say("still-here")
			if c := tt.Clipboard(); c != "" {
				s.t.Errorf("the clipboard has %q", c)
			}
			if left := tt.Modes(2, 1034); len(left) > 0 {
				s.t.Errorf("modes %v", left)
			}
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.leave()
		}},
		{"the window says where one is", func(s *scene) {
			tt := s.tui(90, 24)
			tt.pick("box")
			tt.Send("\r")
			tt.Wait("the title", func(sc tuitest.Screen) bool {
				return strings.HasPrefix(sc.Title, "cove: box (ctrl+] detaches)") || strings.HasPrefix(sc.Title, "box: ")
			})
			tt.say("title")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.leave()
		}},
		{"a full-screen program leaves the shell", func(s *scene) {
			tt := s.tui(90, 24)
			tt.pick("box")
			tt.enter("before-vim")
			tt.Send("vim.tiny -u NONE /etc/os-release\r")
			tt.See("PRETTY_NAME")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.Send("\r")
			tt.See("PRETTY_NAME")
			tt.Send("\x1b:q!\r")
			tt.prompt()
			tt.say("after-vim")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.leave()
		}},
		{"a storm of sizes over a session", func(s *scene) {
			tt := s.tui(80, 24)
			tt.pick("box")
			tt.enter("storm")
			tt.storm()
			tt.Resize(90, 30)
			tt.Send("\x15clear; until [ \"$(stty size)\" = '30 90' ]; do :; done; echo at-[$(stty size)]\r")
			tt.See("at-[30 90]")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.leave()
		}},
		{"two who look at the same shell", func(s *scene) {
			one, two := s.tui(90, 24), s.attach("box", 70, 20)
			two.say("second")
			one.pick("box")
			one.Send("\r")
			one.See("[second-42]")
			one.say("first")
			two.See("[first-42]")
			two.Send("\x1d")
			two.gone(true)
			one.say("alone")
			one.Send("\x1d")
			one.back("detached from box")
			one.leave()
		}},
		{"the shell ends by itself", func(s *scene) {
			tt := s.tui(90, 24)
			tt.pick("box")
			tt.enter("exit")
			tt.Send("exit 3\r")
			tt.back("the session ended with status 3")
			tt.enter("new-one")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.leave()
		}},
		{"ctrl+c is the program's", func(s *scene) {
			tt := s.tui(90, 24)
			tt.pick("box")
			tt.enter("long")
			tt.Send("sh -c \"echo asl''eep; exec sleep 300\"\r") // in a group of its own before it says so
			tt.See("asleep")
			tt.Send("\x03")
			tt.prompt()
			tt.say("interrupted")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.leave()
		}},
		{"the sandbox is stopped under the person", func(s *scene) {
			tt := s.tui(90, 24)
			tt.pick("box")
			tt.enter("stopped")
			s.must("stop", "box")
			tt.back("box: the session ")
			tt.row("box", "stopped")
			tt.leave()
		}},
		{"the sandbox is deleted under the person", func(s *scene) {
			s.must("create", "-p", "shell", "-n", "doomed")
			tt := s.tui(90, 24)
			tt.pick("doomed")
			tt.enter("deleted")
			s.must("rm", "--now", "doomed")
			tt.back("doomed: the session ")
			tt.Gone("> doomed")
			tt.leave()
		}},
		{"the sandbox is paused under the person", func(s *scene) {
			if _, stderr, code := s.cove("pause", "zed"); code != 0 && strings.Contains(stderr, "unknown command") {
				s.t.Skip("this cove has no command to pause")
			}
			s.must("resume", "zed")
			tt := s.tui(90, 24)
			tt.pick("box")
			tt.enter("paused")
			s.must("pause", "box")
			tt.Send("echo [late-$((6*7))]\r")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.row("box", "paused")
			s.must("resume", "box")
			tt.row("box", "started")
			tt.Send("\r")
			tt.See("[late-42]") // what was typed has waited
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.leave()
		}},
		{"the daemon is killed under the person", func(s *scene) {
			tt := s.tui(110, 24)
			tt.pick("box")
			tt.enter("killed")
			tt.Send("kept=by-the-shell\r")
			tt.say("kept")
			s.kill()
			tt.back("the connection is lost")
			s.must("daemon", "start")
			tt.Wait("the list to be true again", func(sc tuitest.Screen) bool { return !sc.Has("reconnecting") })
			tt.Send("\x1b")
			tt.Gone("the connection is lost")
			tt.Send("\r")
			tt.say("again")
			tt.Send("echo [$kept]\r")
			tt.See("[by-the-shell]")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.leave()
		}},
		{"cove attach loses its daemon", func(s *scene) {
			tt := s.attach("box", 80, 24)
			tt.say("lost")
			s.kill()
			tt.gone(false)
			if sc := tt.Screen(); !strings.Contains(sc.Text(), "cove attach box") {
				s.t.Errorf("it does not say how to come back:\n%s", sc.Text())
			}
			s.must("daemon", "start")
		}},
		{"signals in a session give the terminal back", func(s *scene) {
			for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
				tt := s.tui(90, 24)
				tt.pick("box")
				tt.enter("signal-" + fmt.Sprint(int(sig)))
				tt.Send("printf '\\033[?1003h\\033[>5u\\033[?25l\\033[44mDIR''TY'\r")
				tt.See("DIRTY")
				tt.Signal(sig)
				tt.gone(true)
			}
			after := s.attach("box", 80, 24)
			after.prompt()
			after.Send("printf '\\033[?1003l\\033[<9u\\033[?25h\\033[m'; clear\r")
			after.say("after-signals")
			after.Send("\x1d")
			after.gone(true)
		}},
		{"the client is killed, and the shell lives", func(s *scene) {
			tt := s.attach("box", 80, 24)
			tt.say("dying")
			tt.Send("kept=yes\r")
			tt.say("set")
			tt.Signal(syscall.SIGKILL)
			_ = tt.Exit()
			again := s.attach("box", 80, 24)
			again.Send("echo [$kept-still]\r")
			again.See("[yes-still]")
			again.Send("\x1d")
			again.gone(true)
		}},
		{"much output, and out of it", func(s *scene) {
			tt := s.tui(90, 24)
			tt.pick("box")
			tt.enter("flood")
			tt.Send("yes flooded\r")
			tt.See("flooded")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.Send("\r")
			tt.See("flooded")
			tt.Send("\x03")
			tt.prompt()
			tt.say("dry")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.leave()
		}},
		{"exec with a terminal passes the same filter", func(s *scene) {
			tt := s.terminal(80, 24, "exec", "-t", "-i", "box", "--", "sh", "-c",
				`printf '\033[?2l\033]52;c;c3RvbGVu\a\033[?1003h\033[>5u\033[?25l\033]0;here\a'; echo in; read x`)
			tt.See("in")
			if !tt.Mode(1003) || tt.Clipboard() != "" || tt.Mode(2) {
				s.t.Errorf("modes %v, clipboard %q", tt.Modes(2, 1003), tt.Clipboard())
			}
			tt.Send("\r")
			tt.gone(true)
		}},
		{"a wide world", func(s *scene) {
			tt := s.tui(90, 24)
			tt.pick("box")
			tt.enter("wide")
			tt.Send("printf '日本語 é 🇩🇪 |%s|\\n' wi''de\r")
			tt.See("日本語 é 🇩🇪 |wide|")
			tt.Send("\x1d")
			tt.back("detached from box")
			tt.leave()
		}},
		{"what an attach opens is closed with it", func(s *scene) {
			tt := s.tui(90, 24)
			tt.pick("box")
			// Bubble Tea itself leaves an epoll behind each time.
			connections := func() (n int) {
				dir := fmt.Sprintf("/proc/%d/fd", tt.Pid())
				entries, err := os.ReadDir(dir)
				if err != nil {
					s.t.Fatal(err)
				}
				for _, e := range entries {
					if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && !strings.Contains(to, "eventpoll") && !strings.HasPrefix(to, "pipe:") {
						n++
					}
				}
				return n
			}
			var before int
			for i := range 6 {
				tt.enter(fmt.Sprint("open-", i))
				tt.Send("\x1d")
				tt.back("detached from box")
				if i == 0 {
					before = connections()
				}
			}
			if after := connections(); after > before {
				s.t.Errorf("%d connections and files after, %d before", after, before)
			}
			tt.leave()
		}},
	}
}
