package runner

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxLog is how much of the end of a log is looked at, in bytes.
	maxLog = 64 << 10
	// maxMessage bounds what is passed on, in bytes: paths of a hostile
	// image get into runc's messages.
	maxMessage = 512
	// maxErrors is how many of the last errors are told.
	maxErrors = 3
)

// lastErrors gives the last errors of a runc's log (lines of JSON) as one
// printable line, in the order they were written, or "".
func lastErrors(log *os.File) string {
	info, err := log.Stat()
	if err != nil {
		return ""
	}
	from := max(0, info.Size()-maxLog)
	buf := make([]byte, min(maxLog, info.Size()))
	n, _ := log.ReadAt(buf, from)
	return errorsIn(buf[:n])
}

func errorsIn(log []byte) string {
	var found []string
	lines := bytes.Split(log, []byte{'\n'})
	for _, line := range slices.Backward(lines) {
		var entry struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
		}
		if json.Unmarshal(line, &entry) != nil || entry.Level != "error" && entry.Level != "fatal" {
			continue
		}
		if m := printable(entry.Msg); m != "" && !slices.Contains(found, m) {
			found = append(found, m)
		}
		if len(found) == maxErrors {
			break
		}
	}
	slices.Reverse(found)
	return printable(strings.Join(found, "; "))
}

// printable makes one line of s that a terminal shows as it is: no control
// characters, none that reverse the direction of writing, at most maxMessage
// bytes.
func printable(s string) string {
	var b strings.Builder
	space := true // leading space is dropped
	for _, r := range s {
		if unicode.IsSpace(r) {
			if !space {
				b.WriteByte(' ')
			}
			space = true
			continue
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = '?'
		}
		if b.Len()+utf8.RuneLen(r) > maxMessage {
			break
		}
		b.WriteRune(r)
		space = false
	}
	return strings.TrimRight(b.String(), " ")
}
