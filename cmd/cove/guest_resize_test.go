//go:build vmtest

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

// TestGuestResize is TestResize where the kernel would kill for a limit of memory
// that is below what is in use.
func TestGuestResize(t *testing.T) {
	h := guestHost(t)
	resizeLive(t, h)
	h.must("rm", "r")
	resizeMemory(t, h)
	resizeCPU(t, h)
	resizeKilled(t, h)
}

// TestGuestResizeLong is what takes minutes there.
func TestGuestResizeLong(t *testing.T) {
	h := guestHost(t)
	if os.Getenv("COVE_SOAK") == "" {
		t.Skip("it takes minutes here: make soak")
	}
	resizeSwap(t, h)
	resizeRounds(t, h, rounds(10))
}

// resizeCPU sees in cpu.stat what a limit of the processor does.
func resizeCPU(t *testing.T, h *host) {
	h.must("create", "-p", "shell", "-n", "c", "--cpu", "2")
	h.must("exec", "c", "--", "sh", "-c", "setsid sh -c 'while :; do :; done' > /dev/null 2>&1 & :")
	throttled := func() int64 { return groupCount(t, h.group("c"), "cpu.stat", "nr_throttled") }
	h.must("resize", "c", "--cpu", "0.1")
	before := throttled()
	until(t, "it is throttled at 0.1", func() bool { return throttled() > before+2 })
	h.must("resize", "c", "--cpu", "0")
	after := throttled()
	time.Sleep(time.Second) // ten periods, none of which may count
	if n := throttled(); n != after {
		t.Errorf("without a limit it was throttled %d times", n-after)
	}
	h.must("rm", "c")
}

// resizeSwap has memory go down into swap, and both refused where it is in use.
func resizeSwap(t *testing.T, h *host) {
	file := filepath.Join(os.Getenv("TMPDIR"), "swap")
	for _, args := range [][]string{{"dd", "if=/dev/zero", "of=" + file, "bs=1M", "count=128"}, {"chmod", "600", file}, {"mkswap", file}, {"swapon", file}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("swapoff", file).CombinedOutput(); err != nil {
			t.Errorf("swapoff: %v\n%s", err, out)
		}
		_ = os.Remove(file)
	})
	alive, _ := holding(t, h, "w", 80)
	kills := oomKills(t, h, "w")
	h.refuse(1, []string{"of memory are in use: 64MiB cannot be the limit"}, "resize", "w", "--memory", "64MiB")
	begin := time.Now()
	h.must("resize", "w", "--memory", "64MiB", "--swap", "64MiB")
	t.Logf("80 MiB into 64 with swap: %v", time.Since(begin))
	if got := agree(t, h, "w"); got.Memory != 64*config.MiB || got.Swap != 64*config.MiB || !alive() {
		t.Errorf("in force is %+v, alive %v", got, alive())
	}
	h.refuse(1, []string{"of swap are in use: 0 cannot be the limit"}, "resize", "w", "--swap", "0", "--memory", "512MiB")
	if got := agree(t, h, "w"); got.Swap != 64*config.MiB || !alive() {
		t.Errorf("the refused resize left %+v, alive %v", got, alive())
	}
	if n := oomKills(t, h, "w"); n != kills {
		t.Errorf("the kernel has killed %d for memory", n-kills)
	}
	h.must("rm", "w")
}

// resizeKilled kills the daemon while the sandbox stands still for the
// limit of its memory, and when that is in force.
func resizeKilled(t *testing.T, h *host) {
	alive, _ := holding(t, h, "s", 20)
	for i, stage := range []string{"still", "memory"} {
		before := agree(t, h, "s")
		h.must("daemon", "stop")
		ended := h.daemonThatDies("resize." + stage)
		memory := config.Size(160+i) * config.MiB
		if _, stderr, code := h.cove("resize", "s", "--memory", fmt.Sprint(int64(memory)), "--pids", fmt.Sprint(200+i)); code != 1 {
			t.Errorf("resize while the daemon dies: status %d\n%s", code, stderr)
		}
		ended()
		h.must("daemon", "start")
		settle(h)
		got := agree(t, h, "s")
		if got != before {
			t.Errorf("killed at %s its limits are %+v of %+v", stage, got, before)
		}
		if state := stateOf(h, "s"); state != lifecycle.Started || !alive() {
			t.Errorf("killed at %s it is %s, alive %v", stage, state, alive())
		}
	}
	h.must("rm", "s")
}
