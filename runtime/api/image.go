package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"cove/config"
)

// Image is an image that sandboxes can be made from: an element of GET /v1/images.
type Image struct {
	// ID is the digest of its config, "sha256:" and 64 hex digits.
	ID string `json:"id"`
	// Ref is what it is called; empty of one whose name went to another.
	Ref string `json:"ref,omitempty"`
	// Digest is that of its manifest, where it was pulled.
	Digest   string `json:"digest,omitempty"`
	Platform string `json:"platform"` // "linux/amd64"
	Owner    int    `json:"owner"`    // uid
	// Size is what its layers occupy, in bytes; layers of several images count in
	// each.
	Size    int64              `json:"size"`
	Layers  int                `json:"layers"`
	Created time.Time          `json:"created,omitzero"` // as it says itself
	Pulled  time.Time          `json:"pulled"`
	Used    []string           `json:"used,omitempty"` // names of the sandboxes and snapshots on it, the caller's
	Config  config.ImageConfig `json:"config"`
}

// RegistryAuth is what the caller's own configuration has for a registry. It is
// kept in no file.
type RegistryAuth struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identity_token,omitempty"`
	RegistryToken string `json:"registry_token,omitempty"`
}

// ImageRequest names an image: POST /v1/images/rm -> Image as it was.
type ImageRequest struct {
	// Ref is a name, an id or the beginning of one.
	Ref string `json:"ref"`
}

// PullRequest gets an image from a registry: POST /v1/images/pull, answered by
// Progress, one a line, the last of which has the Image or an Error.
type PullRequest struct {
	Ref string `json:"ref"`
	// Platform is "os/arch[/variant]"; default: the machine's.
	Platform string        `json:"platform,omitempty"`
	Auth     *RegistryAuth `json:"auth,omitempty"`
}

// ImportRequest takes an image that the caller reads from a file: POST
// /v1/images/import, upgraded to [StreamProtocol]: a tar, of an OCI layout or
// what "docker save" makes, goes in by stdin, Progress comes, one a line, on
// stdout.
type ImportRequest struct {
	// Ref is what it is to be called; empty: what it is called in the archive.
	Ref string `json:"ref,omitempty"`
	// Tag chooses one of several in the archive.
	Tag      string `json:"tag,omitempty"`
	Platform string `json:"platform,omitempty"`
}

// ExportRequest gives an image, or a snapshot, away: POST /v1/images/export,
// upgraded to [StreamProtocol]: the tar of an OCI layout comes on stdout.
type ExportRequest struct {
	// Ref is an image's name or id, or "snapshot:NAME".
	Ref string `json:"ref"`
}

// PruneReport is the answer to POST /v1/images/prune: what nothing uses goes.
type PruneReport struct {
	Images []Image `json:"images"`
	Freed  int64   `json:"freed"` // bytes
}

// Progress is what something long is at.
type Progress struct {
	// Text is a few words for people: "pulling 3 layers".
	Text string `json:"text,omitempty"`
	// Done of Total bytes; Total 0 is not known.
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
	// Log is output of what is being built.
	Log *LogLine `json:"log,omitempty"`

	// One of these is in the last.
	Image    *Image    `json:"image,omitempty"`
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	Sandbox  *Sandbox  `json:"sandbox,omitempty"`
	// Left is what a sandbox that came in has not of what it had, in words.
	Left  []string `json:"left,omitempty"`
	Error *Error   `json:"error,omitempty"`
}

// Images lists the images that the caller has, by name. Stable.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	var list []Image
	return list, c.do(ctx, http.MethodGet, "/images", nil, nil, &list)
}

// RemoveImage takes an image from the caller; its layers go when nothing uses them.
// Codes: not_found, conflict (a sandbox is made of it). Stable.
func (c *Client) RemoveImage(ctx context.Context, ref string) (Image, error) {
	var i Image
	return i, c.do(ctx, http.MethodPost, "/images/rm", nil, ImageRequest{Ref: ref}, &i)
}

// PruneImages removes the caller's images that no sandbox is made of. Stable.
func (c *Client) PruneImages(ctx context.Context) (PruneReport, error) {
	var r PruneReport
	return r, c.do(ctx, http.MethodPost, "/images/prune", nil, struct{}{}, &r)
}

// PullImage gets an image from its registry, or a newer one of that name. each, if
// not nil, is told how far it is. Codes: invalid, image, exhausted. Stable.
func (c *Client) PullImage(ctx context.Context, r PullRequest, each func(Progress)) (Image, error) {
	last, err := c.progress(ctx, "/images/pull", r, each)
	if err != nil {
		return Image{}, err
	}
	if last.Image == nil {
		return Image{}, &Error{Code: CodeInternal, Message: "the daemon told of no image", Hint: hintStatus}
	}
	return *last.Image, nil
}

// progress sends a request that is answered by progress, and gives the last of it.
func (c *Client) progress(ctx context.Context, path string, in any, each func(Progress)) (Progress, error) {
	l, err := answers[Progress](ctx, c, http.MethodPost, path, nil, in, true)
	if err != nil {
		return Progress{}, err
	}
	defer func() { _ = l.Close() }()
	for {
		p, err := l.Next()
		switch {
		case errors.Is(err, io.EOF):
			return Progress{}, &Error{Code: CodeUnavailable, Message: "the daemon ended in the middle of it", Hint: hintStatus, cause: err}
		case err != nil:
			return Progress{}, err
		case p.Error != nil:
			return Progress{}, p.Error
		case p.Image != nil || p.Snapshot != nil:
			return p, nil
		case each != nil:
			each(p)
		}
	}
}

// ImportImage takes an image from a tar: of an OCI image layout, or what docker save
// makes. Codes: invalid, image, not_found (no such tag), exhausted. Stable.
func (c *Client) ImportImage(ctx context.Context, r ImportRequest, tar io.Reader) (Image, error) {
	last, err := c.upload(ctx, "/images/import", r, tar, nil)
	if err != nil {
		return Image{}, err
	}
	if last.Image == nil {
		return Image{}, &Error{Code: CodeInternal, Message: "the daemon told of no image", Hint: hintStatus}
	}
	return *last.Image, nil
}

// failing is a reader whose failure is kept: the other side would take it for the
// end.
type failing struct {
	r    io.Reader
	fail func()

	mu  sync.Mutex
	why error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.mu.Lock()
		f.why = err
		f.mu.Unlock()
		f.fail()
	}
	return n, err
}

func (f *failing) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.why
}
