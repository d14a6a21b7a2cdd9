package main

import (
	"os"
	"path/filepath"
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
		{"of what an agent changed one file is applied, one is taken back", func(s *scene) {
			dir := filepath.Join(filepath.Dir(s.run), "cow")
			write := func(name, text string) {
				s.t.Helper()
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					s.t.Fatal(err)
				}
			}
			has := func(name, want string) {
				s.t.Helper()
				if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
					s.t.Errorf("%s has %q, not %q (%v)", name, b, want, err)
				}
			}
			if err := os.Mkdir(dir, 0o755); err != nil {
				s.t.Fatal(err)
			}
			s.t.Cleanup(func() { _ = os.RemoveAll(dir) })
			write("a.txt", "one\ntwo\n")
			write("b.txt", "b\n")
			for _, name := range []string{"", "a.txt", "b.txt"} { // root's own are not for the sandbox's user
				if err := os.Chown(filepath.Join(dir, name), 1000, 1000); err != nil {
					s.t.Fatal(err)
				}
			}
			s.must("create", "-p", "shell", "-n", "agent", "--mount", dir+":/workspace:cow")
			s.must("exec", "agent", "--", "sh", "-c", "cd /workspace && echo three >> a.txt && echo b2 > b.txt && printf 'x\\n' > run.sh && chmod 755 run.sh")
			tt := s.tui(120, 30)
			tt.pick("agent")
			tt.Send("c")
			tt.See("3 changes")
			tt.See("> a.txt")
			tt.See("+three")
			tt.See("a new program")
			tt.Send("a")
			tt.See("Apply a.txt?")
			tt.Send("y")
			tt.See("applied a.txt")
			tt.See("2 changes")
			has("a.txt", "one\ntwo\nthree\n")
			has("b.txt", "b\n")
			// The host's file changes: it is not written over by accident.
			tt.See("> b.txt")
			write("b.txt", "mine\n")
			tt.Send("a")
			tt.See("Apply b.txt?")
			tt.Send("y")
			tt.See("✗ apply b.txt of agent")
			has("b.txt", "mine\n")
			tt.Send("\x1b")
			tt.Gone("✗ apply")
			tt.Send("r")
			tt.See("not applied: changed on the host")
			tt.Send("x")
			tt.See("Discard b.txt?")
			tt.Send("y")
			tt.See("discarded b.txt")
			tt.See("1 change ")
			if got := s.must("exec", "agent", "--", "cat", "/workspace/b.txt"); got != "mine\n" {
				s.t.Errorf("inside b.txt has %q", got)
			}
			tt.Send("*a")
			tt.See("run.sh: a new program")
			tt.Send("y")
			tt.See("Nothing is changed.")
			has("run.sh", "x\n")
			tt.Send("q")
			tt.selected("agent")
			tt.leave()
		}},
		{"a volume is made, and attached to a sandbox that runs", func(s *scene) {
			tt := s.tui(120, 30)
			tt.pick("box")
			tt.Send("4")
			tt.See("No volumes yet.")
			tt.Send("n")
			tt.See("New volume")
			tt.Send("data\r")
			tt.See("made the volume data")
			tt.See("> data")
			tt.Send("a")
			tt.See("$ cove volume attach box data:/data")
			tt.Send("\r")
			tt.See("attached data to box as /data")
			s.must("exec", "box", "--", "sh", "-c", "echo here > /data/file")
			tt.Send("D")
			tt.See("delete: data is attached to box; x detaches it")
			tt.Send("x")
			tt.See("Detach data from box?")
			tt.Send("y")
			tt.See("detached data from box")
			if _, _, code := s.cove("exec", "box", "--", "test", "-e", "/data/file"); code != 1 {
				s.t.Errorf("the file is there still: exit %d", code)
			}
			tt.Send("D")
			tt.See("Delete the volume data?")
			tt.Send("y")
			tt.See("deleted the volume data")
			tt.See("No volumes yet.")
			tt.Send("q")
			tt.selected("box")
			tt.leave()
		}},
		{"a build fails, and says why", func(s *scene) {
			file := filepath.Join(filepath.Dir(s.run), "Dockerfile")
			if err := os.WriteFile(file, []byte("FROM host\nRUN echo it begins; ls /nowhere\n"), 0o600); err != nil {
				s.t.Fatal(err)
			}
			if _, _, code := s.cove("snapshot", "build", "-q", "-n", "tools", "-f", file); code != 1 {
				s.t.Fatalf("exit %d", code)
			}
			tt := s.tui(130, 30)
			tt.pick("build-tools")
			tt.See("✗ build_failed")
			tt.See("it begins")
			tt.See("b builds it again")
			tt.Send("b")
			tt.See("✗ rebuild build-tools")
			tt.Send("D")
			tt.See("Delete build-tools?")
			tt.Send("y")
			tt.See("deleted build-tools")
			tt.leave()
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
