// Package files is a file, or a tree of them, as a stream of tar: out of a
// directory and into one. Both ends of a copy use it: PID 1's helper inside a
// sandbox, as the sandbox's user, and the command line on the host, as its caller.
//
// What is unpacked may come from a sandbox, and so from somebody who wants it to
// land elsewhere (CVE-2018-15664, CVE-2019-1002101 and their like). Nothing is
// looked up by path below the target: every directory is a descriptor that was
// opened without following a link, every file is made new, and what is no file,
// directory or link is not made at all.
package files

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Limits of one entry's name.
const (
	maxPath  = 4096
	maxName  = 255
	maxDepth = 255 // directories below each other; each is a descriptor
)

// permissions are the bits of a mode that travel: no setuid, setgid, sticky.
const permissions = 0o777

// ErrHostile is wrapped by the error of a stream that no copy makes: the sender
// wants to harm.
var ErrHostile = errors.New("refused")

// Counter counts what was copied, for whoever shows progress meanwhile.
type Counter struct{ Files, Bytes atomic.Int64 }

// Summary is how a copy ended. Of what could not be copied, and of what was left
// out on purpose, the first is named and all are counted.
type Summary struct {
	Files int64 `json:"files"` // files, directories and links
	Bytes int64 `json:"bytes"`
	// Failed are entries that were not copied, FirstFailed the first and why.
	Failed      int64  `json:"failed,omitempty"`
	FirstFailed string `json:"first_failed,omitempty"`
	// Skipped are sockets, pipes and devices.
	Skipped      int64  `json:"skipped,omitempty"`
	FirstSkipped string `json:"first_skipped,omitempty"`
	// Outward are symbolic links that were made and lead out of the copy.
	Outward      int64  `json:"outward,omitempty"`
	FirstOutward string `json:"first_outward,omitempty"`
	// Fatal is what ended the copy.
	Fatal string `json:"fatal,omitempty"`
}

func note(n *int64, first *string, format string, args ...any) {
	if *n++; *n == 1 {
		*first = fmt.Sprintf(format, args...)
	}
}

func (s *Summary) failed(name string, err error) {
	note(&s.Failed, &s.FirstFailed, "%s: %v", name, cause(err))
}

func (s *Summary) skipped(name, what string) {
	note(&s.Skipped, &s.FirstSkipped, "%s, %s", name, what)
}

func (s *Summary) outward(name, target string) {
	note(&s.Outward, &s.FirstOutward, "%s -> %s", name, target)
}

// cause is an error without the words that only repeat what was done to what.
func cause(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// ends tells whether an error ends the whole copy: the next file would meet it too.
func ends(err error) bool {
	for _, e := range []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, unix.ENOMEM, unix.EMFILE, unix.ENFILE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func restart(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
