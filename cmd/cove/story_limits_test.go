package main

import (
	"strings"

	"cove/config"
	"cove/runtime/lifecycle"
	"cove/tui/tuitest"
)

// limitsStories are about what sandboxes may use, and what they do by themselves.
func limitsStories() []story {
	return []story{
		{"limits are changed while it runs, and a refusal loses nothing", func(s *scene) {
			s.must("create", "-p", "shell", "-n", "fat", "--memory", "512MiB")
			tt := s.tui(120, 34)
			tt.pick("fat")
			tt.enter("filled")
			// A string of 100 MB, which cannot be given back by reclaim.
			tt.Send("x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo [${#x}]\r")
			tt.See("[100000000]")
			tt.Send("\x1d")
			tt.See("detached from fat")
			tt.Wait("its memory in the row", func(sc tuitest.Screen) bool { l, _ := row(sc, "fat"); return strings.Contains(l, "M/512M") })
			tt.Send("R")
			tt.See("  Memory     512MiB")
			tt.See("M in use, peak")
			tt.Send("\t48MiB")
			tt.See("in use: may be refused")
			tt.See("$ cove resize fat --memory 48MiB")
			tt.Send("\r")
			tt.Wait("the refusal with the number in use, and what was typed", func(sc tuitest.Screen) bool {
				_, y := sc.Line("> Memory     48MiB")
				return y >= 0 && !sc.Has("resize…") && sc.Has("MiB of memory are in use: 48MiB cannot be the limit") && sc.Has("all of the error")
			})
			if m := s.inspect("fat").Spec.Resources.Memory; m != 512*config.MiB {
				s.t.Errorf("the limit is %s", m)
			}
			tt.Send("\x151GiB\t\t200\r")
			tt.See("resized fat   $ cove resize fat --memory 1GiB --pids 200")
			tt.Wait("the limit in the row", func(sc tuitest.Screen) bool { l, _ := row(sc, "fat"); return strings.Contains(l, "M/1G") })
			if r := s.inspect("fat").Spec.Resources; r.Memory != config.GiB || r.Pids != 200 {
				s.t.Errorf("it has %+v", r)
			}
			tt.enter("lives") // the same shell, with its string
			tt.Send("echo [${#x}]\r")
			tt.See("[100000000]")
			tt.Send("\x1d")
			tt.See("detached from fat")
			tt.leave()
		}},
		{"what is idle counts down, is kept alive, stops and is deleted", func(s *scene) {
			s.must("create", "-p", "shell", "-n", "idler", "--auto-stop", "50m")
			tt := s.tui(120, 34)
			tt.pick("idler")
			tt.Wait("the countdown in the row and its cause in words", func(sc tuitest.Screen) bool {
				l, _ := row(sc, "idler")
				return (strings.Contains(l, "stop 49m") || strings.Contains(l, "stop 50m")) && sc.Has("stops in 49m") && sc.Has(": no ")
			})
			tt.Send("T")
			tt.See("touched idler   $ cove touch idler")
			tt.Send("Z")
			tt.See("> Stop     50m")
			tt.Send("2s\t\t\t0\r")
			tt.See("changed idler   $ cove automation idler --auto-stop 2s --auto-delete 0")
			tt.Gone("> idler")
			s.has("idler", lifecycle.Destroyed)
			tt.Send("a")
			tt.Wait("what became of it, with why", func(sc tuitest.Screen) bool { return sc.Has("cove automation idler") && sc.Has("idler: gone") })
			tt.Send("\x1b")
			tt.Wait("the list", func(sc tuitest.Screen) bool { return sc.Has("> zed") })
			tt.leave()
		}},
		{"the past of a sandbox is seen, over minutes and hours", func(s *scene) {
			tt := s.tui(120, 34)
			tt.pick("box")
			tt.Send("]]")
			tt.See("[15m]")
			tt.Send("--")
			tt.See("[6h]")
			tt.See("CHANGES")
			tt.Send("s")
			tt.See("stopped box")
			tt.See("stopped: somebody stopped it")
			tt.Send("H")
			tt.See("This machine")
			tt.See("esc closes")
			tt.Send("\x1b")
			tt.Gone("This machine")
			tt.leave()
		}},
	}
}
