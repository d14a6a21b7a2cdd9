//go:build vmtest

package main

import (
	"strconv"
	"strings"
	"testing"
)

// TestGuestDisk has a disk grow while a program writes to it.
func TestGuestDisk(t *testing.T) {
	h := guestHost(t)
	h.must("create", "-p", "shell", "-n", "one", "--disk", "64MiB")
	h.inside("one", "seq 50000 > /var/numbers")
	h.must("exec", "one", "-u", "root", "--", "sh", "-c", `setsid sh -c '
		i=0; while [ ! -e /run/stop ]; do i=$((i+1)); seq $i $((i+5000)) > /var/w$((i%7)); sync /var/w$((i%7)); echo $i > /run/turns; done; touch /run/stopped' > /dev/null 2>&1 & :`)
	turns := func() int {
		n, _ := strconv.Atoi(h.inside("one", "cat /run/turns 2>/dev/null || echo 0"))
		return n
	}
	until(t, "it writes", func() bool { return turns() > 2 })
	for _, size := range []int{96, 128, 512} {
		before := turns()
		h.must("resize", "one", "--disk", strconv.Itoa(size)+"MiB")
		if got := h.inside("one", "df -B1 / | tail -1 | awk '{print $2}'"); got != strconv.Itoa(size*mib) {
			t.Errorf("df after growing to %d MiB: %s", size, got)
		}
		until(t, "it writes on", func() bool { return turns() > before })
	}
	h.inside("one", "touch /run/stop")
	until(t, "it stops", func() bool { return h.inside("one", "ls /run/stopped 2>/dev/null || :") != "" })
	h.inside("one", "seq 50000 | cmp - /var/numbers; for f in /var/w*; do n=$(head -1 $f); seq $n $((n+5000)) | cmp - $f || exit 1; done")
	if n, said := h.fill("one", "/var/more", 200); n != 200*mib {
		t.Errorf("in the new space: %d bytes, %s", n, said)
	}
	h.refuse(2, []string{"only grow"}, "resize", "one", "--disk", "256MiB")
	if free, stderr, code := h.cove("doctor"); code > 1 || !strings.Contains(free, "while the sandbox runs") {
		t.Errorf("doctor: status %d\n%s%s", code, free, stderr)
	}
	h.must("restart", "one")
	h.inside("one", "seq 50000 | cmp - /var/numbers")
	h.must("rm", "one")
}
