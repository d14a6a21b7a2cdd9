package attach

import (
	"io"
	"strings"

	"cove/runtime/screen"
)

// Writer passes the output of a program in a sandbox on to the person's
// terminal, through the filter of attached sessions. It is for a program that
// draws on the person's own screen, below what stands there, and follows which
// modes it sets, so that [Writer.Reset] touches nothing else. A Writer is for
// one goroutine.
type Writer struct {
	w       io.Writer
	filter  filter
	tracker screen.Tracker
	out     []byte
}

// NewWriter returns a Writer that passes on to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w, filter: filter{shared: true}} }

// Write filters p and writes what passes, in one call. It reports len(p), or
// the error of the terminal.
func (w *Writer) Write(p []byte) (int, error) {
	w.out = w.filter.Write(w.out[:0], p)
	w.tracker.WriteAll(w.out)
	if len(w.out) > 0 {
		if _, err := w.w.Write(w.out); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Reset writes what brings the terminal back from what the program made of it.
func (w *Writer) Reset() error {
	var b strings.Builder
	b.Write(w.filter.close(nil))
	b.Write(w.tracker.AppendReset(nil))
	w.filter.undo(&b)
	if w.filter.titled {
		b.WriteString("\x1b[23;2t")
	}
	w.filter, w.tracker = filter{shared: true}, screen.Tracker{}
	_, err := io.WriteString(w.w, b.String())
	return err
}
