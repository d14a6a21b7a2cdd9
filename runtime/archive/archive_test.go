package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// must ends the test where something that it needs fails.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openDir(t testing.TB, path string) *os.File {
	t.Helper()
	d, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// write is Write of a tree to memory.
func write(t testing.TB, path string, o WriteOptions) ([]byte, Manifest) {
	t.Helper()
	var b bytes.Buffer
	m, err := Write(t.Context(), &b, openDir(t, path), o)
	must(t, err)
	return b.Bytes(), m
}

// unpack is Read from memory to a new directory.
func unpack(t testing.TB, data []byte, o ReadOptions) (string, json.RawMessage, Manifest, error) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "to")
	must(t, os.Mkdir(to, 0o700))
	meta, m, err := Read(t.Context(), bytes.NewReader(data), openDir(t, to), o)
	return to, meta, m, err
}

// listing is everything that a tree has, a line each, that an archive keeps.
func listing(t testing.TB, root string) []string {
	t.Helper()
	first := map[inode]string{}
	var lines []string
	must(t, filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		line := fmt.Sprintf("%q mode=%o owner=%d:%d rdev=%d mtime=%d.%09d", rel, st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFSOCK:
			return nil
		case unix.S_IFLNK:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" to=%q", to)
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" size=%d holes=%v content=%x", st.Size, st.Blocks*512+4096 < st.Size, sha256.Sum256(data))
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
			key := inode{st.Dev, st.Ino}
			if first[key] == "" {
				first[key] = rel
			}
			line += fmt.Sprintf(" links=%d same=%q", st.Nlink, first[key])
		}
		var names [4096]byte
		if n, err := unix.Llistxattr(path, names[:]); err == nil && n > 0 {
			for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
				var v [4096]byte
				n, err := unix.Lgetxattr(path, name, v[:])
				if err != nil {
					return err
				}
				line += fmt.Sprintf(" %s=%q", name, v[:n])
			}
		}
		lines = append(lines, line)
		return nil
	}))
	return lines
}

// odd makes a tree with one of everything.
func odd(t testing.TB) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "tree")
	at := func(name string) string { return filepath.Join(root, name) }
	must(t, os.MkdirAll(at("etc/deep/er"), 0o755))
	must(t, os.WriteFile(at("etc/plain"), []byte("hello\n"), 0o640))
	must(t, os.WriteFile(at("empty"), nil, 0o600))
	must(t, os.WriteFile(at("etc/setuid"), []byte("#!"), 0o755))
	must(t, os.Chown(at("etc/setuid"), 1000, 65535))
	must(t, unix.Chmod(at("etc/setuid"), 0o6755))
	must(t, os.WriteFile(at("weird \n\xff name"), []byte("x"), 0o444))
	must(t, os.Link(at("etc/plain"), at("etc/deep/hard")))
	must(t, os.Symlink("/etc/shadow", at("abs")))
	must(t, os.Symlink("../../../../../etc/passwd", at("etc/up")))
	must(t, os.Symlink(strings.Repeat("long/", 300), at("long")))
	must(t, os.Lchown(at("abs"), 7, 8))
	must(t, os.Link(at("abs"), at("abs2")))
	must(t, unix.Mkfifo(at("fifo"), 0o622))
	must(t, unix.Mknod(at("whiteout"), unix.S_IFCHR, 0))
	must(t, os.MkdirAll(at("opaque"), 0o711))
	must(t, unix.Setxattr(at("opaque"), "trusted.overlay.opaque", []byte("y"), 0))
	must(t, unix.Setxattr(at("etc/plain"), "user.note", []byte("a\x00b=\n"), 0))
	must(t, unix.Setxattr(at("etc/setuid"), "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	f, err := os.Create(at("sparse"))
	must(t, err)
	_, err = f.WriteAt([]byte("begin"), 0)
	must(t, err)
	_, err = f.WriteAt([]byte("middle"), 5<<20)
	must(t, err)
	must(t, f.Truncate(64<<20))
	must(t, f.Close())
	must(t, os.WriteFile(at("hole"), nil, 0o600))
	must(t, os.Truncate(at("hole"), 128<<20))
	big := make([]byte, 3<<20+17)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range big {
		big[i] = byte(rng.Uint32())
	}
	must(t, os.WriteFile(at("etc/deep/er/big"), big, 0o600))
	must(t, os.MkdirAll(at(strings.Repeat("deep/", 40)+"end"), 0o700))
	long := strings.Repeat("n", 255)
	must(t, os.WriteFile(at(long), []byte("long"), 0o600))
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(sock) })
	must(t, unix.Bind(sock, &unix.SockaddrUnix{Name: at("sock")}))
	must(t, filepath.WalkDir(root, func(path string, _ os.DirEntry, _ error) error {
		when := time.Unix(int64(len(path))*12345678, 123456789)
		ts := []unix.Timespec{{Sec: 1}, {Sec: when.Unix(), Nsec: int64(when.Nanosecond())}}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW)
	}))
	must(t, os.Chmod(root, 0o751))
	return root
}

func TestRoundTrip(t *testing.T) {
	root := odd(t)
	data, m := write(t, root, WriteOptions{Meta: json.RawMessage(`{"name":"box"}`)})
	want := listing(t, root)
	if m.Entries != int64(len(want)) || m.Skipped != 1 || m.Version != Version || len(m.SHA256) != 64 {
		t.Errorf("the manifest is %+v of %d entries", m, len(want))
	}
	if len(data) > 4<<20 {
		t.Errorf("%d bytes: holes are kept", len(data))
	}
	to, meta, got, err := unpack(t, data, ReadOptions{})
	must(t, err)
	if got != m || string(meta) != `{"name":"box"}` {
		t.Errorf("read %+v, %s", got, meta)
	}
	if diff := cmp.Diff(want, listing(t, to)); diff != "" {
		t.Errorf("the tree is another:\n%s", diff)
	}
	meta, again, err := Verify(t.Context(), bytes.NewReader(data), ReadOptions{})
	if err != nil || again != m || string(meta) != `{"name":"box"}` {
		t.Errorf("verified %+v, %s, %v", again, meta, err)
	}
	if meta, err := Meta(t.Context(), bytes.NewReader(data)); err != nil || string(meta) != `{"name":"box"}` {
		t.Errorf("beside it: %s, %v", meta, err)
	}
	// The same tree is the same archive.
	if twice, _ := write(t, root, WriteOptions{Meta: json.RawMessage(`{"name":"box"}`), Threads: 1}); !bytes.Equal(inflate(t, twice), inflate(t, data)) {
		t.Error("a second archive of it is another")
	}
}

// What any tar can read of it.
func TestOtherTar(t *testing.T) {
	root := odd(t)
	must(t, os.Remove(filepath.Join(root, "sparse")))
	must(t, os.Remove(filepath.Join(root, "hole")))
	must(t, os.Remove(filepath.Join(root, "sock")))
	data, _ := write(t, root, WriteOptions{})
	to := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "tar", "--zstd", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", "-", "-C", to)
	cmd.Stdin = bytes.NewReader(data)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if diff := cmp.Diff(listing(t, root), listing(t, filepath.Join(to, "tree"))); diff != "" {
		t.Errorf("tar reads another tree:\n%s", diff)
	}
}

func inflate(t testing.TB, data []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(data))
	must(t, err)
	defer z.Close()
	out, err := io.ReadAll(z)
	must(t, err)
	return out
}

func deflate(t testing.TB, data []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(false))
	must(t, err)
	return z.EncodeAll(data, nil)
}

// Whatever is changed or cut off is found out.
func TestDamage(t *testing.T) {
	root := filepath.Join(t.TempDir(), "tree")
	must(t, os.MkdirAll(filepath.Join(root, "d"), 0o755))
	for i := range 5 {
		must(t, os.WriteFile(filepath.Join(root, "d", fmt.Sprint(i)), bytes.Repeat([]byte{byte(i)}, 1000*i), 0o600))
	}
	data, m := write(t, root, WriteOptions{})
	raw := inflate(t, data)
	for cut := 0; cut < len(data); cut++ {
		if _, _, err := Verify(t.Context(), bytes.NewReader(data[:cut]), ReadOptions{}); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d of %d: %v", cut, len(data), err)
		}
	}
	changed := 0
	// What follows the manifest is the padding of its block and of the tar.
	for at := 0; at < bytes.LastIndexByte(raw, '}'); at += 37 {
		bad := bytes.Clone(raw)
		bad[at] ^= 0x10
		_, got, err := Verify(t.Context(), bytes.NewReader(deflate(t, bad)), ReadOptions{})
		if err == nil {
			t.Fatalf("changed at %d of %d: %+v, was %+v", at, len(raw), got, m)
		}
		changed++
	}
	if changed < 100 {
		t.Fatalf("only %d changes", changed)
	}
	for at := range data {
		bad := bytes.Clone(data)
		bad[at] ^= 0x10
		if _, got, err := Verify(t.Context(), bytes.NewReader(bad), ReadOptions{}); err == nil && got != m {
			t.Fatalf("the stream changed at %d: %+v", at, got)
		}
	}
}

// entries makes an archive of a tar whose entries the test makes up.
func entries(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	put := func(h tar.Header, data string) {
		h.Size = int64(len(data))
		must(t, tw.WriteHeader(&h))
		_, err := tw.Write([]byte(data))
		must(t, err)
	}
	put(tar.Header{Name: headName, Typeflag: tar.TypeReg}, `{"version":1,"meta":null}`)
	for _, h := range headers {
		data := ""
		if h.Typeflag == tar.TypeReg {
			data = strings.Repeat("x", int(h.Size))
		}
		put(h, data)
	}
	put(tar.Header{Name: manifestName, Typeflag: tar.TypeReg}, `{"version":1,"entries":1,"bytes":0,"sha256":""}`)
	must(t, tw.Close())
	return deflate(t, b.Bytes())
}

func TestHostile(t *testing.T) {
	top := tar.Header{Name: "tree/", Typeflag: tar.TypeDir, Mode: 0o755}
	reg := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
	dir := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to, Mode: 0o777}
	}
	hard := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}
	}
	with := func(h tar.Header, records map[string]string) tar.Header { h.PAXRecords = records; return h }
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.WriteFile(outside, []byte("mine"), 0o600))
	for name, hs := range map[string][]tar.Header{
		"up":                {top, reg("tree/../esc")},
		"up inside":         {top, dir("tree/a/"), reg("tree/a/../../esc")},
		"absolute":          {top, reg("/etc/esc")},
		"beside":            {top, reg("elsewhere/esc")},
		"double slash":      {top, reg("tree//esc")},
		"dot":               {top, dir("tree/./")},
		"through a link":    {top, link("tree/l", filepath.Dir(outside)), reg("tree/l/esc")},
		"over a link":       {top, link("tree/l", outside), reg("tree/l")},
		"directory on link": {top, link("tree/l", filepath.Dir(outside)), dir("tree/l/"), reg("tree/l/esc")},
		"hard link up":      {top, hard("tree/h", "tree/../../../etc/passwd")},
		"hard link out":     {top, hard("tree/h", outside)},
		"hard link on link": {top, link("tree/l", filepath.Dir(outside)), hard("tree/h", "tree/l/outside")},
		"twice":             {top, reg("tree/a"), reg("tree/a")},
		"top twice":         {top, top},
		"orphan":            {top, reg("tree/no/a")},
		"device":            {top, {Name: "tree/sda", Typeflag: tar.TypeBlock, Devmajor: 8}},
		"character device":  {top, {Name: "tree/mem", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 1}},
		"attribute":         {top, with(reg("tree/a"), map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc"})},
		"label":             {top, with(reg("tree/a"), map[string]string{"SCHILY.xattr.security.selinux": "x"})},
		"sparse overlap":    {top, with(tar.Header{Name: "tree/a", Typeflag: tar.TypeReg, Size: 4}, map[string]string{sparseSize: "10", sparseMap: "0:2,1:2"})},
		"sparse beyond":     {top, with(tar.Header{Name: "tree/a", Typeflag: tar.TypeReg, Size: 4}, map[string]string{sparseSize: "10", sparseMap: "8:4"})},
		"sparse negative":   {top, with(tar.Header{Name: "tree/a", Typeflag: tar.TypeReg, Size: 4}, map[string]string{sparseSize: "10", sparseMap: "-1:4"})},
		"sparse short":      {top, with(tar.Header{Name: "tree/a", Typeflag: tar.TypeReg, Size: 4}, map[string]string{sparseSize: "10", sparseMap: "0:1"})},
		"not a directory":   {{Name: "tree/", Typeflag: tar.TypeSymlink, Linkname: "/"}},
	} {
		t.Run(name, func(t *testing.T) {
			to, _, _, err := unpack(t, entries(t, hs...), ReadOptions{})
			if !errors.Is(err, ErrHostile) && !errors.Is(err, ErrDamaged) && !errors.Is(err, unix.ELOOP) {
				t.Errorf("read with %v", err)
			}
			if data, err := os.ReadFile(outside); err != nil || string(data) != "mine" {
				t.Errorf("outside: %q, %v", data, err)
			}
			for _, esc := range []string{filepath.Join(filepath.Dir(to), "esc"), filepath.Join(filepath.Dir(outside), "esc"), "/etc/esc"} {
				if _, err := os.Lstat(esc); err == nil {
					t.Errorf("%s was made", esc)
				}
			}
		})
	}
}

func TestLimits(t *testing.T) {
	root := filepath.Join(t.TempDir(), "tree")
	must(t, os.Mkdir(root, 0o755))
	for i := range 10 {
		must(t, os.WriteFile(filepath.Join(root, fmt.Sprint(i)), make([]byte, 1000), 0o600))
	}
	data, m := write(t, root, WriteOptions{})
	for _, o := range []ReadOptions{{MaxEntries: 10}, {MaxBytes: 9999}} {
		if _, _, err := Verify(t.Context(), bytes.NewReader(data), o); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, _, err := Verify(t.Context(), bytes.NewReader(data), ReadOptions{MaxEntries: m.Entries, MaxBytes: m.Bytes}); err != nil {
		t.Error(err)
	}
	// A bomb: little that becomes much.
	must(t, os.WriteFile(filepath.Join(root, "zeros"), make([]byte, 64<<20), 0o600))
	bomb, _ := write(t, root, WriteOptions{})
	if _, _, err := Verify(t.Context(), bytes.NewReader(bomb), ReadOptions{MaxBytes: 1 << 20}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d bytes that become 64 MiB: %v", len(bomb), err)
	}
	newer := deflate(t, bytes.Replace(inflate(t, data), []byte(`{"version":1,"meta"`), []byte(`{"version":2,"meta"`), 1))
	if _, _, err := Verify(t.Context(), bytes.NewReader(newer), ReadOptions{}); !errors.Is(err, ErrVersion) {
		t.Errorf("of a newer version: %v", err)
	}
}

func TestSave(t *testing.T) {
	root := odd(t)
	dir := t.TempDir()
	d := openDir(t, dir)
	m, err := Save(t.Context(), d, "box", openDir(t, root), WriteOptions{})
	must(t, err)
	before, err := os.ReadFile(filepath.Join(dir, "box"))
	must(t, err)
	if _, got, err := Verify(t.Context(), bytes.NewReader(before), ReadOptions{}); err != nil || got != m {
		t.Errorf("%+v, %v", got, err)
	}
	if st, err := os.Stat(filepath.Join(dir, "box")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	// What fails, or is called off, leaves what was there, and nothing else.
	must(t, os.WriteFile(filepath.Join(dir, "box"+Partial), []byte("of a crash"), 0o600))
	ctx, cancel := context.WithCancelCause(t.Context())
	called := errors.New("called off")
	_, err = Save(ctx, d, "box", openDir(t, root), WriteOptions{Progress: func(int64) { cancel(called) }})
	if !errors.Is(err, called) {
		t.Errorf("called off: %v", err)
	}
	must(t, unix.Mknod(filepath.Join(root, "null"), unix.S_IFCHR, int(unix.Mkdev(1, 3))))
	if _, err := Save(t.Context(), d, "box", openDir(t, root), WriteOptions{}); err == nil || !strings.Contains(err.Error(), "tree/null is a device node") {
		t.Errorf("a device: %v", err)
	}
	after, err := os.ReadFile(filepath.Join(dir, "box"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("it is another: %v", err)
	}
	if names, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(names) != 1 {
		t.Errorf("left: %v", names)
	}
}

// A sum that lags one block is the sum of all but that block, however it is read.
func TestLagging(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		data := make([]byte, 512+rng.IntN(5000))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		l := newLagging(bytes.NewReader(data))
		for {
			if _, err := l.Read(make([]byte, 1+rng.IntN(1500))); err != nil {
				break
			}
		}
		if want := fmt.Sprintf("%x", sha256.Sum256(data[:len(data)-blockSize])); l.before() != want {
			t.Fatalf("%d bytes: %s, want %s", len(data), l.before(), want)
		}
	}
}

func FuzzRead(f *testing.F) {
	root := filepath.Join(f.TempDir(), "tree")
	must(f, os.MkdirAll(filepath.Join(root, "d"), 0o755))
	must(f, os.WriteFile(filepath.Join(root, "d", "f"), []byte("x"), 0o600))
	must(f, os.Symlink("/", filepath.Join(root, "l")))
	data, _ := write(f, root, WriteOptions{})
	f.Add(inflate(f, data))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 1<<20 {
			return
		}
		parent := t.TempDir()
		to := filepath.Join(parent, "to")
		must(t, os.Mkdir(to, 0o700))
		_, _, err := Read(t.Context(), bytes.NewReader(deflate(t, raw)), openDir(t, to), ReadOptions{MaxEntries: 1000, MaxBytes: 1 << 20})
		_, _, verr := Verify(t.Context(), bytes.NewReader(deflate(t, raw)), ReadOptions{MaxEntries: 1000, MaxBytes: 1 << 20})
		if err == nil && verr != nil {
			t.Errorf("read, and not verified: %v", verr)
		}
		if names, _ := os.ReadDir(parent); len(names) != 1 {
			t.Errorf("beside the tree: %v", names)
		}
	})
}
