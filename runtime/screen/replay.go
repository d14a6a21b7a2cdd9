package screen

// Replay filters old output so that it can be shown again: only text, its
// looks, cursor movements and hyperlinks are left. Everything that asks the
// terminal something would have its answer typed into today's program; modes
// are [Tracker]'s to restore; a bell was for then. The zero value is not ready:
// use [NewReplay].
type Replay struct{ f Filter }

// NewReplay returns a Replay at the beginning of a text.
func NewReplay() *Replay { return &Replay{f: Filter{old: true}} }

// Append filters src and appends what passes to dst.
func (r *Replay) Append(dst, src []byte) []byte { return r.f.Append(dst, src) }

// oldControl tells whether a control sequence of old output is shown again.
func oldControl(l *lexer) bool {
	if l.private != 0 || l.inters != 0 {
		return false
	}
	switch l.final {
	case 'J':
		// 3 J deletes the scrollback of the person's own terminal.
		return l.arg(0, 0) < 3
	case 's', 'u':
		return l.n == 0
	}
	return contains("@ABCDEFGHIKLMPSTXZ`abdefgmr", l.final)
}
