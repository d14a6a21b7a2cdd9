// Package delta is what a sandbox has changed in a directory, as a stream: what
// the daemon reads of an overlay's upper directory and the command line, as its
// caller, compares with the directory itself. It is a tar, whose records say in
// keys of their own what is no file: deleted names, directories that hide what is
// below them, and what the directory held when the sandbox got it.
//
// What comes may be made by a sandbox, by way of a daemon that copies it: the
// [Reader] gives no path that leads out of the directory.
package delta

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"path"
	"strings"
)

// Kind is what an [Entry] is.
type Kind string

// Kinds of entries.
const (
	File Kind = "file"
	Dir  Kind = "dir"
	Link Kind = "link"
	// Gone is a name that is deleted, with all below it.
	Gone Kind = "gone"
	// Special is a socket, pipe or device, which is told and not sent.
	Special Kind = "special"
	// Known tells only what was there: of what lies below a deleted, hidden or
	// replaced directory. Those come first.
	Known Kind = "known"
	// Torn says that a file which came before was changed while it was read.
	Torn Kind = "torn"
)

// Limits of a stream.
const (
	// MaxPath is how long paths and links' targets may be, in bytes.
	MaxPath = 4096
	maxName = 255
	// MaxContent is the longest file whose content is sent; a longer one has
	// Long set and no content.
	MaxContent = 4 << 30
)

// ErrHostile: a stream that no daemon makes.
var ErrHostile = errors.New("the stream of changes is not valid")

// Base is a file of the host's as it was when a sandbox got the directory, or
// when a change to it was last applied.
type Base struct {
	Kind  Kind   `json:"k"`
	Mode  uint32 `json:"m"` // permissions
	Size  int64  `json:"s,omitempty"`
	Mtime int64  `json:"t,omitempty"` // ns since 1970
	Ctime int64  `json:"c,omitempty"`
	Ino   uint64 `json:"i,omitempty"`
	Dev   uint64 `json:"d,omitempty"` // of the directory itself only
	Link  []byte `json:"l,omitempty"`
	// Racy: it changed while it was looked at, so that nobody knows what the
	// sandbox saw.
	Racy bool `json:"r,omitempty"`
}

// Entry is one name in the upper directory.
type Entry struct {
	// Path is below the directory, with slashes, "." for itself.
	Path string
	Kind Kind
	Mode uint32 // with setuid, setgid and sticky
	Size int64
	Link string
	// Opaque is a directory that hides what is below it on the host.
	Opaque bool
	// Long is a file without its content, see [MaxContent].
	Long bool
	// Base is what the directory held there, nil for nothing.
	Base *Base
	// Since is when Base was looked at, in seconds since 1970.
	Since int64
	// Applied is the [Sum] of what was last applied there, "" for nothing.
	Applied string
}

// Change is what an apply or discard says of one path: what is in the sandbox's
// directory and on the host is the same from now on.
type Change struct {
	Path []byte `json:"path"`
	// Sum is that of the applied entry; empty after a discard.
	Sum string `json:"sum,omitempty"`
	// Base is what the host has there now; nil for nothing.
	Base *Base `json:"base,omitempty"`
}

// ValidPath tells whether p is "." or names something below a directory.
func ValidPath(p string) bool {
	if p == "" || len(p) > MaxPath || p[0] == '/' || path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../") || strings.IndexByte(p, 0) >= 0 {
		return false
	}
	for name := range strings.SplitSeq(p, "/") {
		if len(name) > maxName {
			return false
		}
	}
	return true
}

// Covers tells whether one of paths is p or leads to it, or the other way round;
// no paths cover all.
func Covers(paths []string, p string) bool {
	return len(paths) == 0 || Within(paths, p) || leads(paths, p)
}

// Within tells whether p is one of paths or lies below one.
func Within(paths []string, p string) bool {
	for _, q := range paths {
		if q == "." || p == q || strings.HasPrefix(p, q+"/") {
			return true
		}
	}
	return false
}

func leads(paths []string, p string) bool {
	for _, q := range paths {
		if p == "." || strings.HasPrefix(q, p+"/") {
			return true
		}
	}
	return false
}

// Sum tells entries apart: equal ones make the same file.
type Sum struct{ h hash.Hash }

// NewSum begins the sum of e, whose content is to be written to it.
func NewSum(e Entry) Sum {
	s := Sum{sha256.New()}
	fmt.Fprintf(s.h, "%s %o %t %d %q\n", e.Kind, e.Mode, e.Opaque, e.Size, e.Link)
	return s
}

// Write adds content.
func (s Sum) Write(p []byte) (int, error) { return s.h.Write(p) }

// String is the sum, once all content is written.
func (s Sum) String() string { return hex.EncodeToString(s.h.Sum(nil)) }
