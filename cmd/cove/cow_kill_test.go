package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An apply that is killed, or whose daemon is, leaves each file as it was or as it is
// to be, and another makes the rest of it.
func TestApplyKillRounds(t *testing.T) {
	h := realHost(t)
	base := h.tree(0, "proj/")
	proj := base + "/proj"
	const files = 40
	h.run1("sh", "-ec", `cd "$1"; head -c 3000 /dev/zero | tr '\0' o > ../t; mkdir d0 d1 d2; for i in $(seq `+fmt.Sprint(files)+`); do cp ../t d$((i % 3))/f$i; done`, "sh", proj)
	h.must("create", "-n", "a", "-p", "base", "--block-all", "--mount", proj+":/workspace:cow")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	// whole fails for a file that is not all of one letter, or with only not of that.
	whole := func(only string) {
		t.Helper()
		all, err := filepath.Glob(proj + "/d*/*")
		if err != nil || len(all) < files {
			t.Fatalf("%d files: %v", len(all), err)
		}
		for _, f := range all {
			text, err := os.ReadFile(f)
			if err != nil || strings.HasPrefix(filepath.Base(f), ".cove-apply-") {
				continue
			}
			if len(text) != 3000 || strings.Trim(string(text), string(text[:1])) != "" || only != "" && string(text[:1]) != only {
				t.Fatalf("%s is %d bytes of %.20q", f, len(text), text)
			}
		}
	}
	for round := range rounds(4) {
		letter := string(rune('a' + round%26))
		h.must("exec", "a", "--", "sh", "-ec", `cd /workspace; head -c 3000 /dev/zero | tr '\0' `+letter+` > /tmp/t; for f in d*/f*; do cat /tmp/t > $f; done`)
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
		whole("")
		if round%2 == 1 {
			h.must("daemon", "start")
			settle(h)
		}
		// What a killed one had made and not told of is no change any more.
		h.must("apply", "a")
		whole(letter)
		if out := h.must("diff", "a", "--stat"); out != "" {
			t.Fatalf("round %d leaves\n%s", round, out)
		}
	}
}
