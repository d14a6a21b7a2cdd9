package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/runtime/network/nettest"
)

const registryAddr = "127.0.0.1:5000"

// registry starts Debian's docker-registry in the network of the test's cove, and
// tells where it keeps its blobs.
func (h *host) registry() (dir string) {
	h.t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		h.t.Skipf("no docker-registry on this machine (make test-deps): %v", err)
	}
	dir = h.t.TempDir()
	conf := filepath.Join(dir, "conf.yml")
	text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\nlog: {level: error}\n", dir, registryAddr)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	cmd := h.program(context.Background(), program, "serve", conf)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	until(h.t.(*testing.T), "the registry", func() bool {
		c, err := h.dial(registryAddr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return dir
}

// dial connects in the network of the test's cove.
func (h *host) dial(addr string) (c net.Conn, err error) {
	err = nettest.In(h.net, func() (err error) { c, err = net.DialTimeout("tcp", addr, 5*time.Second); return err })
	return c, err
}

func (h *host) push(ref string, img v1.Image) {
	h.t.Helper()
	r, err := name.ParseReference(registryAddr+"/"+ref, name.Insecure)
	if err != nil {
		h.t.Fatal(err)
	}
	tr := &http.Transport{DialContext: func(_ context.Context, _, addr string) (net.Conn, error) { return h.dial(addr) }}
	defer tr.CloseIdleConnections()
	if err := remote.Write(r, img, remote.WithTransport(tr)); err != nil {
		h.t.Fatal(err)
	}
}

// file is an entry of a layer; mode 0 is 0644.
type file struct {
	tar.Header
	text string
}

func layerOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := f.Header
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		h.Size = int64(len(f.text))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// imageOf makes an image of layers; those that are no tars have to be layers.
func imageOf(t testing.TB, change func(*v1.ConfigFile), layers ...any) v1.Image {
	t.Helper()
	img := empty.Image
	for _, l := range layers {
		layer, ok := l.(v1.Layer)
		if data, plain := l.([]byte); plain {
			var err error
			if layer, err = tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }); err != nil {
				t.Fatal(err)
			}
			ok = true
		}
		if !ok {
			t.Fatalf("a layer of the type %T", l)
		}
		var err error
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", "amd64"
	if change != nil {
		change(cf)
	}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	return img
}

// busybox is an image of nothing but busybox: no bash, no /dev, no /proc, no /etc but
// a user.
func busybox(t testing.TB) v1.Image {
	t.Helper()
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("no busybox on this machine: %v", err)
	}
	files := []file{{tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, ""}, {tar.Header{Name: "bin/busybox", Mode: 0o755}, string(data)}}
	for _, a := range []string{"sh", "ls", "cat", "id", "echo", "env", "pwd", "sleep", "touch", "rm", "stat", "wc", "stty"} {
		files = append(files, file{tar.Header{Name: "bin/" + a, Typeflag: tar.TypeLink, Linkname: "bin/busybox"}, ""})
	}
	files = append(files, file{tar.Header{Name: "etc/passwd"}, "root:x:0:0:root:/root:/bin/sh\napp:x:1234:1234::/srv/app:/bin/sh\n"}, file{tar.Header{Name: "etc/old"}, "old"})
	upper := layerOf(t, file{tar.Header{Name: "etc/.wh.old"}, ""}, file{tar.Header{Name: "srv/app/", Typeflag: tar.TypeDir, Mode: 0o755, Uid: 1234, Gid: 1234}, ""})
	return imageOf(t, func(cf *v1.ConfigFile) {
		cf.Config.Env = []string{"PATH=/bin", "GREETING=hello from the image"}
		cf.Config.User, cf.Config.WorkingDir = "app", "/srv/app"
	}, layerOf(t, files...), upper)
}

// TestImages: a sandbox of an image that has nothing but busybox, from a real
// registry.
func TestImages(t *testing.T) {
	h := realHost(t)
	h.registry()
	h.push("busybox:1", busybox(t))
	ref := registryAddr + "/busybox:1"
	h.must("create", "-p", "shell", "-n", "b", "--image", ref)
	got := h.must("exec", "b", "--", "sh", "-c", "id -u; pwd; echo $GREETING; ls /etc/old 2>/dev/null; cat /etc/hostname; touch mine; stat -c %u mine; ls -d /dev /proc /sys /tmp")
	if want := "1234\n/srv/app\nhello from the image\nb\n1234\n/dev\n/proc\n/sys\n/tmp\n"; got != want {
		t.Errorf("in it: %q, want %q", got, want)
	}
	tt := h.attach("b", 90, 24)
	tt.Send("echo [$((6*7)) $(stty size)]\r")
	tt.See("[42 24 90]")
	tt.detach()
	h.must("exec", "-u", "root", "b", "--", "touch", "/root-was-here")
	h.must("cp", "b:/etc/passwd", filepath.Join(t.TempDir(), "passwd"))
	h.must("restart", "b")
	h.must("exec", "b", "--", "ls", "/root-was-here", "mine")
	h.refuse(1, []string{"b is made of it"}, "image", "rm", ref)
	h.must("snapshot", "create", "b", "s")
	h.must("create", "-p", "shell", "-n", "c", "--image", "snapshot:s")
	if got := h.must("exec", "c", "--", "sh", "-c", "id -u; pwd; echo $GREETING; ls mine"); got != "1234\n/srv/app\nhello from the image\nmine\n" {
		t.Errorf("in one of its snapshot: %q", got)
	}
	h.must("rm", "b")
	h.must("image", "rm", ref)
	h.must("undo", "b") // its layers are still there
	h.must("start", "b")
	h.must("exec", "b", "--", "ls", "mine")
	h.must("rm", "--now", "b", "c")
	h.must("snapshot", "rm", "s")
	// What the registry says is what is told, once.
	h.refuse(1, []string{"manifest unknown"}, "create", "-p", "shell", "--image", registryAddr+"/nothing:1")
	h.refuse(1, []string{"does not answer"}, "create", "-p", "shell", "--image", "127.0.0.1:1/x")
	h.refuse(2, []string{"no reference"}, "create", "-p", "shell", "--image", "a@b")
	h.leaveNoLayer()
}

// leaveNoLayer checks that nothing is left of images.
func (h *host) leaveNoLayer() {
	h.t.Helper()
	if out, stderr, code := h.cove("doctor", "--leaks"); code != 0 {
		h.t.Errorf("leaks:\n%s%s", out, stderr)
	}
	entries, err := os.ReadDir(filepath.Join(h.state, "layers"))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "sha256-") || strings.HasPrefix(e.Name(), ".making") || strings.HasPrefix(e.Name(), ".gone") || strings.HasPrefix(e.Name(), "snap-") {
			h.t.Errorf("left is the layer %s", e.Name())
		}
	}
	blobs, err := os.ReadDir(filepath.Join(h.state, "images", "blobs"))
	if err != nil || len(blobs) > 0 {
		h.t.Errorf("left are the blobs %v, %v", blobs, err)
	}
}

// debianPython is Debian with Python, in several layers: made once by mmdebstrap and
// kept.
func debianPython(t testing.TB) v1.Image {
	t.Helper()
	program, err := exec.LookPath("mmdebstrap")
	if err != nil {
		t.Skipf("no mmdebstrap on this machine (make test-deps): %v", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = "/root/.cache"
	}
	path := filepath.Join(cache, "cove-test", "debian-python-1.tar")
	if _, err := os.Stat(path); err != nil {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, "--variant=essential", "--include=python3-minimal", "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
			"--dpkgopt=path-exclude=/usr/share/locale/*", "bookworm", path+".new")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("mmdebstrap has no mirror: %v\n%s", err, out)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	base, err := tarball.LayerFromFile(path, tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		t.Fatal(err)
	}
	return imageOf(t, func(cf *v1.ConfigFile) { cf.Config.Cmd = []string{"python3"} }, base,
		layerOf(t, file{tar.Header{Name: "opt/app/main.py"}, "print(6 * 7)\n"}, file{tar.Header{Name: "etc/.wh.issue"}, ""}),
		layerOf(t, file{tar.Header{Name: "opt/app/.wh..wh..opq"}, ""}, file{tar.Header{Name: "opt/app/app.py"}, "import sys; print(sys.version_info.major * 14)\n"}))
}

// slowly passes connections on to the registry, at so many bytes a second, and counts
// what comes of blobs.
type slowly struct {
	perSecond atomic.Int64
	passed    atomic.Int64
}

func (s *slowly) serve(h *host, l net.Listener) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := h.dial(registryAddr)
		if err != nil {
			_ = in.Close()
			continue
		}
		go func() { _, _ = io.Copy(out, in); _ = out.(*net.TCPConn).CloseWrite() }()
		go func() {
			defer func() { _ = in.Close(); _ = out.Close() }()
			buf := make([]byte, 64<<10)
			for {
				n, err := out.Read(buf)
				if n > 0 {
					s.passed.Add(int64(n))
					if _, err := in.Write(buf[:n]); err != nil {
						return
					}
					if rate := s.perSecond.Load(); rate > 0 {
						time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
					}
				}
				if err != nil {
					return
				}
			}
		}()
	}
}

// TestPull: a large image from a real registry, shown as it comes; killed in the
// middle it goes on where it was; two that need it at once have it come once.
func TestPull(t *testing.T) {
	h := realHost(t)
	img := debianPython(t)
	h.registry()
	h.push("debian-python:1", img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, l := range layers {
		n, err := l.Size()
		if err != nil {
			t.Fatal(err)
		}
		size += n
	}
	l := nettest.Listen(t, h.net, "127.0.0.1:5001")
	slow := &slowly{}
	slow.perSecond.Store(size / 20)
	go slow.serve(h, l)
	ref := "127.0.0.1:5001/debian-python:1"

	cmd := h.command(t.Context(), "create", "-p", "shell", "-n", "first", "--image", ref)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var seen string
	until(t, "some of the image", func() bool {
		for _, s := range h.list() {
			if s.State == lifecycle.PullingSnapshot {
				seen = s.Progress
			}
		}
		return slow.passed.Load() > size/5
	})
	if !strings.Contains(seen, "pulling 3 layers: ") || !strings.Contains(seen, "MiB") {
		t.Errorf("while it is pulled it says %q", seen)
	}
	h.kill()
	_ = cmd.Wait()
	before := slow.passed.Load()
	slow.perSecond.Store(0)
	h.must("daemon", "start")
	until(t, "the end of what was being made", func() bool { return len(h.list()) == 0 })
	var wg sync.WaitGroup
	for _, n := range []string{"one", "two", "three"} {
		wg.Go(func() { h.must("create", "-p", "shell", "-n", n, "--image", ref) })
	}
	wg.Wait()
	// A manifest, a config and headers come each time.
	if came := slow.passed.Load() - before; came > size*9/10 {
		t.Errorf("%d bytes came before the kill, and %d after it, of %d", before, came, size)
	} else {
		t.Logf("%d bytes came before the kill, and %d after it, of %d", before, came, size)
	}
	for _, n := range []string{"one", "two", "three"} {
		if got := h.must("exec", n, "--", "sh", "-c", "python3 /opt/app/app.py; ls /opt/app; ls /etc/issue 2>/dev/null; id -un"); got != "42\napp.py\nroot\n" {
			t.Errorf("in %s: %q", n, got)
		}
	}
	if got := h.must("code", "--lang", "python", "one", "-"); got != "" {
		t.Errorf("no code prints %q", got)
	}
	// Deleted while it is pulled, nothing is left of it.
	h.must("rm", "--now", "one", "two", "three")
	h.must("image", "prune")
	slow.perSecond.Store(size / 60)
	cmd = h.command(t.Context(), "create", "-p", "shell", "-n", "late", "--image", ref)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the pull", func() bool {
		list := h.list()
		return len(list) == 1 && list[0].State == lifecycle.PullingSnapshot
	})
	h.must("rm", "late")
	if err := cmd.Wait(); err == nil {
		t.Error("a create that was broken off succeeds")
	}
	h.must("image", "prune")
	h.leaveNoLayer()
}

// wrongLayer says of itself what is not so.
type wrongLayer struct {
	v1.Layer
	diffID v1.Hash
}

func (w wrongLayer) DiffID() (v1.Hash, error) { return w.diffID, nil }

// TestHostileImages: what a registry, or an image, must not get through with.
func TestHostileImages(t *testing.T) {
	h := realHost(t)
	blobs := h.registry()
	hello := layerOf(t, file{tar.Header{Name: "hello"}, "hello"})
	outside := filepath.Join(filepath.Dir(h.state), "outside")
	evil := layerOf(t,
		file{tar.Header{Name: "../../../../../../" + outside + "/up"}, "evil"},
		file{tar.Header{Name: outside + "/absolute"}, "evil"},
		file{tar.Header{Name: "out", Typeflag: tar.TypeSymlink, Linkname: outside}, ""},
		file{tar.Header{Name: "out/through"}, "evil"},
		file{tar.Header{Name: "up", Typeflag: tar.TypeSymlink, Linkname: "../../../../../../../.." + outside}, ""},
		file{tar.Header{Name: "up/through"}, "evil"},
		file{tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, ""},
	)
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	h.push("evil:1", imageOf(t, nil, evil))
	h.must("image", "pull", registryAddr+"/evil:1")
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("outside there is %v, %v", left, err)
	}
	if out, err := exec.Command("find", filepath.Join(h.state, "layers"), "-name", "through").CombinedOutput(); err != nil || strings.Count(string(out), "\n") != 1 {
		t.Errorf("what went through links is at %s, %v", out, err)
	}
	for name, l := range map[string][]byte{
		"link-out":  layerOf(t, file{tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: "../../../../etc/passwd"}, ""}),
		"link-root": layerOf(t, file{tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: "/etc/shadow"}, ""}),
		"on-a-file": layerOf(t, file{tar.Header{Name: "x"}, "x"}, file{tar.Header{Name: "x/y"}, "y"}),
	} {
		h.push(name+":1", imageOf(t, nil, l))
		h.refuse(1, []string{"not well-formed"}, "image", "pull", registryAddr+"/"+name+":1")
	}
	// Where a /dev leads elsewhere there is another.
	h.push("dev:1", imageOf(t, nil, layerOf(t, file{tar.Header{Name: "dev", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, ""}, file{tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, ""})))
	h.must("create", "-p", "shell", "-n", "dev", "--image", registryAddr+"/dev:1")
	pid := h.inspect("dev").Running.Pid
	if st, err := os.Lstat(fmt.Sprintf("/proc/%d/root/dev", pid)); err != nil || !st.IsDir() {
		t.Errorf("a link as /dev is %v, %v", st, err)
	}
	if _, err := os.Lstat(fmt.Sprintf("/proc/%d/root/etc/null", pid)); err == nil {
		t.Error("its devices are in /etc")
	}
	h.must("rm", "--now", "dev")

	// A blob that is not what its digest says, whatever is wrong with it.
	for i, damage := range []func([]byte) []byte{
		func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { return append(b, 0) },
	} {
		text := fmt.Sprintf("%0100000d", i)
		l := static.NewLayer(layerOf(t, file{tar.Header{Name: "f"}, text}), types.DockerUncompressedLayer)
		ref := fmt.Sprintf("damaged:%d", i)
		h.push(ref, imageOf(t, nil, l))
		digest, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(blobs, "docker/registry/v2/blobs/sha256", digest.Hex[:2], digest.Hex, "data")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, damage(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, stderr, code := h.cove("image", "pull", registryAddr+"/"+ref); code != 1 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("a damaged blob: exit %d, %s%s", code, out, stderr)
		}
	}
	// A config that says of a layer what is not in it, and a digest that is another's.
	plain := static.NewLayer(hello, types.DockerUncompressedLayer)
	h.push("lies:1", imageOf(t, nil, v1.Layer(wrongLayer{plain, v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}})))
	h.refuse(1, []string{"corrupt", "digest"}, "image", "pull", registryAddr+"/lies:1")
	h.push("hello:1", imageOf(t, nil, hello))
	other, err := busybox(t).Digest()
	if err != nil {
		t.Fatal(err)
	}
	h.refuse(1, []string{"manifest unknown"}, "image", "pull", registryAddr+"/hello@"+other.String())
	h.push("arm:1", imageOf(t, func(cf *v1.ConfigFile) { cf.Architecture = "arm64" }, hello))
	h.refuse(1, []string{"not for this machine"}, "image", "pull", registryAddr+"/arm:1")

	var list []api.Image
	if err := json.Unmarshal([]byte(h.must("image", "ls", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		if !strings.HasSuffix(i.Ref, "/evil:1") && !strings.HasSuffix(i.Ref, "/dev:1") {
			t.Errorf("there is %s", i.Ref)
		}
	}
	h.must("image", "prune")
	h.leaveNoLayer()
}

// saveImage writes the image of busybox as docker save does.
func saveImage(t testing.TB, path string) {
	t.Helper()
	ref, err := name.NewTag("example.org/box:7")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(path, ref, busybox(t)); err != nil {
		t.Fatal(err)
	}
}

// TestImport: images from files of the caller's.
func TestImport(t *testing.T) {
	h := realHost(t)
	dir := t.TempDir()
	saved := filepath.Join(dir, "saved.tar")
	saveImage(t, saved)
	if got := h.must("image", "import", saved); got != "example.org/box:7\n" {
		t.Errorf("import: %q", got)
	}
	h.must("create", "-p", "shell", "-n", "a", "--image", "example.org/box:7", "--block-all")
	h.must("exec", "a", "--", "ls", "/srv/app")
	h.must("rm", "--now", "a")
	h.must("image", "rm", "example.org/box:7")
	h.must("create", "-p", "shell", "-n", "b", "--image", "docker-archive:"+saved, "--block-all")
	h.must("exec", "b", "--", "ls", "/srv/app")
	h.refuse(1, []string{"no such file"}, "create", "-p", "shell", "--image", "oci:"+filepath.Join(dir, "nothing"))
	h.refuse(1, []string{"no OCI image layout"}, "create", "-p", "shell", "--image", "oci:"+dir)
	data, err := os.ReadFile(saved)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"cut.tar": data[:len(data)/2], "none.tar": []byte("nothing"), "empty.tar": nil} {
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, stderr, code := h.cove("image", "import", at); code != 1 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit %d, %s", name, code, stderr)
		}
	}
	// A snapshot of it is an image for others, and here again.
	h.must("exec", "-u", "root", "b", "--", "sh", "-c", "echo kept > /etc/kept; rm /bin/wc; rm -r /srv/app; mkdir /srv/app; echo new > /srv/app/new")
	h.must("snapshot", "create", "b", "s")
	exported := filepath.Join(dir, "exported.tar")
	h.must("image", "export", "snapshot:s", "-o", exported)
	if got := h.must("image", "import", exported); got != "localhost/s:latest\n" {
		t.Errorf("imported again it is %q", got)
	}
	h.must("create", "-p", "shell", "-n", "again", "--image", "localhost/s:latest", "--block-all")
	if got := h.must("exec", "-u", "0", "again", "--", "sh", "-c", "cat /etc/kept; ls /bin/wc 2>/dev/null; ls -A /srv/app; echo $GREETING"); got != "kept\nnew\nhello from the image\n" {
		t.Errorf("in it: %q", got)
	}
	h.must("create", "-p", "shell", "-n", "hosted", "--block-all")
	h.must("snapshot", "create", "hosted", "on-host")
	h.refuse(1, []string{"own system"}, "image", "export", "snapshot:on-host", "-o", exported)
	h.must("rm", "--now", "b", "again", "hosted")
	h.must("snapshot", "rm", "s", "on-host")
	h.must("image", "prune")
	h.leaveNoLayer()
	if _, err := os.Stat(saved); errors.Is(err, os.ErrNotExist) {
		t.Error("the file is gone")
	}
}
