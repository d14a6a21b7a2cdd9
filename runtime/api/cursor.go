package api

import (
	"fmt"
	"strconv"
	"strings"
)

// maxEpoch is the longest epoch that [ParseCursor] takes, in bytes.
const maxEpoch = 64

// String is the cursor as the query of GET /v1/events has it: EPOCH:SEQ.
func (c Cursor) String() string { return c.Epoch + ":" + strconv.FormatUint(c.Seq, 10) }

// ParseCursor reads what [Cursor.String] writes. A cursor that it accepts may
// still be unknown to a daemon, which then answers with a snapshot.
func ParseCursor(s string) (Cursor, error) {
	epoch, seq, ok := strings.Cut(s, ":")
	if !ok || epoch == "" || len(epoch) > maxEpoch {
		return Cursor{}, badCursor(s)
	}
	for _, b := range []byte(epoch) {
		if (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (b < '0' || b > '9') && b != '-' && b != '_' && b != '.' {
			return Cursor{}, badCursor(s)
		}
	}
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != seq {
		return Cursor{}, badCursor(s)
	}
	return Cursor{Epoch: epoch, Seq: n}, nil
}

func badCursor(s string) error {
	if len(s) > maxEpoch {
		s = s[:maxEpoch]
	}
	return fmt.Errorf("%q is no cursor: want EPOCH:SEQ as an event had them", s)
}
