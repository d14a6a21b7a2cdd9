package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// A deleted sandbox is brought back with its files, its name, its labels and its
// limits.
func TestUndo(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	h.must("create", "-p", "shell", "-n", "a", "--disk", "64MiB", "--cpu", "1.5", "--memory", "256MiB", "--label", "team=ml", "--block-all")
	h.sh("a", "echo kept >~/kept; sleep 1000 >/dev/null 2>&1 &")
	before := h.inspect("a")
	h.must("rm", "a")
	if got := h.must("ls", "--json"); strings.TrimSpace(got) != "[]" {
		t.Errorf("listed: %s", got)
	}
	var list []api.Deleted
	if err := json.Unmarshal([]byte(h.must("undo", "--json")), &list); err != nil || len(list) != 1 || list[0].Name != "a" || list[0].ID != before.ID {
		t.Errorf("%v, %+v", err, list)
	}
	if got := h.must("undo", "--list"); !strings.Contains(got, "a     "+before.ID+"  shell    ") {
		t.Errorf("list:\n%s", got)
	}
	if out, stderr, code := h.cove("doctor", "--leaks"); code != 0 {
		t.Errorf("leaks:\n%s%s", out, stderr)
	}
	h.must("create", "-p", "shell", "-n", "a", "--block-all")
	h.refuse(1, []string{"a", "rename that one first"}, "undo", "a")
	h.must("rm", "--now", "a")
	h.kill()
	h.must("daemon", "start")
	if got := h.must("undo"); got != "a\n" {
		t.Errorf("undo prints %q", got)
	}
	after := h.inspect("a")
	if after.ID != before.ID || after.State != lifecycle.Stopped || after.Labels["team"] != "ml" || after.Spec.Resources.Memory != 256*config.MiB ||
		after.Spec.Resources.CPU != 1.5 || after.Spec.Resources.Disk != 64*config.MiB || !after.Created.Equal(before.Created) {
		t.Errorf("brought back: %+v", after)
	}
	h.must("start", "a")
	if got := h.sh("a", "cat ~/kept; df -h / | tail -1"); !strings.HasPrefix(got, "kept\n") || !strings.Contains(got, " 64M ") {
		t.Errorf("inside: %s", got)
	}
	h.refuse(1, []string{"there is nothing to undo"}, "undo")
	h.refuse(1, []string{"nope", "no such deleted sandbox"}, "undo", "nope")
	h.must("rm", "--now", "a")
	h.refuse(1, []string{"there is nothing to undo"}, "undo")
	h.must("create", "-p", "shell", "-n", "e", "--auto-delete", "0", "--block-all")
	h.must("stop", "e")
	h.refuse(1, []string{"there is nothing to undo"}, "undo")
	if out, stderr, code := h.cove("doctor", "--leaks"); code != 0 { // waits for what is being deleted
		t.Errorf("leaks:\n%s%s", out, stderr)
	}
	if left, err := os.ReadDir(filepath.Join(h.state, "trash")); err != nil || len(left) != 0 {
		t.Errorf("in the trash: %v, %v", left, err)
	}
}
