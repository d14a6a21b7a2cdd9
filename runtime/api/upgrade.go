package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// call is a connection of its own, on which one request was sent and the head
// of its answer read.
type call struct {
	conn net.Conn
	br   *bufio.Reader
	resp *http.Response
	stop func() bool // undoes the watch of the context
}

// call sends one request, in one write, on a connection of its own. Until
// release or close is called, the end of ctx ends reads and writes. Files travel
// beside its first byte.
func (c *Client) call(ctx context.Context, method, path string, q url.Values, in any, upgrade bool, files ...*os.File) (_ *call, err error) {
	head, err := requestBytes(method, path, q, in, upgrade)
	if err != nil {
		return nil, err
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	k := &call{conn: conn, br: bufio.NewReader(conn)}
	k.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	// A daemon that refuses at once may have closed before all was written;
	// what it said can still be read.
	werr := send(conn, head, files)
	//nolint:bodyclose // what there is to close is the connection, and close does
	k.resp, err = http.ReadResponse(k.br, nil)
	if err != nil {
		k.close()
		if werr != nil {
			err = werr
		}
		return nil, c.failed(ctx, err)
	}
	return k, nil
}

// send writes data, and the descriptors of files with its first byte.
func send(conn net.Conn, data []byte, files []*os.File) error {
	if len(files) > 0 {
		u, ok := conn.(*net.UnixConn)
		if !ok {
			return errors.New("only a unix socket can carry open files")
		}
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		// Of a stream the kernel may take a part.
		n, _, err := u.WriteMsgUnix(data, unix.UnixRights(fds...), nil)
		runtime.KeepAlive(files)
		if err != nil {
			return err
		}
		data = data[n:]
	}
	if len(data) == 0 {
		return nil
	}
	_, err := conn.Write(data)
	return err
}

func (k *call) close() {
	k.stop()
	_ = k.conn.Close()
}

// requestBytes is the request as it goes over the wire.
func requestBytes(method, path string, q url.Values, in any, upgrade bool) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(method + " /" + Version + path)
	if len(q) > 0 {
		b.WriteString("?" + q.Encode())
	}
	b.WriteString(" HTTP/1.1\r\nHost: cove\r\n")
	if upgrade {
		b.WriteString("Connection: Upgrade\r\nUpgrade: " + StreamProtocol + "\r\n")
	}
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		b.WriteString("Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n")
		b.Write(body)
		return b.Bytes(), nil
	}
	b.WriteString("\r\n")
	return b.Bytes(), nil
}

// rest reads what br has buffered and then the connection itself, so that a
// stream of data is not copied through br.
type rest struct {
	br   *bufio.Reader // nil when it has given all
	conn io.Reader
}

func (r *rest) Read(p []byte) (int, error) {
	if r.br != nil {
		if n := r.br.Buffered(); n > 0 {
			return r.br.Read(p[:min(len(p), n)])
		}
		r.br = nil
	}
	return r.conn.Read(p)
}
