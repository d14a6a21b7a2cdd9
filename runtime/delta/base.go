package delta

import "golang.org/x/sys/unix"

// BaseOf is what a file is, but for where a link leads.
func BaseOf(st *unix.Stat_t) Base {
	b := Base{Mode: st.Mode & 0o7777, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(), Ino: st.Ino}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		b.Kind, b.Size = File, st.Size
	case unix.S_IFDIR:
		b.Kind = Dir
	case unix.S_IFLNK:
		b.Kind = Link
	default:
		b.Kind = Special
	}
	return b
}
