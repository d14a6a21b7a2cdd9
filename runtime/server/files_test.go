package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/api"
)

// openFiles are the descriptors of this process, the server's and the test's,
// by what they are open on.
func openFiles(t *testing.T) []string {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	noError(t, err)
	var all []string
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/proc/") {
			all = append(all, strings.SplitN(to, ":", 2)[0])
		}
	}
	slices.Sort(all)
	return all
}

// settled waits until the process has none but these descriptors open, or fewer: a
// child that receives some for it may have ended meanwhile.
func settled(t *testing.T, want []string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		got := openFiles(t)
		left := slices.Clone(want)
		more := slices.ContainsFunc(got, func(f string) bool {
			i := slices.Index(left, f)
			if i >= 0 {
				left = slices.Delete(left, i, i+1)
			}
			return i < 0
		})
		if !more {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("open is\n%q, before it was\n%q", got, want)
		}
		<-time.After(time.Millisecond)
	}
}

// sender is a client that sends what it likes beside what it likes.
type sender struct {
	t *testing.T
	*net.UnixConn
	answers *bufio.Reader
}

func (h *host) sender(t *testing.T, uid int) *sender {
	t.Helper()
	h.uid.Store(int64(uid))
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: h.socket})
	noError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &sender{t, c, bufio.NewReader(c)}
}

func (s *sender) send(text string, files ...*os.File) {
	s.t.Helper()
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	_, _, err := s.WriteMsgUnix([]byte(text), oob, nil)
	noError(s.t, err)
}

func (s *sender) answer() (int, string) {
	s.t.Helper()
	resp, err := http.ReadResponse(s.answers, nil)
	noError(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	noError(s.t, err)
	return resp.StatusCode, string(b)
}

func rawRequest(method, path, body string) string {
	return fmt.Sprintf("%s /v1%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
}

// Directories come with the request that makes a sandbox, in their order, and
// are closed when it is answered.
func TestDirectoriesArrive(t *testing.T) {
	h := newHost(t)
	a, b := openDirectory(t), openDirectory(t)
	before := openFiles(t)
	c := h.as(owner)
	// More than a socket takes at once.
	long := map[string]string{"LONG": strings.Repeat("x", 900<<10)}
	_, err := c.Create(t.Context(), api.CreateRequest{Name: "a", Spec: config.Spec{Image: "host"}, Secrets: long, Dirs: []*os.File{b, a}})
	noError(t, err)
	contains(t, h.m.asked[0], long["LONG"])
	h.m.mu.Lock()
	equal(t, fmt.Sprint([]uint64{inode(t, b), inode(t, a)}), fmt.Sprint(h.m.dirs))
	h.m.mu.Unlock()
	c.Close()
	settled(t, before)

	// A refusal comes back as any other.
	_, err = c.Create(t.Context(), api.CreateRequest{Name: "a", Spec: config.Spec{Image: "host"}, Dirs: []*os.File{b, a}})
	equal(t, true, err != nil && strings.Contains(err.Error(), "taken"))
	settled(t, before)
}

func openDirectory(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open(t.TempDir())
	noError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func inode(t *testing.T, f *os.File) uint64 {
	t.Helper()
	var st unix.Stat_t
	noError(t, unix.Fstat(int(f.Fd()), &st))
	return st.Ino
}

// Whatever a peer sends, wherever, nothing of it stays open, and nothing but a
// create is given any.
func TestHostileSenders(t *testing.T) {
	h := newHost(t)
	dir := openDirectory(t)
	many := func(n int) []*os.File { return slices.Repeat([]*os.File{dir}, n) }
	pipe, pipeEnd, err := os.Pipe()
	noError(t, err)
	t.Cleanup(func() { _ = pipe.Close(); _ = pipeEnd.Close() })
	const whatever = -1
	const body = `{"name":"n","spec":{"image":"host"}}`
	create := rawRequest("POST", "/sandboxes", body)

	for _, c := range []struct {
		name   string
		do     func(*sender)
		dirs   int // that the Manager got of them
		status int // of the last answer; 0: none
		says   string
	}{
		{"one", func(s *sender) { s.send(create, dir) }, 1, 201, ""},
		{"the most", func(s *sender) { s.send(create, many(maxFiles)...) }, maxFiles, 201, ""},
		{"what is no directory", func(s *sender) { s.send(create, dir, pipe) }, 0, 400, "not an open directory"},
		{"in parts", func(s *sender) {
			s.send(create[:10], dir)
			s.send(create[10:len(create)-5], dir)
			s.send(create[len(create)-5:], dir)
		}, 0, 400, "not with its first byte"},
		{"too many", func(s *sender) { s.send(create, many(maxFiles+1)...) }, 0, 400, "more than 64 open files"},
		{"far too many", func(s *sender) { s.send(create, many(253)...) }, 0, 400, "more than 64 open files"},
		{"too many, in parts", func(s *sender) {
			for i := range 40 {
				s.send(create[i:i+1], many(2)...)
			}
			s.send(create[40:])
		}, 0, 400, "not with its first byte"},
		{"with a list", func(s *sender) { s.send(rawRequest("GET", "/sandboxes", ""), dir) }, 0, 400, "takes none"},
		{"with a start", func(s *sender) { s.send(rawRequest("POST", "/sandboxes/a/start", "{}"), dir) }, 0, 400, "takes none"},
		{"with a stream", func(s *sender) {
			s.send("POST /v1/sandboxes/a/exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: "+api.StreamProtocol+"\r\nContent-Length: 2\r\n\r\n{}", dir)
		}, 0, 400, "takes none"},
		{"to nowhere", func(s *sender) { s.send(rawRequest("GET", "/nowhere", ""), dir) }, 0, 404, ""},
		{"with what is no HTTP", func(s *sender) { s.send("\x00\x01\x02\r\n\r\n", dir) }, 0, 400, ""},
		{"with a body that is none", func(s *sender) { s.send(rawRequest("POST", "/sandboxes", "{"), dir) }, 0, 400, "ends in the middle"},
		{"with the second request", func(s *sender) {
			s.send(rawRequest("GET", "/sandboxes", ""))
			status, text := s.answer()
			equal(t, 200, status, text)
			s.send(create, dir)
		}, 0, 201, ""},
		{"behind the request", func(s *sender) {
			s.send(create + rawRequest("GET", "/sandboxes", "")[:20])
			s.send(rawRequest("GET", "/sandboxes", "")[20:], many(60)...)
			status, text := s.answer()
			equal(t, 201, status, text)
		}, whatever, 200, ""}, // they may have been read with the first
		{"and nothing else", func(s *sender) { s.send(create[:3], dir) }, 0, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.m.mu.Lock()
			h.m.dirs = nil
			delete(h.m.boxes, "n")
			h.m.mu.Unlock()
			h.quiet()
			before := openFiles(t)
			s := h.sender(t, owner)
			s.t = t
			c.do(s)
			if c.status != 0 {
				status, text := s.answer()
				equal(t, c.status, status, text)
				contains(t, text, c.says)
			}
			_ = s.Close()
			h.m.mu.Lock()
			got := len(h.m.dirs)
			h.m.mu.Unlock()
			if c.dirs != whatever {
				equal(t, c.dirs, got)
			}
			settled(t, before)
		})
	}
	t.Run("an outsider", func(t *testing.T) {
		h.quiet()
		before := openFiles(t)
		s := h.sender(t, outsider)
		s.send(create, many(10)...)
		status, _ := s.answer()
		equal(t, 403, status)
		_ = s.Close()
		settled(t, before)
	})
}

// A uid's open files are counted over all its connections, until they are
// closed; root's are not limited.
func TestFilesPerUser(t *testing.T) {
	h := newHost(t)
	dir := openDirectory(t)
	create := rawRequest("POST", "/sandboxes", `{"name":"n","spec":{"image":"host"}}`)
	full := slices.Repeat([]*os.File{dir}, maxFiles)
	var waiting []*sender
	begin := func(uid int, files []*os.File) {
		t.Helper()
		s := h.sender(t, uid)
		s.send(create[:5], files...)
		waiting = append(waiting, s)
	}
	for range maxHeld / maxFiles {
		begin(owner, full)
	}
	for h.heldBy(owner) != maxHeld {
		<-time.After(time.Millisecond)
	}
	s := h.sender(t, owner)
	s.send(create, dir)
	status, text := s.answer()
	equal(t, 503, status, text)
	contains(t, text, "more than 256 open files")
	s = h.sender(t, other)
	s.send(create, dir)
	status, text = s.answer()
	equal(t, 201, status, text)
	for range maxHeld/maxFiles + 1 {
		begin(root, full)
	}
	for h.heldBy(root) != maxHeld+maxFiles {
		<-time.After(time.Millisecond)
	}
	for _, s := range waiting {
		_ = s.Close()
	}
	for h.heldBy(owner)+h.heldBy(root) != 0 {
		<-time.After(time.Millisecond)
	}
	h.m.mu.Lock()
	delete(h.m.boxes, "n")
	h.m.mu.Unlock()
	s = h.sender(t, owner)
	s.send(create, full...)
	status, text = s.answer()
	equal(t, 201, status, text)
	for h.heldBy(owner) != 0 {
		<-time.After(time.Millisecond)
	}
}

// quiet waits until the server has no connection left: what is open then is not
// about to be closed.
func (h *host) quiet() {
	for {
		h.s.peers.mu.Lock()
		n := len(h.s.peers.conns)
		h.s.peers.mu.Unlock()
		if n == 0 {
			return
		}
		<-time.After(time.Millisecond)
	}
}

func (h *host) heldBy(uid int) int {
	h.s.peers.mu.Lock()
	defer h.s.peers.mu.Unlock()
	return h.s.peers.files[uid]
}

// What a peer sends while its request is worked on is dropped at once: a
// create that takes long holds nothing for others.
func TestFilesWhileAtWork(t *testing.T) {
	h := newHost(t)
	dir := openDirectory(t)
	h.m.block = make(chan struct{})
	before := openFiles(t)
	s := h.sender(t, owner)
	s.send(rawRequest("POST", "/sandboxes", `{"name":"n","spec":{"image":"host"}}`), dir)
	for h.m.count() == 0 {
		<-time.After(time.Millisecond)
	}
	for range 20 {
		s.send("G", slices.Repeat([]*os.File{dir}, 50)...)
	}
	// Its two sockets, and the one directory that came in time.
	during := append(slices.Clone(before), dir.Name(), "socket", "socket")
	slices.Sort(during)
	settled(t, during)
	close(h.m.block)
	status, text := s.answer()
	equal(t, 201, status, text)
	_ = s.Close()
	settled(t, before)
}

// opensOf counts this process's descriptors that write to a pipe.
func opensOf(t *testing.T, w *os.File) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	noError(t, err)
	n := 0
	for _, fd := range fds {
		var st unix.Stat_t
		k, err := strconv.Atoi(fd.Name())
		noError(t, err)
		flags, err := unix.FcntlInt(uintptr(k), unix.F_GETFL, 0)
		if err == nil && unix.Fstat(k, &st) == nil && st.Ino == inode(t, w) && flags&unix.O_ACCMODE == unix.O_WRONLY {
			n++
		}
	}
	return n
}

// Closing what is no directory can take for ever (see files), so none is ever the
// server's, not for a moment: of a pipe whose other end the test reads, the
// server would be one more writer.
func TestOnlyDirectoriesGetIn(t *testing.T) {
	h := newHost(t)
	r, w, err := os.Pipe()
	noError(t, err)
	defer r.Close()
	defer w.Close()
	for _, uid := range []int{owner, outsider} {
		s := h.sender(t, uid)
		s.send(rawRequest("POST", "/sandboxes", `{"name":"n","spec":{"image":"host"}}`)[:20], w)
		// The request is not over: who keeps what came keeps it now.
		for range 50 {
			<-time.After(time.Millisecond)
			if n := opensOf(t, w); n != 1 {
				t.Fatalf("%d descriptors for what uid %d sent", n, uid)
			}
		}
		_ = s.Close()
	}
}

// A peer that says nothing in time is hung up on, without an answer.
func TestSilentPeer(t *testing.T) {
	h := newHost(t)
	s := h.sender(t, owner)
	var k *peerConn
	for k == nil {
		h.s.peers.mu.Lock()
		for c := range h.s.peers.conns {
			k = c
		}
		h.s.peers.mu.Unlock()
		<-time.After(time.Millisecond)
	}
	noError(t, k.SetReadDeadline(time.Unix(1, 0)))
	b, err := io.ReadAll(s)
	noError(t, err)
	equal(t, "", string(b))
}
