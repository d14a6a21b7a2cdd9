package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"cove/config"
	"cove/runtime/frame"
)

// BuildRequest builds a snapshot: POST /v1/snapshots/build, upgraded to
// [StreamProtocol]: a tar of the files that may be copied goes in by stdin, what is
// printed comes on stderr, and Progress with the snapshot or an error, as a line of
// JSON, on stdout at the end. The build ends with the stream.
type BuildRequest struct {
	// ID is as in [CreateRequest].
	ID string `json:"id,omitempty"`
	// Name is the snapshot's; the daemon makes one up when it is empty.
	Name       string `json:"name,omitempty"`
	Dockerfile string `json:"dockerfile"`
	// Spec has the limits and the network of its steps.
	Spec   config.Spec       `json:"spec"`
	Args   map[string]string `json:"args,omitempty"`
	Target string            `json:"target,omitempty"`
	// NoCache takes every step anew.
	NoCache bool `json:"no_cache,omitempty"`
	// Auth is what the caller has for registries, by their names.
	Auth map[string]*RegistryAuth `json:"auth,omitempty"`
}

// Build builds a snapshot; log, if not nil, gets what is printed. Codes: invalid,
// image, exists (the name), build (a step failed: the sandbox of the build is there,
// in the state build_failed), exhausted. Stable.
func (c *Client) Build(ctx context.Context, r BuildRequest, tar io.Reader, log io.Writer) (Snapshot, error) {
	return c.building(ctx, "/snapshots/build", r, tar, log)
}

// Rebuild does a failed build again, from the step that failed: POST
// /v1/sandboxes/{ref}/rebuild, upgraded to [StreamProtocol], answered as a build is.
// Codes: not_found, conflict, and those of [Client.Build]. Stable.
func (c *Client) Rebuild(ctx context.Context, ref string, log io.Writer) (Snapshot, error) {
	path, err := sandboxPath(ref, "rebuild")
	if err != nil {
		return Snapshot{}, err
	}
	return c.building(ctx, path, struct{}{}, bytes.NewReader(nil), log)
}

func (c *Client) building(ctx context.Context, path string, in any, tar io.Reader, log io.Writer) (Snapshot, error) {
	last, err := c.upload(ctx, path, in, tar, log)
	if err != nil {
		return Snapshot{}, err
	}
	if last.Snapshot == nil {
		return Snapshot{}, &Error{Code: CodeInternal, Message: "the daemon told of no snapshot", Hint: hintStatus}
	}
	return *last.Snapshot, nil
}

// upload sends a request with a stream, and gives what it comes to; log, if not nil,
// gets what is told meanwhile.
func (c *Client) upload(ctx context.Context, path string, in any, from io.Reader, log io.Writer) (Progress, error) {
	s, err := c.streamAt(ctx, path, in)
	if err != nil {
		return Progress{}, err
	}
	defer func() { _ = s.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	failed := &failing{r: from, fail: func() { _ = s.Close() }}
	var out bytes.Buffer
	_, err = s.Pump(frame.Streams{Stdin: failed, Stdout: &out, Stderr: log})
	switch {
	case ctx.Err() != nil:
		return Progress{}, context.Cause(ctx)
	case failed.err() != nil:
		return Progress{}, failed.err()
	case err != nil:
		return Progress{}, err
	}
	var last Progress
	if err := json.Unmarshal(out.Bytes(), &last); err != nil {
		return Progress{}, c.failed(ctx, fmt.Errorf("read the daemon's answer: %w", err))
	}
	if last.Error != nil {
		return Progress{}, last.Error
	}
	return last, nil
}
