package main

import (
	"archive/zip"
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cove/runtime/network/nettest"
)

// mirror serves, in the internet of a world, a proxy of Go modules and an index
// of Python packages, and returns its address by name.
func mirror(t *testing.T, w *nettest.World) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	// The cache of downloads has the layout of a proxy (go help goproxy).
	mux.Handle("/go/", http.StripPrefix("/go/", http.FileServer(http.Dir(filepath.Join(strings.TrimSpace(string(out)), "cache", "download")))))
	wheel := tinyWheel(t)
	mux.HandleFunc("/simple/tiny/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<a href="/files/tiny-1.0-py3-none-any.whl">tiny-1.0-py3-none-any.whl</a>`))
	})
	mux.HandleFunc("/files/tiny-1.0-py3-none-any.whl", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(wheel) })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	l := nettest.Listen(t, w.Internet, ":8080")
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return "http://" + nettest.WebName + ":8080"
}

// tinyWheel is a Python package of one module (PEP 427).
func tinyWheel(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range [][2]string{
		{"tiny.py", "word = 'installed'\n"},
		{"tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"},
		{"tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: cove\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"tiny-1.0.dist-info/RECORD", "tiny.py,,\ntiny-1.0.dist-info/METADATA,,\ntiny-1.0.dist-info/WHEEL,,\ntiny-1.0.dist-info/RECORD,,\n"},
	} {
		w, err := z.Create(f[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestBuildsFetch builds a Go program with its dependencies, whose sums are
// checked, and installs a Python package, by the open network.
func TestBuildsFetch(t *testing.T) {
	h, w := worldHost(t)
	at := mirror(t, w)

	h.must("create", "-p", "go", "-n", "gopher", "--env", "GOPROXY="+at+"/go", "--env", "GONOSUMDB=*", "--env", "GOFLAGS=-mod=mod", "--env", "CGO_ENABLED=0")
	put := func(path string, data []byte) {
		t.Helper()
		if out, stderr, code := h.coveIn(data, "exec", "-i", "gopher", "--", "sh", "-c", "cat > "+path); code != 0 {
			t.Fatalf("write %s: %s%s", path, out, stderr)
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		put("/workspace/"+name, data)
	}
	put("/workspace/main.go", []byte(`package main

import (
	"fmt"

	"github.com/mattn/go-runewidth"
)

func main() { fmt.Println("built", runewidth.StringWidth("世界")) }
`))
	if got := h.must("exec", "gopher", "--", "sh", "-c", "cd /workspace && go build -o hello . && ./hello"); got != "built 4\n" {
		t.Errorf("the program says %q", got)
	}

	h.must("create", "-p", "python", "-n", "snake")
	got := h.must("exec", "snake", "--", "sh", "-c",
		"pip install --quiet --disable-pip-version-check --index-url "+at+"/simple --trusted-host "+nettest.WebName+" tiny && python -c 'import tiny; print(tiny.word)'")
	if got != "installed\n" {
		t.Errorf("the package says %q", got)
	}

	// Closed, neither gets anything.
	h.must("network", "gopher", "--block-all")
	if _, stderr, code := h.cove("exec", "gopher", "--", "sh", "-c", "cd /workspace && go clean -modcache && go build -o hello ."); code == 0 || !strings.Contains(stderr, nettest.WebName) {
		t.Errorf("go build without a network: status %d\n%s", code, stderr)
	}
}
