package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"testing"
	"time"
)

// An apply that is killed, or whose daemon is, leaves each file as it was or as it is
// to be, and another makes the rest of it.
func TestApplyKilled(t *testing.T) {
	h := realHost(t)
	base := h.tree(0, "proj/")
	proj := base + "/proj"
	const files = 40
	h.run1("sh", "-ec", `cd "$1"; for i in $(seq `+fmt.Sprint(files)+`); do mkdir -p d$((i % 7)); head -c 3000 /dev/zero | tr '\0' o > d$((i % 7))/f$i; done`, "sh", proj)
	h.must("create", "-n", "a", "-p", "base", "--block-all", "--mount", proj+":/workspace:cow")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	states := `cd "$1"; for f in d*/*; do case $f in */.cove-apply-*) continue;; esac; tr -d "$2" < $f | grep -q . && { echo "$f is torn"; exit 1; }; test $(wc -c < $f) = 3000 || { echo "$f has $(wc -c < $f) bytes"; exit 1; }; done; true`
	for round := range rounds(4) {
		letter := string(rune('a' + round%26))
		h.must("exec", "a", "--", "sh", "-ec", `cd /workspace; for f in d*/f*; do head -c 3000 /dev/zero | tr '\0' `+letter+` > t; cat t > $f; done; rm t`)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := h.command(ctx, "apply", "a")
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range rng.IntN(files) {
			lines.Scan()
		}
		if round%2 == 0 {
			_ = cmd.Process.Kill()
		} else {
			h.kill()
		}
		err = cmd.Wait()
		cancel()
		t.Logf("round %d: %v", round, err)
		// Whole files, of before or of now, and nothing between.
		h.run1("sh", "-c", `cd "$1" && for f in d*/f*; do case "$(tr -d '\n' < $f | fold -w 3000)" in *[!`+letter+`]*[`+letter+`]*|*[`+letter+`]*[!`+letter+`]*) echo "$f is torn"; exit 1;; esac; test $(wc -c < $f) = 3000 || { echo "$f: $(wc -c < $f)"; exit 1; }; done`, "sh", proj)
		if round%2 == 1 {
			h.must("daemon", "start")
			settle(h)
		}
		// What a killed one had made and not told of is no change any more.
		h.must("apply", "a")
		h.run1("sh", "-ec", states, "sh", proj, letter)
		if out := h.must("diff", "a", "--stat"); out != "" {
			t.Fatalf("round %d leaves\n%s", round, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", `find "$1" -name '.cove-apply-*' | wc -l`, "sh", proj).Output(); err == nil {
		t.Logf("partial files left by kills: %s", out)
	}
}
