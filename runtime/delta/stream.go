package delta

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Keys of the records (PAX) that say what an entry is.
const (
	keyKind    = "COVE.kind"
	keyMode    = "COVE.mode"
	keySize    = "COVE.size" // of a file without its content
	keyLink    = "COVE.link"
	keyOpaque  = "COVE.opaque"
	keyBase    = "COVE.base"
	keySince   = "COVE.since"
	keyApplied = "COVE.applied"
	keyError   = "COVE.error"
)

// The last record of a stream says how it ended.
const (
	kindEnd    Kind = "end"
	kindFailed Kind = "failed"
)

// Writer writes a stream. It belongs to one goroutine.
type Writer struct{ tw *tar.Writer }

// NewWriter begins a stream on w.
func NewWriter(w io.Writer) *Writer { return &Writer{tar.NewWriter(w)} }

// Put writes an entry. A file's content, exactly e.Size bytes, goes to
// [Writer.Write] after it.
func (w *Writer) Put(e Entry) error {
	rec := map[string]string{keyKind: string(e.Kind), keyMode: strconv.FormatUint(uint64(e.Mode), 8)}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: e.Path, Mode: int64(e.Mode), PAXRecords: rec, Format: tar.FormatPAX}
	switch {
	case e.Kind == File && e.Long:
		rec[keySize] = strconv.FormatInt(e.Size, 10)
	case e.Kind == File:
		h.Size = e.Size
	}
	if e.Link != "" {
		rec[keyLink] = e.Link
	}
	if e.Opaque {
		rec[keyOpaque] = "1"
	}
	if e.Base != nil {
		b, err := json.Marshal(e.Base)
		if err != nil {
			return err
		}
		rec[keyBase] = string(b)
	}
	if e.Since != 0 {
		rec[keySince] = strconv.FormatInt(e.Since, 10)
	}
	if e.Applied != "" {
		rec[keyApplied] = e.Applied
	}
	return w.tw.WriteHeader(h)
}

// Write writes content of the last file.
func (w *Writer) Write(p []byte) (int, error) { return w.tw.Write(p) }

// Close ends the stream: with why it is not whole, or nil.
func (w *Writer) Close(why error) error {
	rec := map[string]string{keyKind: string(kindEnd)}
	if why != nil {
		rec[keyKind], rec[keyError] = string(kindFailed), why.Error()
	}
	err := w.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: ".", PAXRecords: rec, Format: tar.FormatPAX})
	return errors.Join(err, w.tw.Close())
}

// Reader reads a stream. It belongs to one goroutine.
type Reader struct{ tr *tar.Reader }

// NewReader reads the stream r.
func NewReader(r io.Reader) *Reader { return &Reader{tar.NewReader(r)} }

// Next gives the next entry, and io.EOF after the last of a whole stream. What is
// left of the content of the one before is passed over. Errors: [ErrHostile];
// io.ErrUnexpectedEOF for a stream that broke off; what the sender said went wrong.
func (r *Reader) Next() (Entry, error) {
	h, err := r.tr.Next()
	if errors.Is(err, io.EOF) {
		return Entry{}, io.ErrUnexpectedEOF
	}
	if err != nil {
		if errors.Is(err, tar.ErrHeader) {
			err = fmt.Errorf("%w: %w", ErrHostile, err)
		}
		return Entry{}, err
	}
	rec := h.PAXRecords
	bad := func(what string) (Entry, error) { return Entry{}, fmt.Errorf("%w: %s", ErrHostile, what) }
	e := Entry{
		Path: h.Name, Kind: Kind(rec[keyKind]), Size: h.Size, Link: rec[keyLink],
		Opaque: rec[keyOpaque] == "1", Applied: rec[keyApplied],
	}
	switch e.Kind {
	case kindEnd:
		return Entry{}, io.EOF
	case kindFailed:
		return Entry{}, errors.New(rec[keyError])
	case File, Dir, Link, Gone, Special, Known, Torn:
	default:
		return bad("an entry of an unknown kind")
	}
	if !ValidPath(e.Path) || h.Typeflag != tar.TypeReg {
		return bad(fmt.Sprintf("the path %.200q", e.Path))
	}
	mode, err := strconv.ParseUint(rec[keyMode], 8, 32)
	if err != nil || mode > 0o7777 {
		return bad("a mode")
	}
	e.Mode = uint32(mode)
	if s, ok := rec[keySize]; ok && e.Kind == File {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 || e.Size != 0 {
			return bad("a size")
		}
		e.Size, e.Long = n, true
	}
	if e.Kind != File && e.Size != 0 || !e.Long && e.Size > MaxContent {
		return bad("content where none belongs")
	}
	if (e.Kind == Link) != (e.Link != "") || len(e.Link) > MaxPath {
		return bad("a link")
	}
	if s, ok := rec[keySince]; ok {
		if e.Since, err = strconv.ParseInt(s, 10, 64); err != nil {
			return bad("a time")
		}
	}
	if s, ok := rec[keyBase]; ok {
		e.Base = &Base{}
		if err := json.Unmarshal([]byte(s), e.Base); err != nil {
			return bad("what was there")
		}
	}
	return e, nil
}

// Read reads content of the file that Next gave.
func (r *Reader) Read(p []byte) (int, error) { return r.tr.Read(p) }
