package archive

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// extent is a part of a file that is no hole.
type extent struct{ offset, length int64 }

// extents finds what of a file is no hole (lseek(2), SEEK_DATA).
func extents(f *os.File, size int64) ([]extent, error) {
	var found []extent
	for at := int64(0); at < size; {
		from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		to, err := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		to = min(to, size)
		if to <= from {
			return found, nil
		}
		found = append(found, extent{from, to - from})
		at = to
	}
	return found, nil
}

// describe puts the map of a file of size bytes into its records and returns how
// many bytes there are to keep.
func describe(records map[string]string, pieces []extent, size int64) (kept int64) {
	var b strings.Builder
	for i, p := range pieces {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(p.offset, 10))
		b.WriteByte(':')
		b.WriteString(strconv.FormatInt(p.length, 10))
		kept += p.length
	}
	records[sparseSize], records[sparseMap] = strconv.FormatInt(size, 10), b.String()
	return kept
}

// pieces reads the map of a file of which kept bytes are there: what is no hole,
// and how long the file is.
func pieces(records map[string]string, kept int64) (_ []extent, size int64, err error) {
	text, ok := records[sparseSize]
	if !ok {
		return []extent{{0, kept}}, kept, nil
	}
	if size, err = number(text); err != nil {
		return nil, 0, err
	}
	var found []extent
	end, sum := int64(0), int64(0)
	list := records[sparseMap]
	if list == "" && kept == 0 {
		return nil, size, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		from, length, _ := strings.Cut(part, ":")
		var p extent
		if p.offset, err = number(from); err != nil {
			return nil, 0, err
		}
		if p.length, err = number(length); err != nil {
			return nil, 0, err
		}
		if p.offset < end || p.length == 0 || p.length > size-p.offset {
			return nil, 0, fmt.Errorf("%w: the pieces of a file overlap or lie beyond its end", ErrHostile)
		}
		end, sum = p.offset+p.length, sum+p.length
		if found = append(found, p); len(found) > maxExtents {
			return nil, 0, fmt.Errorf("%w: a file in too many pieces", ErrHostile)
		}
	}
	if sum != kept {
		return nil, 0, fmt.Errorf("%w: the pieces of a file are not what is there of it", ErrHostile)
	}
	return found, size, nil
}

// number reads a number of bytes that a file can have.
func number(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<60 {
		return 0, fmt.Errorf("%w: %.40q is no number of bytes", ErrHostile, s)
	}
	return n, nil
}
