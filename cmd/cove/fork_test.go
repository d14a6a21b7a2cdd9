package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"cove/runtime/api"
)

func (h *host) snapshot(args ...string) api.Snapshot {
	h.t.Helper()
	var s api.Snapshot
	out := h.must(append([]string{"snapshot", "create", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	return s
}

// TestSnapshotAndFork: the state of a sandbox, kept while it runs and when it does
// not, is there in others, which go their own ways, whatever becomes of it.
func TestSnapshotAndFork(t *testing.T) {
	for _, quota := range []string{"0", "1GiB"} {
		t.Run("disk "+quota, func(t *testing.T) {
			h := realHost(t)
			h.must("create", "-p", "shell", "-n", "a", "--disk", quota, "--label", "k=v")
			h.must("exec", "a", "--", "sh", "-c", `cd; mkdir d; echo one > d/f; ln d/f hard; ln -s d/f link; truncate -s 1G sparse; echo gone > gone
				head -c 20000000 /dev/urandom > big; sudo rm /usr/bin/less; sudo touch /usr/bin/newtool; sudo setfattr -n user.a -v b d/f 2>/dev/null; (while :; do date +%N > ticks; done) > /dev/null 2>&1 &`)
			hot := h.snapshot("a", "hot")
			if hot.Frozen <= 0 || hot.Copied < 20000000 || hot.Copied > 200e6 {
				t.Errorf("of one that runs: %+v", hot)
			}
			h.must("exec", "a", "--", "sh", "-c", "pkill -f \"[t]icks\"; cd; rm gone; echo two > d/f")
			h.must("stop", "a")
			cold := h.snapshot("a")
			if cold.Name != "a-1" || cold.Frozen != 0 || cold.Copied != 0 {
				t.Errorf("of one that is stopped: %+v", cold)
			}
			look := `cd; cat d/f hard link; stat -c '%h %s' d/f sparse; ls gone 2>/dev/null; ls /usr/bin/less 2>/dev/null; ls /usr/bin/newtool; hostname; sha256sum < big`
			h.must("create", "-p", "shell", "-n", "from-hot", "--image", "snapshot:hot")
			h.must("create", "-p", "shell", "-n", "from-cold", "--image", "snapshot:a-1")
			sum := h.must("exec", "from-cold", "--", "sh", "-c", "sha256sum < ~/big")
			for name, want := range map[string]string{
				"from-hot":  "one\none\none\n2 4\n1 1073741824\ngone\n/usr/bin/newtool\nfrom-hot\n" + sum,
				"from-cold": "two\ntwo\ntwo\n2 4\n1 1073741824\n/usr/bin/newtool\nfrom-cold\n" + sum,
			} {
				if got := h.must("exec", name, "--", "sh", "-c", look); got != want {
					t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
				}
			}
			// Five forks at once, which diverge.
			names := strings.Fields(h.must("fork", "a", "f", "--count", "5"))
			if len(names) != 5 {
				t.Fatalf("forks: %q", names)
			}
			for i, name := range names {
				h.must("exec", name, "--", "sh", "-c", fmt.Sprintf("echo %d > ~/mine; rm ~/big; echo changed-%d > ~/d/f", i, i))
			}
			h.must("rm", "--now", "a")
			h.must("snapshot", "rm", "hot", cold.ID)
			for i, name := range names {
				got := h.must("exec", name, "--", "sh", "-c", "cd; cat mine d/f hard; ls big 2>/dev/null; hostname")
				if want := fmt.Sprintf("%d\nchanged-%d\nchanged-%d\n%s\n", i, i, i, name); got != want && !strings.Contains(got, name) {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
				if h.inspect(name).Labels["k"] != "v" {
					t.Errorf("%s has no label", name)
				}
			}
			h.must("restart", "from-cold")
			h.must("stop", names[0])
			h.kill()
			h.must("daemon", "start")
			h.must("start", names[0])
			if got := h.must("exec", names[0], "--", "cat", "/home/dev/mine"); got != "0\n" {
				t.Errorf("after a restart of all: %q", got)
			}
			h.refuse(1, []string{"no such snapshot"}, "create", "-p", "shell", "--image", "snapshot:hot")
		})
	}
}
