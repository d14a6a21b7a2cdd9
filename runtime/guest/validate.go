package guest

import (
	"errors"
	"fmt"
	"strings"

	"cove/runtime/frame"
)

// ErrInvalid is wrapped by the error of a [Request] that breaks the
// protocol's rules: the caller's fault, not the guest's.
var ErrInvalid = errors.New("invalid request")

// Validate checks r against the limits of the protocol. Both ends call it: the
// daemon before sending, PID 1 after receiving. Its error wraps [ErrInvalid].
func (r *Request) Validate() error {
	if err := r.validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

func (r *Request) validate() error {
	switch r.Kind {
	case Ping, Sessions, Logs:
	case Configure, Exec, Attach:
		if err := r.validateProgram(); err != nil {
			return err
		}
	case Code:
		if err := errors.Join(r.validateProgram(), r.Code.validate()); err != nil {
			return err
		}
	case Files:
		if err := errors.Join(r.validateProgram(), r.Files.validate()); err != nil {
			return err
		}
	case Shutdown:
	default:
		return fmt.Errorf("unknown kind %q", r.Kind)
	}
	if r.Timeout < 0 {
		return errors.New("negative timeout")
	}
	return nil
}

func (c *CodeRequest) validate() error {
	switch {
	case c == nil:
		return errors.New("no source")
	case len(c.Source) > MaxSource:
		return fmt.Errorf("the source is %d bytes, more than %d: copy it into the sandbox and run it there", len(c.Source), MaxSource)
	case c.Name == "" || len(c.Name) > 255 || c.Name == "." || c.Name == ".." || strings.ContainsAny(c.Name, "/\x00"):
		return fmt.Errorf("%q is no name of a file", c.Name)
	case len(c.Ways) == 0 || len(c.Ways) > 16:
		return fmt.Errorf("%d ways to run it", len(c.Ways))
	case len(c.Missing) > maxText:
		return errors.New("too many words")
	}
	for _, w := range c.Ways {
		if w.Needs == "" || strings.ContainsAny(w.Needs, "/\x00") || len(w.Argv) == 0 || strings.Contains(strings.Join(w.Argv, ""), "\x00") {
			return errors.New("a way to run it is none")
		}
	}
	return nil
}

func (f *FilesRequest) validate() error {
	switch {
	case f == nil:
		return errors.New("no files")
	case f.Op != Get && f.Op != Put && f.Op != Extract:
		return fmt.Errorf("unknown operation %q on files", f.Op)
	case len(f.Path) > 4095 || strings.IndexByte(f.Path, 0) >= 0:
		return fmt.Errorf("the path of %d bytes cannot be one", len(f.Path))
	case len(f.Name) > 255 || strings.ContainsAny(f.Name, "/\x00") || f.Name == "..":
		return fmt.Errorf("%q is no name of a file", f.Name)
	case f.Op == Get && f.Name == "":
		return errors.New("what is copied needs a name")
	}
	return nil
}

func (r *Request) validateProgram() error {
	if r.Kind == Exec && (len(r.Argv) == 0 || r.Argv[0] == "") {
		return errors.New("no command")
	}
	if len(r.Argv) > MaxArgs || len(r.Shell) > MaxArgs {
		return fmt.Errorf("more than %d arguments", MaxArgs)
	}
	for _, a := range append(append([]string(nil), r.Argv...), r.Shell...) {
		if strings.IndexByte(a, 0) >= 0 {
			return errors.New("an argument holds a zero byte")
		}
	}
	if len(r.Env) > MaxEnv {
		return fmt.Errorf("more than %d environment variables", MaxEnv)
	}
	for k, v := range r.Env {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.IndexByte(v, 0) >= 0 {
			return fmt.Errorf("bad environment variable %q", k)
		}
	}
	if r.Dir != "" && (r.Dir[0] != '/' || len(r.Dir) > 4095 || strings.IndexByte(r.Dir, 0) >= 0) {
		return fmt.Errorf("the working directory %q is not an absolute path", r.Dir)
	}
	for what, s := range map[string]string{"host name": r.Hostname, "former host name": r.Formerly, "user": r.User, "terminal type": r.Term} {
		if len(s) > MaxName || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return fmt.Errorf("bad %s %q", what, s)
		}
	}
	if len(r.Missing) > maxText || strings.ContainsFunc(r.Missing, func(c rune) bool { return c < ' ' || 0x7f <= c && c <= 0x9f }) {
		return errors.New("what to tell of a missing program is not one line")
	}
	if r.Session != "" && !ValidSession(r.Session) {
		return fmt.Errorf("bad session name %q", r.Session)
	}
	if r.Cols < 0 || r.Cols > MaxCols || r.Rows < 0 || r.Rows > MaxCols {
		return fmt.Errorf("bad terminal size %dx%d", r.Cols, r.Rows)
	}
	return nil
}

// ValidSession tells whether name can name a session: 1 to [MaxName] letters,
// digits, '.', '_' and '-'.
func ValidSession(name string) bool {
	if name == "" || len(name) > MaxName {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// Limits of what is kept of a guest's strings.
const (
	maxText    = 1 << 10 // bytes of an error
	maxCommand = 256     // bytes of one argument shown in a list
	maxShown   = 64      // arguments shown in a list
)

// clean makes a string of the guest's fit for a person's terminal and for
// logs: no control characters, valid UTF-8, at most limit bytes.
func clean(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.Map(func(c rune) rune {
		// C0, DEL, C1, and the marks that reorder text (CVE-2021-42574).
		if c < ' ' || 0x7f <= c && c <= 0x9f || 0x202a <= c && c <= 0x202e || 0x2066 <= c && c <= 0x2069 {
			return '?'
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
}

// cleanExit keeps of an exit status what the guest can know and bounds it.
func cleanExit(e frame.ExitStatus) frame.ExitStatus {
	out := frame.ExitStatus{Code: e.Code & 0xff, Error: clean(e.Error, maxText)}
	if e.Signal > 0 && e.Signal <= 64 {
		out.Signal = e.Signal
	}
	// The other reasons are the host's to give.
	if e.Reason == frame.ReasonTimeout {
		out.Reason = e.Reason
	}
	return out
}

func cleanStarted(s frame.StartedInfo) frame.StartedInfo {
	if !ValidSession(s.Session) {
		s.Session = ""
	}
	s.Pid = max(s.Pid, 0)
	return s
}

func cleanSessions(in []SessionInfo) []SessionInfo {
	var out []SessionInfo
	for _, s := range in {
		if len(out) == MaxSessions {
			break
		}
		if !ValidSession(s.Name) {
			continue
		}
		c := SessionInfo{
			Name: s.Name, Cols: min(max(s.Cols, 0), MaxCols), Rows: min(max(s.Rows, 0), MaxCols),
			Clients: max(s.Clients, 0), Created: s.Created, Activity: s.Activity, Idle: s.Idle,
		}
		for _, a := range s.Command[:min(len(s.Command), maxShown)] {
			c.Command = append(c.Command, clean(a, maxCommand))
		}
		out = append(out, c)
	}
	return out
}
