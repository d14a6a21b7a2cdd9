package rootfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tableFile keeps the last scan, so that a daemon that starts again can have
// a root ready after one stat per directory. It is only ever an optimisation:
// whatever is wrong with it means a full scan.
type tableFile struct {
	Version int
	Dev     uint64 // of /usr
	Ino     uint64
	Table   usrTable
}

const (
	tableVersion = 1
	tableName    = "usr.scan"
)

func identify(usr *os.File) (dev, ino uint64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(usr.Fd()), &st); err != nil {
		return 0, 0, fmt.Errorf("stat /usr: %w", err)
	}
	return st.Dev, st.Ino, nil
}

// loadTable returns the kept table when it is whole and of this /usr, or nil.
func loadTable(dir string, usr *os.File) usrTable {
	raw, err := os.ReadFile(filepath.Join(dir, tableName))
	if err != nil || len(raw) < sha256.Size {
		return nil
	}
	sum := sha256.Sum256(raw[sha256.Size:])
	if !bytes.Equal(sum[:], raw[:sha256.Size]) {
		return nil
	}
	var f tableFile
	if err := gob.NewDecoder(bytes.NewReader(raw[sha256.Size:])).Decode(&f); err != nil {
		return nil
	}
	dev, ino, err := identify(usr)
	if err != nil || f.Version != tableVersion || f.Dev != dev || f.Ino != ino || f.Table["."] == nil {
		return nil
	}
	return f.Table
}

// saveTable replaces the kept table. It is not synced: its checksum finds a
// torn one.
func saveTable(dir string, usr *os.File, t usrTable) (err error) {
	dev, ino, err := identify(usr)
	if err != nil {
		return err
	}
	var body bytes.Buffer
	if err := gob.NewEncoder(&body).Encode(tableFile{tableVersion, dev, ino, t}); err != nil {
		return fmt.Errorf("keep scan of /usr: %w", err)
	}
	sum := sha256.Sum256(body.Bytes())
	tmp, err := os.CreateTemp(dir, tmpPrefix)
	if err != nil {
		return fmt.Errorf("keep scan of /usr: %w", err)
	}
	_, err = io.Copy(tmp, io.MultiReader(bytes.NewReader(sum[:]), &body))
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(dir, tableName))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep scan of /usr: %w", err), os.Remove(tmp.Name()))
	}
	return nil
}
