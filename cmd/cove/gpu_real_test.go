package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
)

// cudaCall takes memory on the card, has the card fill it, and reads it back, by
// NVIDIA's own library and nothing else. It says so and holds the memory until
// its input ends.
const cudaCall = `
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
def call(name, *args):
    r = getattr(cuda, name)(*args)
    if r: sys.exit("%s: error %d" % (name, r))
call("cuInit", 0)
n, dev, ctx, p, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_size_t(512 << 20)
call("cuDeviceGetCount", ctypes.byref(n))
call("cuDeviceGet", ctypes.byref(dev), 0)
name = ctypes.create_string_buffer(100)
call("cuDeviceGetName", name, 100, dev)
call("cuDevicePrimaryCtxRetain", ctypes.byref(ctx), dev)
call("cuCtxSetCurrent", ctx)
call("cuMemAlloc_v2", ctypes.byref(p), size)
call("cuMemsetD8_v2", p, ctypes.c_ubyte(0x5a), size)
back = ctypes.create_string_buffer(4096)
call("cuMemcpyDtoH_v2", back, ctypes.c_uint64(p.value + size.value - 4096), ctypes.c_size_t(4096))
print(n.value, name.value.decode(), "filled" if back.raw == b"\x5a" * 4096 else "wrong", flush=True)
sys.stdin.read()
`

// A real card of NVIDIA's works in the sandbox that has it, and in no other.
// COVE_TEST_GPU=1 makes its absence a failure (make test-gpu).
func TestRealGPU(t *testing.T) {
	var st unix.Stat_t
	switch err := unix.Stat("/dev/nvidia0", &st); {
	case err != nil && os.Getenv("COVE_TEST_GPU") == "":
		t.Skipf("this machine has no GPU of NVIDIA's: %v", err)
	case err != nil:
		t.Fatalf("this machine has no GPU of NVIDIA's: %v", err)
	}
	h := realHost(t)
	h.must("daemon", "start")
	out, _, _ := h.cove("doctor")
	t.Logf("cove doctor:\n%s", out)
	list := h.gpus()
	if len(list) == 0 {
		t.Fatal("cove finds no GPU")
	}
	g := list[0]
	t.Logf("gpu 0: %+v", g)
	if g.Vendor != "NVIDIA" || !strings.HasPrefix(g.UUID, "GPU-") || g.Model == "" || len(g.Missing) > 0 || g.MemoryTotal < 1<<30 {
		t.Errorf("gpu 0 is %+v", g)
	}
	h.must("create", "-p", "shell", "-n", "first", "--block-all", "--gpu", g.UUID)
	if smi := h.sh("first", "nvidia-smi -L"); !strings.Contains(smi, g.UUID) || strings.Count(smi, "\n") != 0 {
		t.Errorf("nvidia-smi -L: %s", smi)
	} else {
		t.Log(smi)
	}
	for _, user := range []string{"dev", "root"} {
		out, stderr, code := h.cove("exec", "-u", user, "first", "--", "python3", "-c", cudaCall)
		if code != 0 || !strings.HasPrefix(out, "1 ") || !strings.HasSuffix(out, " filled\n") {
			t.Errorf("CUDA as %s: status %d, %q %s", user, code, out, stderr)
		}
		t.Logf("CUDA as %s: %s", user, out)
	}

	// Others are refused, and have nothing of it.
	h.refuse(1, []string{"gpu 0", g.Model, "is held by first"}, "create", "-p", "shell", "--block-all", "-n", "second", "--gpu", "0,")
	h.must("create", "-p", "shell", "-n", "without", "--block-all")
	if got := h.sh("without", "ls /dev | grep nvidia"); got != "" {
		t.Errorf("a sandbox without it has %q", got)
	}
	out, stderr, code := h.cove("exec", "without", "--", "python3", "-c", cudaCall)
	if code == 0 {
		t.Errorf("CUDA works in a sandbox without it: %s", out)
	}
	t.Logf("CUDA in a sandbox without it: %s", strings.TrimSpace(stderr))
	major, minor := int(unix.Major(st.Rdev)), int(unix.Minor(st.Rdev))
	if got := h.openForeign("without", major, minor); !strings.HasSuffix(got, "Operation not permitted") {
		t.Errorf("its node, put into a sandbox without it: %q", got)
	}
	if len(list) > 1 {
		// Nor has the first what is another card's.
		if got := h.openForeign("first", major, minor+1); !strings.HasSuffix(got, "Operation not permitted") {
			t.Errorf("another card's node, put into the first: %q", got)
		}
	}

	// What a program in it takes of the card is told.
	cmd := h.command(t.Context(), "exec", "-i", "first", "--", "python3", "-c", cudaCall)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	text, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 200)
	if n, err := text.Read(line); err != nil || !bytes.Contains(line[:n], []byte("filled")) {
		t.Errorf("CUDA: %q %v %s", line[:n], err, &said)
	}
	h.eventually("the memory it uses", func() bool {
		var list []api.Stats
		if err := json.Unmarshal([]byte(h.must("stats", "--json", "first")), &list); err != nil || len(list) != 1 {
			t.Fatalf("stats: %v", err)
		}
		use := list[0].GPUs
		return len(use) == 1 && use[0].ID == g.ID && use[0].Memory > 512<<20 && len(use[0].Missing) == 0
	})
	t.Logf("cove gpu ls:\n%s", h.must("gpu", "ls"))
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("CUDA: %v %s", err, &said)
	}

	// The daemon's end changes nothing: the card is held and works.
	h.kill()
	h.must("daemon", "start")
	h.refuse(1, []string{"gpu 0", "is held by first"}, "create", "-p", "shell", "--block-all", "-n", "second", "--gpu", "1")
	if out, stderr, code := h.cove("exec", "first", "--", "python3", "-c", cudaCall); code != 0 {
		t.Errorf("CUDA after the daemon was killed: status %d, %q %s", code, out, stderr)
	}

	h.must("stop", "first")
	h.must("create", "-p", "shell", "-n", "second", "--block-all", "--gpu", "1")
	if out, stderr, code := h.cove("exec", "second", "--", "python3", "-c", cudaCall); code != 0 {
		t.Errorf("CUDA in the second: status %d, %q %s", code, out, stderr)
	}
}
