package tui

import (
	"context"
	"io"
	"slices"
	"strconv"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
	uv "github.com/charmbracelet/ultraviolet"

	"cove/runtime/api"
	"cove/tui/attach"
)

// attachment is an attach from the key press to the return of the terminal.
type attachment struct {
	gen      int
	id, name string
	cancel   context.CancelFunc
	running  bool // the terminal is the session's
	keys     int  // how many came while it was joined
	typed    []byte
}

// departure remembers the last detach: a second detach key right after it goes
// back and is passed on to the program.
type departure struct {
	id string
	at time.Time
}

const (
	detachKey = "ctrl+]"
	detachRaw = 0x1d
	// returnWithin is DESIGN's 250 ms for the second key, and what it takes
	// the program to have its terminal back.
	returnWithin = 350 * time.Millisecond
	// joinPatience is how long the daemon may take to connect us.
	joinPatience = 15 * time.Second
)

// joinedMsg says that a session is there, or why not.
type joinedMsg struct {
	gen     int
	session *attach.Session
	err     error
	keys    int // handoverMsg: how many had come before
}

// join connects to the session of a sandbox. Only then is the terminal handed
// over: an attach that is refused leaves the screen alone, and a tea.Exec that
// ends at once could freeze it (charmbracelet/bubbletea#1778).
func (a *App) join(box *api.Sandbox, typed []byte) tea.Cmd {
	return a.joinAs(box, typed, func(context.Context) (string, error) { return "", nil })
}

// joinNew opens one more session beside those that there are.
func (a *App) joinNew(box *api.Sandbox) tea.Cmd {
	id := box.ID
	return a.joinAs(box, nil, func(ctx context.Context) (string, error) {
		d, err := a.opts.Backend.Get(ctx, id)
		if err != nil || d.Running == nil {
			return "", err
		}
		return freeSession(d.Running.Sessions), nil
	})
}

// freeSession is a name for one more session: the main one where there is none.
func freeSession(there []api.Session) string {
	name := "main"
	for n := 2; slices.ContainsFunc(there, func(s api.Session) bool { return s.Name == name }); n++ {
		name = "shell-" + strconv.Itoa(n)
	}
	return name
}

// joinAs is [App.join] of the session that the command finds out.
func (a *App) joinAs(box *api.Sandbox, typed []byte, session func(context.Context) (string, error)) tea.Cmd {
	ctx, cancel := context.WithTimeout(a.ctx, joinPatience)
	a.joins++
	a.attach = &attachment{gen: a.joins, id: box.ID, name: box.Name, cancel: cancel, typed: typed}
	gen, id := a.joins, box.ID
	req := api.AttachRequest{Cols: a.w, Rows: a.h, Term: a.term}
	return func() tea.Msg {
		defer cancel()
		name, err := session(ctx)
		if err != nil {
			return joinedMsg{gen: gen, err: err}
		}
		req.Session = name
		conn, err := a.opts.Backend.Attach(ctx, id, req)
		if err != nil {
			return joinedMsg{gen: gen, err: err}
		}
		s, err := attach.Join(ctx, conn)
		return joinedMsg{gen: gen, session: s, err: err}
	}
}

// typeAhead keeps what is typed while a session is being joined: it is meant
// for the session, and must not act on the list. esc and ctrl+] give up.
func (a *App) typeAhead(k tea.KeyPressMsg) tea.Cmd {
	at := a.attach
	at.keys++
	switch {
	case at.running:
		// Typed after the session has ended, and read before we were told.
		at.typed = append(at.typed, keyBytes(k)...)
	case key.Matches(k, a.fixed.giveUp):
		at.cancel()
		a.attach = nil
		a.notice.say(a.now, "not attached to "+at.name)
	default:
		at.typed = append(at.typed, keyBytes(k)...)
	}
	return nil
}

// keyBytes is a key as a plain terminal sends it; nothing for keys that it
// has no one way to send.
func keyBytes(k tea.KeyPressMsg) []byte {
	switch s := k.String(); {
	case s == "enter":
		return []byte{'\r'}
	case s == "tab":
		return []byte{'\t'}
	case s == "backspace":
		return []byte{0x7f}
	case s == "esc":
		return []byte{0x1b}
	case k.Mod == tea.ModCtrl && k.Code >= 'a' && k.Code <= 'z':
		return []byte{byte(k.Code) & 0x1f}
	case k.Mod == tea.ModCtrl && k.Code == ']':
		return []byte{detachRaw}
	}
	return []byte(k.Text)
}

// joined prepares to hand the terminal over to the session.
func (a *App) joined(msg joinedMsg) tea.Cmd {
	at := a.attach
	if at == nil || at.gen != msg.gen { // given up meanwhile
		if msg.session != nil {
			return func() tea.Msg { _ = msg.session.Close(); return nil }
		}
		return nil
	}
	if msg.err != nil {
		a.attach = nil
		a.fail("attach "+at.name, cli("attach", at.name), msg.err)
		return nil
	}
	a.keys.divert()
	return a.settle(handoverMsg(msg), at.keys)
}

// handoverMsg says that the terminal can be handed over, if no key has come
// since.
type handoverMsg joinedMsg

// settleTime is how long no key may come before the terminal is handed over.
// Keys that Bubble Tea has read with the one that began all this are still on
// their way to us then, one message each; nothing new is read for it anymore.
const settleTime = 8 * time.Millisecond

func (a *App) settle(msg handoverMsg, keys int) tea.Cmd {
	msg.keys = keys
	return func() tea.Msg {
		if !a.pause(settleTime) {
			_ = msg.session.Close()
			return nil
		}
		return msg
	}
}

func (a *App) handover(msg handoverMsg) tea.Cmd {
	at := a.attach
	switch {
	case at == nil || at.gen != msg.gen: // given up meanwhile
		return a.giveUp(msg.session)
	case at.keys != msg.keys:
		return a.settle(msg, at.keys)
	}
	run := &attachRun{ctx: a.ctx, session: msg.session, keys: a.keys, opts: attach.Options{
		In: a.opts.In, Out: a.opts.Out, Name: at.name, Input: at.typed,
	}}
	at.running, at.typed = true, nil
	a.watching()
	return tea.Exec(run, func(err error) tea.Msg { return detachedMsg{gen: msg.gen, res: run.res, err: err} })
}

// giveUp closes a session that nobody waits for anymore, and acts on what was
// kept for it.
func (a *App) giveUp(s *attach.Session) tea.Cmd {
	return tea.Batch(func() tea.Msg { _ = s.Close(); return nil }, a.replay(a.keys.take()))
}

// attachRun is a tea.ExecCommand.
type attachRun struct {
	ctx     context.Context
	session *attach.Session
	keys    *keyboard
	opts    attach.Options
	res     attach.Result
}

// execFloor is how long a tea.Exec lasts at least. Below some milliseconds
// Bubble Tea's old renderer stops the ticker of the new one and the screen
// stays frozen (charmbracelet/bubbletea#1778, until #1781 is released).
const execFloor = 50 * time.Millisecond

// Run implements tea.ExecCommand.
func (r *attachRun) Run() error {
	floor := time.NewTimer(execFloor)
	defer func() { <-floor.C }()
	for _, k := range decode(r.keys.take()) {
		r.opts.Input = append(r.opts.Input, keyBytes(k)...)
	}
	var err error
	r.res, err = r.session.Run(r.ctx, r.opts)
	return err
}

// SetStdin implements tea.ExecCommand; the terminal is known already.
func (*attachRun) SetStdin(io.Reader) {}

// SetStdout implements tea.ExecCommand.
func (*attachRun) SetStdout(io.Writer) {}

// SetStderr implements tea.ExecCommand.
func (*attachRun) SetStderr(io.Writer) {}

// detachedMsg says that the terminal is ours again.
type detachedMsg struct {
	gen int
	res attach.Result
	err error
}

func (a *App) detached(msg detachedMsg) tea.Cmd {
	at := a.attach
	if at == nil || at.gen != msg.gen {
		return nil
	}
	a.attach = nil
	a.watching()
	a.detail.gotAt = time.Time{} // sessions came or went
	if a.find(at.id) != nil {
		a.list.Select(at.id)
	}
	switch {
	case msg.err != nil:
		a.fail("attach "+at.name, cli("attach", at.name), msg.err)
	case msg.res.How == attach.Lost:
		a.fail("attach", cli("attach", at.name), errorLine(msg.res.Line(at.name)))
	default:
		a.notice.say(a.now, msg.res.Line(at.name))
	}
	if msg.res.How == attach.Detached {
		a.left = departure{id: at.id, at: msg.res.At}
	}
	// What was typed behind the detach key was meant for the list.
	return a.replay(append(msg.res.Rest, at.typed...))
}

// errorLine is a sentence as an error.
type errorLine string

func (e errorLine) Error() string { return string(e) }

// replay acts on keys that were read by somebody else.
func (a *App) replay(b []byte) tea.Cmd {
	var cmds []tea.Cmd
	for _, k := range decode(b) {
		cmds = append(cmds, a.key(k))
	}
	return tea.Batch(cmds...)
}

// decode finds the key presses in what a terminal typed.
func decode(b []byte) []tea.KeyPressMsg {
	var keys []tea.KeyPressMsg
	var dec uv.EventDecoder
	for len(b) > 0 {
		n, ev := dec.Decode(b)
		if n <= 0 {
			break
		}
		b = b[n:]
		if k, ok := ev.(uv.KeyPressEvent); ok {
			keys = append(keys, tea.KeyPressMsg(k))
		}
	}
	return keys
}

// returnTo handles a detach key in the list: the second of a quick pair goes
// back to the session and is typed there.
func (a *App) returnTo() tea.Cmd {
	box := a.find(a.left.id)
	if box == nil || a.now.Sub(a.left.at) > returnWithin {
		return nil
	}
	a.left = departure{}
	act, ok := a.actions.Find(actAttach)
	if c := (scope{app: a, box: box}); ok && act.Reason(c) == "" {
		return a.join(box, []byte{detachRaw})
	}
	return nil
}
