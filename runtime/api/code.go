package api

import "context"

// CodeRequest runs a source: POST /v1/sandboxes/{ref}/code, upgraded to
// [StreamProtocol]. The source is in no argv and no environment; while it runs it
// lies in a file of the user's own in the sandbox's /tmp.
type CodeRequest struct {
	// Language: python, javascript, typescript, bash, go or ruby. Default: what
	// the extension of Name, the first line of Source (#!), or the sandbox's
	// profile says, in this order.
	Language string `json:"language,omitempty"`
	// Name is what the file is called: a name of one element, empty for one of
	// the language's.
	Name   string `json:"name,omitempty"`
	Source []byte `json:"source"` // at most 512 KiB
	// The rest is as in [ExecRequest]; Argv are the source's arguments.
	ExecRequest
}

// Code runs a source in a started sandbox. ctx bounds the opening only; the stream
// is that of [Client.Exec]. An interpreter that is not there is told by the exit
// status (code 127, Error). Codes: invalid, not_found, conflict, unavailable.
// Stable.
func (c *Client) Code(ctx context.Context, ref string, r CodeRequest) (*Stream, error) {
	return c.stream(ctx, ref, "code", r)
}
