package api

import (
	"context"
	"net/http"
	"time"
)

// Deleted is a sandbox that was deleted and can be brought back until Until: an
// element of GET /v1/deleted, the last deleted first.
type Deleted struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Owner   int       `json:"owner"` // uid
	Profile string    `json:"profile,omitempty"`
	Image   string    `json:"image"`
	Deleted time.Time `json:"deleted"`
	Until   time.Time `json:"until"`
}

// UndoRequest brings a deleted sandbox back: POST /v1/undo.
type UndoRequest struct {
	// Ref is its name, its id or the beginning of it; empty is the last one
	// that was deleted.
	Ref string `json:"ref,omitempty"`
}

// Deleted lists the sandboxes that can be brought back. Stable.
func (c *Client) Deleted(ctx context.Context) ([]Deleted, error) {
	var list []Deleted
	return list, c.do(ctx, http.MethodGet, "/deleted", nil, nil, &list)
}

// Undo brings a deleted sandbox back, with its files, its name, its labels and
// its limits; it does not run. Codes: not_found (there is none, or its time is
// over), exists (its name is another's). Stable.
func (c *Client) Undo(ctx context.Context, r UndoRequest) (Sandbox, error) {
	var s Sandbox
	return s, c.do(ctx, http.MethodPost, "/undo", nil, r, &s)
}
