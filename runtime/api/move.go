package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"cove/runtime/frame"
)

// MoveRequest makes a sandbox of an archive with all that one is made of: POST
// /v1/import, upgraded to [StreamProtocol]: the archive goes in by stdin, Progress
// with the sandbox or an error comes, as a line of JSON, on stdout.
type MoveRequest struct {
	// Name is what it is to be called; empty is what it was.
	Name string `json:"name,omitempty"`
}

// Export writes all that a stopped sandbox is to w: POST
// /v1/sandboxes/{ref}/export, upgraded to [StreamProtocol]: the archive comes on
// stdout, an error, as a line of JSON, on stderr. What was written counts for nothing
// unless the error is nil. Codes: not_found, conflict, exhausted. Stable.
func (c *Client) Export(ctx context.Context, ref string, w io.Writer) error {
	path, err := sandboxPath(ref, "export")
	if err != nil {
		return err
	}
	return c.download(ctx, path, struct{}{}, w)
}

// ExportImage writes an image, or a snapshot, to w as a tar of an OCI image layout,
// which docker load takes as well. What was written counts for nothing unless the
// error is nil. Codes: not_found, conflict, exhausted. Stable.
func (c *Client) ExportImage(ctx context.Context, r ExportRequest, w io.Writer) error {
	return c.download(ctx, "/images/export", r, w)
}

// download sends a request whose answer is a stream, and writes that to w.
func (c *Client) download(ctx context.Context, path string, in any, w io.Writer) error {
	s, err := c.streamAt(ctx, path, in)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	var says bytes.Buffer
	st, err := s.Pump(frame.Streams{Stdout: w, Stderr: &says})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case st.Code == 0:
		return nil
	}
	var e Error
	if err := json.Unmarshal(says.Bytes(), &e); err != nil || e.Code == "" {
		return c.failed(ctx, errors.New("the daemon ended in the middle of it"))
	}
	return &e
}

// Import makes a sandbox of an archive that Export wrote; it is stopped. left says,
// in words, what it had of the other machine and has not. Codes: invalid, exists,
// exhausted. Stable.
func (c *Client) Import(ctx context.Context, r MoveRequest, from io.Reader) (made Sandbox, left []string, err error) {
	last, err := c.upload(ctx, "/import", r, from, nil)
	if err != nil {
		return Sandbox{}, nil, err
	}
	if last.Sandbox == nil {
		return Sandbox{}, nil, c.failed(ctx, fmt.Errorf("the daemon told of no sandbox"))
	}
	return *last.Sandbox, last.Left, nil
}
