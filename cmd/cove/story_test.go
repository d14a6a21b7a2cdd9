package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
	"cove/tui/tuitest"
)

// A story is a piece of somebody's day: the real program on a terminal, a real
// daemon, real sandboxes. Stories share a daemon and the sandbox "box", which
// is started when a story begins; "zed" stands below it and is never touched.
type story struct {
	name string
	tell func(s *scene)
}

// scene is what a story is told in.
type scene struct {
	*host
}

// modesOff are the terminal's modes of which none may be left on.
var modesOff = []int{1, 9, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1049, 2004, 2026, 2027, 2031, 2048}

// tui opens the list and waits until it is there.
func (s *scene) tui(cols, rows int) *terminal {
	s.t.Helper()
	tt := s.terminal(cols, rows)
	tt.Wait("the list", func(sc tuitest.Screen) bool { return sc.Alt && sc.Has("> ") && sc.Has("box") })
	return tt
}

// pick selects the row of a sandbox.
func (t *terminal) pick(name string) {
	t.t.Helper()
	at := func(sc tuitest.Screen) (string, int) {
		l, y := sc.Line("> ")
		_, l, _ = strings.Cut(l, "> ")
		l, _, _ = strings.Cut(l, " ")
		return l, y
	}
	for range 50 {
		sc := t.Wait("the row of "+name, func(sc tuitest.Screen) bool {
			_, there := row(sc, name)
			now, y := at(sc)
			return y >= 0 && (there >= 0 || now == name)
		})
		now, y := at(sc)
		if now == name {
			return
		}
		key := "j"
		if _, there := row(sc, name); there < y {
			key = "k"
		}
		t.Send(key)
		t.Wait("another row", func(sc tuitest.Screen) bool { l, _ := at(sc); return l != now })
	}
	t.t.Fatalf("there is no row of %s\n%s", name, t.Screen().Text())
}

// selected waits until the row of the sandbox is the selected one.
func (t *terminal) selected(name string) tuitest.Screen {
	t.t.Helper()
	return t.Wait(name+" to be selected", func(sc tuitest.Screen) bool { return sc.Has("> " + name) })
}

// field goes to a field of the form that lies below.
func (t *terminal) field(label string) {
	t.t.Helper()
	at := func(sc tuitest.Screen) string {
		for _, l := range sc.Lines {
			if _, l, ok := strings.Cut(l, "│ > "); ok {
				return strings.Fields(l)[0]
			}
		}
		return ""
	}
	for range 20 {
		now := at(t.Wait("a field", func(sc tuitest.Screen) bool { return at(sc) != "" }))
		if now == label {
			return
		}
		t.Send("\t")
		t.Wait("another field", func(sc tuitest.Screen) bool { l := at(sc); return l != "" && l != now })
	}
	t.t.Fatalf("there is no field %s\n%s", label, t.Screen().Text())
}

// enter attaches from the list, and waits until the shell answers to a word
// that nobody has said before.
func (t *terminal) enter(word string) {
	t.t.Helper()
	t.Send("\r")
	t.say(word)
}

// say has the shell say a word.
func (t *terminal) say(word string) {
	t.t.Helper()
	t.Send(fmt.Sprintf("echo [%s-$((6*7))]\r", word))
	t.See("[" + word + "-42]")
}

// discard leaves the form and what was typed into it.
func (t *terminal) discard() {
	t.t.Helper()
	t.Send("\x1b")
	t.See("Leave the form?")
	t.Send("y")
	t.Gone("Leave the form?")
}

// leave ends the program with q.
func (t *terminal) leave() {
	t.t.Helper()
	t.Send("q")
	t.gone(true)
}

// gone finds the program ended and the terminal as it was before.
func (t *terminal) gone(well bool) {
	t.t.Helper()
	if err := t.Exit(); (err == nil) != well {
		t.t.Errorf("the program ended with %v", err)
	}
	sc := t.Screen()
	if left := t.Modes(modesOff...); len(left) > 0 || t.Keyboard() != 0 || sc.Alt || !sc.Cursor {
		t.t.Errorf("left behind: modes %v, keyboard %d, second screen %v, cursor %v\n%s", left, t.Keyboard(), sc.Alt, sc.Cursor, sc.Text())
	}
}

// listModes are the modes that the list has on, and no others.
func (t *terminal) listModes() {
	t.t.Helper()
	t.Wait("the list's own modes", func(sc tuitest.Screen) bool {
		return fmt.Sprint(t.Modes(modesOff...)) == "[1002 1006 1049 2004]" && !sc.Cursor
	})
}

// has waits until the daemon's list has the sandbox in a state.
func (s *scene) has(name string, state lifecycle.State) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%s is %s", name, state), func() bool {
		for _, b := range s.list() {
			if b.Name == name {
				return b.State == state
			}
		}
		return state == lifecycle.Destroyed
	})
}

// profile writes a profile of the person's.
func (s *scene) profile(name, text string) {
	s.t.Helper()
	dir := filepath.Join(filepath.Dir(s.run), "config", "cove", "profiles")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".toml"), []byte("extends = \"shell\"\n"+text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = os.Remove(filepath.Join(dir, name+".toml")) })
}

func TestStories(t *testing.T) {
	h := realHost(t)
	h.patience = time.Minute
	h.must("daemon", "start")
	t.Run("the first minute", func(t *testing.T) { firstMinute(&scene{h.in(t)}) })
	for _, name := range []string{"box", "zed"} {
		h.must("create", "-p", "shell", "-n", name)
	}
	for _, st := range slices.Concat(formStories(), listStories(), watchStories(), limitsStories(), keptStories(), attachStories()) {
		t.Run(st.name, func(t *testing.T) {
			s := &scene{h.in(t)}
			st.tell(s)
			for _, b := range s.list() {
				switch {
				case b.Name == "zed" && b.State != lifecycle.Started:
					t.Errorf("zed is %s", b.State)
				case b.Name != "box" && b.Name != "zed":
					s.must("rm", "--now", b.ID)
				}
			}
			if t.Failed() { // whatever it left running is not the next one's
				s.must("stop", "--force", "box")
			}
			s.must("start", "box")
		})
	}
}

// firstMinute is the README's, with nothing there yet.
func firstMinute(s *scene) {
	tt := s.terminal(100, 30)
	tt.See("first sandbox")
	if title := tt.Screen().Title; title != "cove" {
		s.t.Errorf("the window is called %q", title)
	}
	tt.Send("n\r")
	tt.See("created ")
	name := s.list()[0].Name
	tt.selected(name)
	tt.enter("here")
	tt.Send("\x1d")
	tt.See("detached from " + name)
	tt.Send("s")
	tt.See("stopped " + name)
	tt.See("s start")
	tt.Send("s")
	tt.See("started " + name)
	tt.See("s stop")
	tt.Send("D")
	tt.See(">Cancel<")
	tt.Send("\t\r")
	tt.See("first sandbox")
	tt.leave()
	if n := len(s.list()); n != 0 {
		s.t.Errorf("%d sandboxes are left", n)
	}
}

func formStories() []story {
	return []story{
		{"a sandbox from the form", func(s *scene) {
			tt := s.tui(90, 30)
			tt.Send("n")
			tt.See("$ cove create -p shell")
			tt.Send("untr")
			tt.See("$ cove create -p untrusted")
			tt.Send("\tmade-here\t\t0.5\t256MiB\t99")
			tt.See("$ cove create -p untrusted -n made-here --cpu 0.5 --memory 256MiB --pids 99")
			tt.field("Variables")
			tt.Send("A=it's \"here\"\x1b[BB=$b\tteam=ml\r")
			tt.See("created made-here")
			tt.selected("made-here")
			d := s.inspect("made-here")
			if r := d.Spec.Resources; r.CPU != 0.5 || r.Memory != 256*config.MiB || r.Pids != 99 || d.Labels["team"] != "ml" {
				s.t.Errorf("it became %+v, labels %v", r, d.Labels)
			}
			if out := s.must("exec", "made-here", "--", "sh", "-c", `echo "$A|$B"`); out != "it's \"here\"|$b\n" {
				s.t.Errorf("the variables are %q", out)
			}
			tt.Send("s") // untrusted: gone when it stops
			tt.Gone("> made-here")
			s.has("made-here", lifecycle.Destroyed)
			tt.leave()
		}},
		{"what is wrong is said while it is typed", func(s *scene) {
			tt := s.tui(100, 30)
			tt.Send("n\tBad")
			tt.See("may only have a-z, 0-9 and hyphens")
			tt.Send("\x15box")
			tt.See("the name is taken")
			tt.Send("\r")
			tt.Send("\x15fine\t\tmany")
			tt.See("is no number of cores")
			tt.Send("\r\x152\t4G")
			tt.See(`bad size "4G"`)
			tt.Send("\x15\t3")
			tt.See("want 32 to")
			tt.Send("\x15\x1b[Z\x1b[Z\x1b[Z\x1b[Z\x1b[Zno-such-profile")
			tt.See("nothing has that in its name")
			tt.Send("\x1b")
			tt.See("Leave the form?")
			tt.Send("\r")
			tt.Gone("Leave the form?")
			tt.discard()
			tt.Gone("New sandbox")
			tt.leave()
			if n := len(s.list()); n != 2 {
				s.t.Errorf("%d sandboxes", n)
			}
		}},
		{"a directory is mounted, its path completed", func(s *scene) {
			base := filepath.Dir(s.run)
			src := filepath.Join(base, "project")
			if err := os.MkdirAll(src, 0o755); err != nil {
				s.t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(src, "hello"), []byte("from outside\n"), 0o644); err != nil {
				s.t.Fatal(err)
			}
			defer os.RemoveAll(src)
			tt := s.tui(110, 30)
			tt.Send("n\tmounted\t\t\t\t\t\t\t/nowhere:/x")
			tt.See("there is no such directory")
			tt.Send("\r\x15" + base + "/pro")
			tt.See("tab completes")
			tt.Send("\t")
			tt.See(src + "/")
			tt.Send(":/workspace:ro")
			tt.Wait("nothing wrong", func(sc tuitest.Screen) bool {
				return sc.Has("-n mounted --mount") && !sc.Has("no such directory") && !sc.Has("does not name")
			})
			tt.Send("\r")
			tt.See("created mounted")
			if out := s.must("exec", "mounted", "--", "cat", "/workspace/hello"); out != "from outside\n" {
				s.t.Errorf("the file says %q", out)
			}
			tt.leave()
		}},
		{"a variable from the environment is missing", func(s *scene) {
			s.profile("keyed", "[env]\nCOVE_STORY_KEY = { from = \"env\" }\n")
			tt := s.tui(110, 30)
			tt.Send("nkeyed")
			tt.See("COVE_STORY_KEY is not set in your environment")
			tt.Send("\r") // goes to the field
			tt.Wait("the field", func(sc tuitest.Screen) bool { return sc.Has("> Variables") })
			tt.Send("COVE_STORY_KEY=typed")
			tt.Gone("is not set")
			tt.Send("\r")
			tt.See("created ")
			tt.leave()
		}},
		{"create and attach", func(s *scene) {
			tt := s.tui(100, 30)
			tt.Send("n\tat-once\x1b\r")
			tt.prompt()
			tt.say("inside")
			tt.Send("\x1d")
			tt.See("detached from at-once")
			tt.selected("at-once")
			tt.leave()
		}},
		{"one more of the same, at once", func(s *scene) {
			tt := s.tui(100, 30)
			tt.Send("nuntrus\tfirst-one\r")
			tt.selected("first-one")
			tt.Send("N")
			tt.Wait("another one", func(sc tuitest.Screen) bool { return sc.Has("created ") && !sc.Has("created first-one") })
			n := 0
			for _, b := range s.list() {
				if b.Profile == "untrusted" {
					n++
				}
			}
			if n != 2 {
				s.t.Errorf("%d are of the profile untrusted", n)
			}
			tt.leave()
		}},
		{"a long create is followed and broken off", func(s *scene) {
			s.profile("slow", "setup = [\"sleep 300\"]\n")
			tt := s.tui(100, 30)
			tt.Send("nslow\ttakes-long\r")
			tt.See("◐ creating")
			tt.See("break off")
			s.has("takes-long", lifecycle.Creating)
			tt.See("setup") // what it is at, by the daemon's word
			tt.Send("\x18")
			tt.See("broken off: nothing was made")
			s.has("takes-long", lifecycle.Destroyed)
			tt.See("-n takes-long") // and what was typed is still there
			tt.discard()
			tt.Gone("New sandbox")
			tt.leave()
		}},
		{"a setup that fails leaves its sandbox, and its whole error", func(s *scene) {
			s.profile("broken", "setup = [\"i=0; while [ $i -lt 200 ]; do echo line-$i of what went wrong >&2; i=$((i+1)); done; exit 3\"]\n")
			tt := s.tui(100, 30)
			tt.Send("nbroken\tgoes-wrong\r")
			tt.selected("goes-wrong")
			tt.See("✗ create goes-wrong")
			tt.Gone("New sandbox")
			tt.Send("e")
			tt.See("y copies")
			tt.Send("y")
			tt.See("copied")
			if c := tt.Clipboard(); !strings.Contains(c, "$ cove create -p broken -n goes-wrong") || !strings.Contains(c, "setup") || !strings.Contains(c, "line-199") {
				s.t.Errorf("the clipboard has %q", c)
			}
			tt.Send("\x1b")
			tt.Gone("─ Error ─")
			tt.leave()
		}},
		{"somebody else takes the name first", func(s *scene) {
			tt := s.tui(100, 30)
			tt.Send("n\tlate-name")
			tt.See("free")
			s.must("create", "-p", "shell", "-n", "late-name") // somebody else is quicker
			tt.Send("\r")
			tt.See("taken")
			tt.Send("-2\r")
			tt.selected("late-name-2")
			tt.leave()
		}},
		{"a form on a very small screen", func(s *scene) {
			tt := s.tui(40, 8)
			tt.Send("nshell\ttiny-one\t\t1\t")
			tt.See("> Memory")
			tt.Send("\x19") // ctrl+y
			tt.Wait("the command in the clipboard", func(tuitest.Screen) bool {
				return tt.Clipboard() == "cove create -p shell -n tiny-one --cpu 1"
			})
			tt.Send("\r")
			tt.selected("tiny-one")
			tt.leave()
		}},
		{"the mouse in the form", func(s *scene) {
			tt := s.tui(100, 30)
			tt.Send("n")
			sc := tt.See("Node.js on this")
			line, y := sc.Line("Node.js on this")
			x := len([]rune(line[:strings.Index(line, "Node.js")]))
			tt.Send(fmt.Sprintf("\x1b[<0;%d;%dM\x1b[<0;%d;%dm", x+1, y+1, x+1, y+1))
			tt.See("$ cove create -p node")
			tt.Send("\x1b")
			tt.Gone("New sandbox")
			tt.leave()
		}},
	}
}

func listStories() []story {
	return []story{
		{"stop, start, restart", func(s *scene) {
			tt := s.tui(90, 24)
			tt.pick("box")
			tt.Send("s")
			tt.See("stopped box   $ cove stop box")
			tt.See("s start")
			tt.Send("\r")
			tt.See("attach needs a sandbox that is started")
			tt.Send("s")
			tt.See("started box   $ cove start box")
			tt.See("s stop")
			tt.Send("r")
			tt.See("restarted box")
			tt.leave()
		}},
		{"delete asks, and cancel is the default", func(s *scene) {
			s.must("create", "-p", "shell", "-n", "doomed")
			tt := s.tui(90, 24)
			tt.pick("doomed")
			tt.Send("D")
			tt.See("Delete doomed?")
			tt.See("$ cove rm doomed")
			tt.Send("\r")
			tt.Gone("Delete doomed?")
			tt.selected("doomed")
			tt.Send("D\t\r")
			tt.Gone("> doomed")
			s.has("doomed", lifecycle.Destroyed)
			tt.leave()
		}},
		{"what happened is kept, filtered and copied", func(s *scene) {
			tt := s.tui(100, 30)
			tt.pick("box")
			tt.Send("s")
			tt.See("stopped box")
			s.must("start", "box") // somebody else
			tt.See("● started")
			s.kill()
			s.must("daemon", "start")
			tt.Send("a")
			tt.See("─ Activity")
			tt.See("the daemon is back")
			sc := tt.See("you    stop box   $ cove stop box")
			if !sc.Has("box: stopping -> stopped") || !sc.Has("box: starting -> started") {
				s.t.Errorf("not every change is there:\n%s", sc.Text())
			}
			tt.Send("/you stop\r")
			tt.Gone("starting -> started")
			tt.Send("y")
			tt.Wait("the entry in the clipboard", func(tuitest.Screen) bool { return strings.HasSuffix(tt.Clipboard(), "$ cove stop box") })
			tt.Send("\x1b")
			tt.Gone("/ you stop")
			tt.Send("\x1b")
			tt.Gone("─ Activity")
			tt.leave()
		}},
		{"help is found by typing", func(s *scene) {
			tt := s.tui(90, 30)
			tt.Send("?")
			tt.See("a word or a key")
			tt.Send("ctrl+]")
			tt.See("come back to the list")
			tt.Gone("Delete the sandbox")
			tt.Send("\x1b")
			tt.See("a word or a key")
			tt.Send("cove rm")
			tt.Gone("Work in a shell")
			tt.See("Delete the sandbox")
			tt.Send("\x1b")
			tt.See("a word or a key")
			tt.Send("\x1b")
			tt.Gone("─ Help ─")
			tt.leave()
		}},
		{"a storm of sizes over the list", func(s *scene) {
			tt := s.tui(80, 24)
			tt.storm()
			tt.Resize(80, 24)
			tt.Wait("the list at its size", func(sc tuitest.Screen) bool {
				return len(sc.Lines) == 24 && sc.Has("> ") && strings.Contains(sc.Lines[23], "quit")
			})
			tt.leave()
		}},
		{"signals give the terminal back", func(s *scene) {
			for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
				tt := s.tui(80, 24)
				tt.Signal(sig)
				tt.gone(true)
			}
		}},
		{"ctrl+c leaves, and touches nothing", func(s *scene) {
			tt := s.tui(80, 24)
			tt.Send("\x03")
			tt.gone(true)
		}},
		{"into the background and back", func(s *scene) {
			cmd := s.program(s.t.Context(), "/bin/bash", "--norc", "-c", `set -m; cove; echo stopped with $?; read -r line; fg >/dev/null; echo all done`)
			tt := &terminal{Terminal: tuitest.Start(s.t, tuitest.Config{Env: s.env, Dir: filepath.Dir(s.run)}, cmd.Path, cmd.Args[1:]...), t: s.t}
			tt.selected("box")
			tt.Send("\x1a")
			sc := tt.See("stopped with 148")
			if left := tt.Modes(modesOff...); len(left) > 0 || sc.Alt || tt.Keyboard() != 0 {
				s.t.Errorf("in the background: modes %v", left)
			}
			tt.Send("on\r")
			tt.selected("box")
			tt.Send("j")
			tt.selected("zed")
			tt.Send("q")
			tt.See("all done")
			tt.gone(true)
		}},
		{"no colours where none are wanted", func(s *scene) {
			s.env = append(s.env[:len(s.env):len(s.env)], "NO_COLOR=1")
			tt := s.tui(80, 24)
			sc := tt.selected("box")
			for y := range sc.Lines {
				for x := range 80 {
					if st := sc.Style(x, y); strings.Contains(st, "fg=") || strings.Contains(st, "bg=") {
						s.t.Fatalf("%q at %d,%d", st, x, y)
					}
				}
			}
			tt.leave()
		}},
		{"a terminal that cannot show it gets the plain list", func(s *scene) {
			s.env = append(s.env[:len(s.env):len(s.env)], "TERM=dumb")
			tt := s.terminal(80, 24)
			if err := tt.Exit(); err != nil {
				s.t.Error(err)
			}
			if sc := tt.Screen(); !sc.Has("NAME") || !sc.Has("box") || sc.Alt {
				s.t.Errorf("it shows\n%s", sc.Text())
			}
		}},
		{"the daemon is killed below the list", func(s *scene) {
			tt := s.tui(90, 24)
			tt.pick("box")
			s.kill()
			s.must("daemon", "start")
			tt.Send("s")
			tt.Wait("an answer", func(sc tuitest.Screen) bool {
				if sc.Has("does not answer") || sc.Has("connecting") {
					tt.Send("s")
				}
				return sc.Has("stopped box")
			})
			tt.leave()
		}},
		{"the window is closed", func(s *scene) {
			tt := s.tui(80, 24)
			tt.HangUp()
			_ = tt.Exit()
			for _, b := range s.list() {
				if b.State != lifecycle.Started {
					s.t.Errorf("%s is %s", b.Name, b.State)
				}
			}
		}},
	}
}

// storm gives the terminal two hundred sizes, one right after the other.
func (t *terminal) storm() {
	t.t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		w, h := 1+r.IntN(200), 1+r.IntN(60)
		if i%20 == 0 {
			w, h = 1, 1
		}
		t.Resize(w, h)
	}
}

// encodings are the ways in which terminals write ctrl+].
func encodings() []string {
	return []string{"\x1d", "\x1b[93;5u", "\x1b[93;5:1u", "\x1b[27;5;93~"}
}
