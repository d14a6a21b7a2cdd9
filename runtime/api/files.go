package api

import "context"

// FilesOp is what is done with the files of a sandbox.
type FilesOp string

// What can be done with files.
const (
	FilesGet     FilesOp = "get"     // a tar of Path comes on the stream's stdout
	FilesPut     FilesOp = "put"     // one that get, or package files, makes goes in by its stdin
	FilesExtract FilesOp = "extract" // any tar goes in, below the directory Path
)

// FilesRequest copies files: POST /v1/sandboxes/{ref}/files, upgraded to
// [StreamProtocol]. The stream's stderr is a files.Summary, one line of JSON, of
// which a sandbox says what it likes; the exit status is 0 when all was copied.
type FilesRequest struct {
	Op FilesOp `json:"op"`
	// Path is inside the sandbox; a relative one begins at its working
	// directory, "~/" at the home of User.
	Path string `json:"path"`
	// Name (get) is what the file or directory at Path is called in the tar;
	// put into a directory, what it is called there: empty for the contents of
	// a directory.
	Name string `json:"name,omitempty"`
	// Follow (get) takes what a symbolic link at Path leads to.
	Follow bool   `json:"follow,omitempty"`
	User   string `json:"user,omitempty"` // default: the spec's user
}

// Files copies files into or out of a sandbox that is started, or stopped: it is
// occupied then. ctx bounds the opening only; the stream ends with the copy or
// with [Stream.Close]. Codes: invalid, not_found, conflict, unavailable. Stable.
func (c *Client) Files(ctx context.Context, ref string, r FilesRequest) (*Stream, error) {
	return c.stream(ctx, ref, "files", r)
}
