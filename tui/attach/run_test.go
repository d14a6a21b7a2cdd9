package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"cove/runtime/frame"
	"cove/tui/internal/require"
	"cove/tui/tuitest"
)

// With COVE_ATTACH_TEST set the test binary is what `cove attach` is: it joins
// an echoing shell and says afterwards how that ended.
const programEnv = "COVE_ATTACH_TEST"

func TestMain(m *testing.M) {
	if kind := os.Getenv(programEnv); kind != "" {
		os.Exit(program(kind))
	}
	os.Exit(m.Run())
}

func program(kind string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	o := Options{In: os.Stdin, Out: os.Stdout, Name: "box", Hold: HoldDefault}
	conn := tuitest.Shell("box", 1, 80, 24)
	switch kind {
	case "quick":
		o.Hold = 0
	case "typed":
		o.Input = []byte("ahead\r")
	case "deaf":
		conn = deaf()
	}
	s, err := Join(ctx, conn)
	if err != nil {
		fmt.Println("refused:", err)
		return 1
	}
	fmt.Println("before")
	res, err := s.Run(ctx, o)
	fmt.Printf("%s|rest=%q|err=%v\n", res.Line("box"), res.Rest, err)
	return 0
}

// deaf is a daemon that says that the session is there and then takes and
// tells nothing more.
func deaf() io.ReadWriteCloser {
	here, there := net.Pipe()
	go func() {
		b, _ := json.Marshal(frame.StartedInfo{})
		_, _ = there.Write(frame.Append(nil, frame.Started, b))
		_, _ = there.Write(frame.Append(nil, frame.Stdout, []byte("deaf$ ")))
	}()
	return here
}

func start(t *testing.T, kind string) *tuitest.Terminal {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	return tuitest.Start(t, tuitest.Config{Env: []string{programEnv + "=" + kind}}, exe)
}

// back checks that the terminal is as it was.
func back(t *testing.T, tt *tuitest.Terminal) {
	t.Helper()
	require.NoError(t, tt.Exit())
	s := tt.Screen()
	require.False(t, s.Alt, "the second screen is still shown")
	require.True(t, s.Cursor, "the cursor is still hidden")
	require.Empty(t, tt.Modes(1, 6, 9, 45, 66, 69, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1049, 2004, 2026, 2031, 2048))
	require.Equal(t, 0, tt.Keyboard())
	require.True(t, s.Has("before"), "what stood there is gone")
	_, y := s.Line("box")
	require.Equal(t, "", s.Style(0, y), "colours are left over")
}

func TestDetachInEveryEncoding(t *testing.T) {
	for name, enc := range encodings() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt := start(t, "hold")
			tt.See("box-1$")
			require.True(t, tt.Screen().Alt)
			require.Equal(t, "cove: box (ctrl+] detaches)", tt.Screen().Title)
			tt.Send("hello\r")
			tt.See("[hello]")
			tt.Send(enc)
			tt.See("detached from box")
			back(t, tt)
			require.False(t, tt.Screen().Has("hello"), "the session is in the person's scrollback")
		})
	}
}

func TestDirtyTerminalIsGivenBackClean(t *testing.T) {
	tt := start(t, "hold")
	tt.See("box-1$")
	tt.Send("dirty\r")
	tt.See("DIRTY")
	require.True(t, tt.Mode(1003))
	require.Equal(t, 5, tt.Keyboard())
	tt.Send("\x1d")
	tt.See("detached from box")
	back(t, tt)
	tt = start(t, "hold")
	tt.See("box-1$")
	tt.Send("dirty\r")
	tt.See("DIRTY")
	tt.Signal(syscall.SIGTERM)
	tt.See("left box")
	back(t, tt)
}

func TestSecondKeyWithinTheHoldPassesOn(t *testing.T) {
	tt := start(t, "hold")
	tt.See("box-1$")
	tt.Send("\x1d")
	tt.Send("\x1d")
	tt.See("^]")
	tt.Send("\x1d\x1d")
	tt.See("^]^]")
	tt.Send("more\r")
	tt.See("[more]")
	tt.Send("\x1d")
	tt.See("detached")
	back(t, tt)
}

func TestAnotherKeyEndsTheHold(t *testing.T) {
	tt := start(t, "hold")
	tt.See("box-1$")
	begin := time.Now()
	tt.Send("\x1djk")
	tt.See(`rest="jk"`)
	require.AtMost(t, time.Since(begin), HoldDefault)
	back(t, tt)
}

func TestWithoutHoldDetachIsAtOnce(t *testing.T) {
	tt := start(t, "quick")
	tt.See("box-1$")
	tt.Send("\x1d\x1d")
	tt.See("^]")
	begin := time.Now()
	tt.Send("ab\x1dcd")
	tt.See(`rest="cd"`)
	require.AtMost(t, time.Since(begin), HoldDefault)
	back(t, tt)
}

func TestExitAndLoss(t *testing.T) {
	for typed, line := range map[string]string{
		"exit 3\r": "box: the session ended with status 3",
		"exit\r":   "box: the session ended|",
		"cut\r":    "box: the connection is lost (the daemon closed it); what runs in it goes on, cove",
	} {
		tt := start(t, "hold")
		tt.See("box-1$")
		tt.Send(typed)
		tt.Wait(line, func(s tuitest.Screen) bool { return strings.Contains(strings.Join(s.Lines, ""), line) })
		back(t, tt)
	}
}

func TestWhyAStreamEnded(t *testing.T) {
	const closed = "the daemon closed it"
	for _, c := range []struct {
		err  error
		want string
	}{
		{io.EOF, closed},
		{fmt.Errorf("read a frame: %w", io.ErrUnexpectedEOF), closed},
		{&net.OpError{Op: "read", Net: "unix", Err: net.ErrClosed}, closed},
		{&net.OpError{Op: "read", Net: "unix", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, closed},
		{errors.New("a frame of 9 GiB"), "a frame of 9 GiB"},
	} {
		require.Equal(t, c.want, lost(c.err).Error())
	}
}

func TestResizeReachesTheSession(t *testing.T) {
	tt := start(t, "hold")
	tt.See("box-1$")
	tt.Send("size\r")
	tt.See("80x24")
	tt.Resize(100, 30)
	tt.See("now 100x30")
	tt.Send("\x1d")
	tt.See("detached")
	back(t, tt)
}

func TestFullScreenProgramLeavesTheShell(t *testing.T) {
	tt := start(t, "hold")
	tt.See("box-1$")
	tt.Send("first\r")
	tt.See("[first]")
	tt.Send("full\r")
	tt.See("FULL SCREEN")
	tt.Gone("[first]")
	require.True(t, tt.Mode(1049))
	tt.Send("q")
	s := tt.See("[first]")
	require.False(t, s.Has("FULL SCREEN"))
	require.True(t, tt.Mode(1049), "the session left its screen for the person's")
	tt.Send("\x1d")
	tt.See("detached")
	back(t, tt)
}

func TestTypedAheadComesFirst(t *testing.T) {
	tt := start(t, "typed")
	tt.See("[ahead]")
	tt.Send("\x1d")
	tt.See("detached")
	back(t, tt)
}

func TestDetachFromADaemonThatDoesNotRead(t *testing.T) {
	tt := start(t, "deaf")
	tt.See("deaf$")
	tt.Send(strings.Repeat("x", 3000))
	tt.Send("\x1b[93;5u")
	tt.See("detached from box")
	back(t, tt)
}

func TestEscapeKeyIsNotSwallowed(t *testing.T) {
	tt := start(t, "hold")
	tt.See("box-1$")
	tt.Send("\x1b")
	tt.See("^[")
	tt.Send("x\r")
	tt.See("[x]")
	tt.Send("\x1d")
	tt.See("detached")
	back(t, tt)
}

func TestJoinErrors(t *testing.T) {
	serve := func(write func(net.Conn)) io.ReadWriteCloser {
		here, there := net.Pipe()
		go func() {
			write(there)
			_ = there.Close()
		}()
		return here
	}
	exit := func(st frame.ExitStatus) func(net.Conn) {
		return func(c net.Conn) {
			b, _ := json.Marshal(st)
			_, _ = c.Write(frame.Append(nil, frame.Exit, b))
		}
	}
	_, err := Join(t.Context(), serve(func(net.Conn) {}))
	require.True(t, errors.Is(err, ErrEnded), "%v", err)
	_, err = Join(t.Context(), serve(exit(frame.ExitStatus{Code: 127, Error: "/bin/zsh: no such file"})))
	require.ErrorContains(t, err, "/bin/zsh: no such file")
	_, err = Join(t.Context(), serve(exit(frame.ExitStatus{Code: 1})))
	require.ErrorContains(t, err, "status 1")
	_, err = Join(t.Context(), serve(func(c net.Conn) { _, _ = c.Write(frame.Append(nil, frame.Stdout, []byte("x"))) }))
	require.ErrorContains(t, err, "before the session began")
	_, err = Join(t.Context(), serve(func(c net.Conn) { _, _ = c.Write(frame.Append(nil, frame.Started, []byte("{"))) }))
	require.ErrorContains(t, err, "the daemon's answer")

	here, there := net.Pipe() // and one that never answers
	defer func() { _ = there.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Join(ctx, here)
	require.True(t, errors.Is(err, context.Canceled), "%v", err)
}

func TestRunNeedsATerminal(t *testing.T) {
	s, err := Join(t.Context(), tuitest.Shell("box", 1, 80, 24))
	require.NoError(t, err)
	f, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	_, err = s.Run(t.Context(), Options{In: f, Out: f})
	require.True(t, errors.Is(err, ErrNotTerminal), "%v", err)
}
