package api

// Kinds of a [FileChange].
const (
	ChangeAdded    = "added"
	ChangeModified = "modified"
	ChangeDeleted  = "deleted"
	// ChangeMode is one of the mode alone.
	ChangeMode = "mode"
	// ChangeType is another kind of file in its place.
	ChangeType = "type"
)

// FileChange is one file that a sandbox has changed in a copy-on-write mount, or in
// its own root.
type FileChange struct {
	// Path is below Target, with slashes.
	Path string `json:"path"`
	Kind string `json:"kind"`
	// Type is "file", "dir", "link" or another of find(1)'s in words; Old is what
	// it was where it is another now.
	Type    string `json:"type"`
	OldType string `json:"old_type,omitempty"`
	// Mode and OldMode are permissions, in octal.
	Mode    string `json:"mode,omitempty"`
	OldMode string `json:"old_mode,omitempty"`
	Size    int64  `json:"size"`
	OldSize int64  `json:"old_size"`
	Link    string `json:"link,omitempty"` // where a link leads
	Binary  bool   `json:"binary,omitempty"`
	// Added and Removed are lines, of text.
	Added   int `json:"added"`
	Removed int `json:"removed"`
	// Conflict says why it is not applied as it is: the host's file changed since
	// the sandbox got the directory, say.
	Conflict string `json:"conflict,omitempty"`
	// Flags are what somebody should look at before it is applied: "git", "hook",
	// "envrc", "executable", "link out", "setuid".
	Flags []string `json:"flags,omitempty"`
}

// ChangeSet is what a sandbox has changed in one place.
type ChangeSet struct {
	// Source is the host's directory, empty for the sandbox's own root, and Target
	// where it is inside.
	Source  string       `json:"source,omitempty"`
	Target  string       `json:"target"`
	Changes []FileChange `json:"changes"`
}
