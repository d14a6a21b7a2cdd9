package main

import (
	"regexp"
	"strconv"
	"strings"

	"cove/runtime/lifecycle"
	"cove/tui/tuitest"
)

// row is the line of a sandbox in the list, and its number; -1 when it is not
// there.
func row(sc tuitest.Screen, name string) (string, int) {
	for y, l := range sc.Lines {
		if rest, ok := strings.CutPrefix(l[min(2, len(l)):], name+" "); ok && strings.ContainsAny(rest, "●◇○▲✗◐") {
			return l, y
		}
	}
	return "", -1
}

// shownCPU is the number in a row that says how much of a core is used, -1 when
// there is none.
func shownCPU(sc tuitest.Screen, name string) int {
	line, _ := row(sc, name)
	m := regexp.MustCompile(`(\d+)%`).FindStringSubmatch(strings.ReplaceAll(line, "<1%", "0%"))
	if m == nil {
		return -1
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return -1
	}
	return n
}

// watchStories are about seeing what there is, and doing the same to many.
func watchStories() []story {
	return []story{
		{"what a busy sandbox uses is seen, and stands still when it is paused", func(s *scene) {
			tt := s.tui(160, 40)
			tt.pick("box")
			tt.Wait("its numbers", func(sc tuitest.Screen) bool {
				return shownCPU(sc, "box") >= 0 && sc.Has("USAGE") && sc.Has("limit 2 cores")
			})
			tt.enter("busy")
			tt.Send("while :; do :; done &\r\x1d")
			tt.See("detached from box")
			busy := func(sc tuitest.Screen) bool { return shownCPU(sc, "box") >= 5 }
			tt.Wait("box to be busy", busy)
			tt.Send("oc")
			tt.Wait("the busiest on top", func(sc tuitest.Screen) bool {
				_, box := row(sc, "box")
				_, zed := row(sc, "zed")
				return box < zed && sc.Has("CPU▼")
			})
			tt.Send("p")
			tt.See("paused box")
			tt.Wait("nothing to be used", func(sc tuitest.Screen) bool { return sc.Has("◇ paused") && shownCPU(sc, "box") == 0 })
			s.has("box", lifecycle.Paused)
			tt.Send("p")
			tt.See("resumed box")
			tt.Wait("box to be busy again", busy)
			s.kill()
			s.must("daemon", "start")
			tt.Wait("all to be live again", func(sc tuitest.Screen) bool {
				return !sc.Has("gone") && busy(sc) && sc.Has("> box") && sc.Has("sorted by cpu")
			})
			tt.Send("r")
			tt.See("restarted box")
			tt.leave()
		}},
		{"a daemon that is stopped stays so until somebody starts it", func(s *scene) {
			tt := s.tui(160, 30)
			tt.pick("box")
			s.must("daemon", "stop")
			tt.See("it was stopped; cove daemon start starts it")
			// It has looked again, and left it.
			tt.See("try 2")
			if out, _, status := s.cove("daemon", "status"); status != 1 {
				s.t.Errorf("watching has started it: %s", out)
			}
			s.must("daemon", "start")
			tt.Gone("daemon gone")
			tt.Send("s")
			tt.See("stopped box")
			s.has("box", lifecycle.Stopped)
			tt.leave()
		}},
		{"many are found, labelled, renamed and deleted", func(s *scene) {
			for _, name := range []string{"one-x", "two-x", "three-x"} {
				s.must("create", "-p", "shell", "-n", name)
			}
			tt := s.tui(110, 30)
			tt.Send("/name:-x state:started")
			tt.See("3 of 5")
			tt.Send("\r*L")
			tt.See("Labels of 3 sandboxes")
			tt.Send("team=ml\r")
			tt.See("3 labelled")
			for _, b := range s.list() {
				if has := b.Labels["team"] == "ml"; has != strings.HasSuffix(b.Name, "-x") {
					s.t.Errorf("%s has the labels %v", b.Name, b.Labels)
				}
			}
			tt.Send("/\x15label:team=ml !one\r")
			tt.See("2 of 5")
			tt.pick("three-x")
			tt.Send("m")
			tt.See("Rename three-x")
			tt.Send("\x15four-x\r")
			tt.See("cove rename three-x four-x")
			tt.selected("four-x")
			tt.Send("*s")
			tt.See("Stop 2 sandboxes?")
			tt.Send("y")
			tt.See("2 stopped")
			s.has("four-x", lifecycle.Stopped)
			tt.Send("*D")
			tt.See("$ cove rm four-x two-x")
			tt.Send("\r") // the default is no
			tt.Gone("Delete 2")
			s.has("two-x", lifecycle.Stopped)
			tt.Send("D")
			tt.See("Delete 2 sandboxes?")
			tt.Send("y")
			tt.See("2 deleted")
			s.has("one-x", lifecycle.Started)
			tt.leave()
		}},
		{"the description of a sandbox, and its sessions", func(s *scene) {
			tt := s.tui(80, 24)
			tt.pick("box")
			tt.enter("first")
			tt.Send("\x1d")
			tt.See("detached from box")
			tt.Send("t")
			tt.Wait("a second shell", func(sc tuitest.Screen) bool { return !sc.Has("sandboxes") && sc.Has("$") })
			tt.Send("echo sec''ond\r")
			tt.See("second")
			tt.Send("\x1d")
			tt.See("detached from box")
			tt.Send("v]")
			tt.See(`image = "host"`)
			tt.Send("[")
			tt.See("● started")
			tt.Send("G")
			tt.See("shell-2")
			tt.Send("q") // back, and not out
			tt.See("> box")
			tt.leave()
		}},
	}
}
