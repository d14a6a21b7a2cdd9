package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cove/runtime/lifecycle"
)

// everything is all that a directory is, in lines: contents, owners, modes, times,
// links, attributes.
const everything = `cd %s && find . -printf '%%p %%y %%m %%U:%%G %%s %%n %%l %%TY-%%Tm-%%Td %%TT\n' | grep -v '^\. \|^./[^ ]* d' | sort; find . -type d -printf '%%p %%m %%U:%%G\n' | sort; find . -type f -print0 | sort -z | xargs -0 -r sha256sum`

// TestMove takes a sandbox, with all that it is made of, to another cove.
func TestMove(t *testing.T) {
	for _, from := range []string{"image", "host"} {
		t.Run(from, func(t *testing.T) {
			if from == "host" && os.Getenv("COVE_SOAK") == "" {
				t.Skip("all of this machine's own system takes minutes: make soak")
			}
			h, there := realHost(t), realHost(t)
			dir := t.TempDir()
			file := filepath.Join(dir, "moved.cove")
			look := "/"
			if from == "image" {
				saved := filepath.Join(dir, "box.tar")
				saveImage(t, saved)
				h.must("create", "-p", "shell", "-n", "m", "--image", "docker-archive:"+saved, "--block-all", "--label", "k=v", "--memory", "256MiB")
				h.must("exec", "-u", "root", "m", "--", "sh", "-c", "echo mine > /srv/app/f; rm /bin/wc; echo x > /etc/new")
				look = "/srv"
			} else {
				h.must("create", "-p", "shell", "-n", "m", "--block-all", "--label", "k=v", "--memory", "256MiB")
				h.must("exec", "m", "--", "sh", "-c", "cd; echo mine > f; ln f hard; ln -s f link; truncate -s 1M sparse; sudo rm /usr/bin/less; sudo touch /usr/bin/newtool")
				look = "/home/dev"
			}
			h.refuse(1, []string{"stopped"}, "archive", "m", "--full", "-o", file)
			h.must("archive", "m", "--stop", "--full", "-o", file)
			if s := h.inspect("m"); s.State != lifecycle.Stopped {
				t.Errorf("it is %s now", s.State)
			}
			h.must("start", "m")
			tree := strings.Replace(everything, "%s", look, 1)
			tree = strings.ReplaceAll(tree, "%%", "%")
			list := func(h *host, name string) string {
				if from == "image" {
					return h.must("exec", "-u", "root", name, "--", "sh", "-c", "cd "+look+"; stat -c '%n %F %a %u:%g' . app app/f /bin/sh /etc/passwd; cat app/f; ls /bin/wc 2>&1; cat /etc/new")
				}
				return h.must("exec", name, "--", "bash", "-c", tree+"; ls /usr/bin/less 2>&1; ls /usr/bin/newtool; ls /usr/bin | wc -l")
			}
			want := list(h, "m")

			if got := there.must("import", file); got != "m\n" {
				t.Errorf("import: %q", got)
			}
			there.refuse(1, []string{"of that name"}, "import", file)
			there.must("import", file, "-n", "m2")
			d := there.inspect("m")
			if d.State != lifecycle.Stopped || d.Labels["k"] != "v" || d.Spec.Resources.Memory != 256<<20 || !d.Spec.Network.BlockAll {
				t.Errorf("it is %s, with %v and %+v", d.State, d.Labels, d.Spec.Resources)
			}
			there.must("start", "m")
			if got := list(there, "m"); got != want {
				t.Errorf("there it is\n%s\nhere it is\n%s", got, want)
			}
			if from == "image" {
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				for name, bad := range map[string][]byte{"cut": data[:len(data)-100], "changed": flipped(data), "none": []byte("x"), "empty": nil} {
					at := filepath.Join(dir, name)
					if err := os.WriteFile(at, bad, 0o600); err != nil {
						t.Fatal(err)
					}
					if _, stderr, code := there.cove("import", at, "-n", "bad"); code != 1 || strings.Count(stderr, "\n") != 1 {
						t.Errorf("%s: exit %d, %s", name, code, stderr)
					}
				}
				out, stderr, code := h.cove("archive", "m", "--stop", "--full", "-o", "-")
				if code != 0 {
					t.Fatalf("to standard output: exit %d, %s", code, stderr)
				}
				if out, stderr, code := there.coveIn([]byte(out), "import", "-", "-n", "piped"); code != 0 || out != "piped\n" {
					t.Errorf("from standard input: exit %d, %s%s", code, out, stderr)
				}
			}
			there.must("rm", "--now", "m", "m2")
		})
	}
}

func flipped(data []byte) []byte {
	data = bytes.Clone(data)
	data[len(data)/2] ^= 1
	return data
}
