package api

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"cove/runtime/delta"
)

// ChangesRequest asks what a sandbox has changed in a copy-on-write mount: GET
// /v1/sandboxes/{ref}/changes, whose answer is the stream of package delta.
type ChangesRequest struct {
	// Target is the mount's; with Root it is "/", or on the host image "/usr",
	// for the sandbox's own root.
	Target string
	Root   bool
	// Paths are below Target; none are all.
	Paths []string
	// List leaves out the content of files.
	List bool
}

// AppliedRequest says that changes were made to the host's directory, or taken back:
// POST /v1/sandboxes/{ref}/applied. The daemon only writes it down.
type AppliedRequest struct {
	Target  string         `json:"target"`
	Changes []delta.Change `json:"changes"`
}

// DiscardRequest takes back what a stopped sandbox changed at paths below a target:
// POST /v1/sandboxes/{ref}/discard. "." is all.
type DiscardRequest struct {
	Target string   `json:"target"`
	Paths  []string `json:"paths"`
}

// Changes gives what a sandbox has changed, as the stream that [delta.NewReader]
// reads; the caller closes it. A stopped one is occupied until then. Codes:
// not_found, conflict, invalid.
func (c *Client) Changes(ctx context.Context, ref string, r ChangesRequest) (io.ReadCloser, error) {
	path, err := sandboxPath(ref, "changes")
	if err != nil {
		return nil, err
	}
	q := url.Values{"target": {r.Target}, "path": r.Paths}
	if r.Root {
		q.Set("root", "1")
	}
	if r.List {
		q.Set("list", "1")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target(path, q), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	if resp.StatusCode/100 != 2 {
		defer func() { _ = resp.Body.Close() }()
		return nil, c.refusal(ctx, resp)
	}
	return resp.Body, nil
}

// Applied writes down what was applied. Codes: not_found, invalid.
func (c *Client) Applied(ctx context.Context, ref string, r AppliedRequest) error {
	var none struct{}
	return c.of(ctx, http.MethodPost, ref, "applied", nil, r, &none)
}

// Discard takes changes of a stopped sandbox back. Codes: not_found, conflict (it is
// started, or a directory is to be taken back as a whole), invalid.
func (c *Client) Discard(ctx context.Context, ref string, r DiscardRequest) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "discard", nil, r, &s)
}
