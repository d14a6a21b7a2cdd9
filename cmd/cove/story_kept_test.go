package main

import (
	"strings"

	"cove/tui/tuitest"
)

// keptStories are about what the daemon keeps beside sandboxes.
func keptStories() []story {
	return []story{
		{"a state is kept, and others are made from it", func(s *scene) {
			s.must("exec", "box", "--", "sh", "-c", "echo kept > /workspace/kept")
			s.t.Cleanup(func() { s.must("exec", "box", "--", "rm", "-f", "/workspace/kept") })
			tt := s.tui(110, 30)
			tt.pick("box")
			tt.Send("S")
			tt.See("$ cove snapshot create box box-")
			tt.Send("\x15good\r")
			tt.See("snapshot good of box: it stood still for")
			s.must("exec", "box", "--", "sh", "-c", "echo later > /workspace/kept")
			tt.Send("f")
			tt.See("Fork of box")
			tt.Send("\x15twin\t2\r")
			tt.See("forked box to twin-1, twin-2")
			tt.selected("twin-1")
			tt.Send("3")
			tt.See("> good")
			tt.Send("\r")
			tt.See("--image snapshot:good")
			tt.Send("\t\x15old\r")
			tt.See("created old")
			tt.selected("old")
			for name, want := range map[string]string{"old": "kept", "twin-1": "later", "twin-2": "later"} {
				if got := strings.TrimSpace(s.must("exec", name, "--", "cat", "/workspace/kept")); got != want {
					s.t.Errorf("%s has %q, not %q", name, got, want)
				}
			}
			tt.Send("3")
			tt.See("used by old")
			tt.Send("D")
			tt.See("Delete the snapshot good?")
			tt.Send("y")
			tt.See("deleted the snapshot good")
			tt.See("No snapshots yet.")
			tt.Send("\x1b")
			tt.selected("old")
			tt.leave()
			if got := strings.TrimSpace(s.must("exec", "old", "--", "cat", "/workspace/kept")); got != "kept" {
				s.t.Errorf("old has %q after the snapshot went", got)
			}
		}},
		{"there are no images, and a registry that is not there", func(s *scene) {
			tt := s.tui(110, 30)
			tt.Send("2")
			tt.See("No images yet. p pulls one")
			tt.Send("p")
			tt.See("Pull an image")
			tt.Send("127.0.0.1:1/nothing:1\r")
			tt.See("✗ pull 127.0.0.1:1/nothing:1")
			tt.Send("e")
			tt.See("$ cove image pull 127.0.0.1:1/nothing:1")
			tt.Send("\x1b")
			tt.Wait("the page", func(sc tuitest.Screen) bool { return !sc.Has("─ Error ─") && sc.Has("─ Images ─") })
			tt.Send("q")
			tt.See("> ")
			tt.leave()
		}},
	}
}
