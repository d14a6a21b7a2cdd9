package server

import (
	"context"
	"encoding/json"
	"io"

	"cove/runtime/api"
	"cove/runtime/frame"
	"cove/runtime/sandbox"
)

// export sends an archive as the stdout of a stream. Before anything of it is there
// an error is the answer.
func (q *request) export() error {
	if err := q.streamBody(&struct{}{}); err != nil {
		return err
	}
	if _, err := q.s.opt.Manager.Get(q.caller, q.ref); err != nil {
		return err
	}
	return q.download(func(ctx context.Context, out io.Writer) error {
		return q.s.opt.Manager.Export(ctx, q.caller, q.ref, out)
	})
}

// download makes the connection a stream whose stdout is what work writes; where work
// fails its stderr is the error, as a line of JSON, and the exit status 1.
func (q *request) download(work func(ctx context.Context, out io.Writer) error) error {
	to, ctx, end, err := q.openStream(frame.Stdout)
	if err != nil {
		return q.notOpened(err)
	}
	defer end()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, to.client) // it sends nothing: this is its end
		end()
	}()
	var says []byte
	status := frame.ExitStatus{}
	if err := work(ctx, to); err != nil {
		e, _ := wireError(err)
		says, status.Code = encodeError(e), 1
	}
	exit, err := json.Marshal(status)
	if err != nil {
		return err
	}
	var out []byte
	if len(says) > 0 {
		out = frame.Append(out, frame.Stderr, says)
	}
	q.failure = to.send(frame.Append(out, frame.Exit, exit))
	end()
	<-gone
	return nil
}

func (q *request) importSandbox() error {
	var in api.MoveRequest
	if err := q.streamBody(&in); err != nil {
		return err
	}
	return q.upload(func(ctx context.Context, from io.Reader, _ io.Writer) (api.Progress, error) {
		i, left, err := q.s.opt.Manager.Import(ctx, q.caller, in.Name, from)
		return movedProgress(i, left, err)
	})
}

func movedProgress(i sandbox.Info, left []string, err error) (api.Progress, error) {
	if err != nil {
		return api.Progress{}, err
	}
	made := toSandbox(i)
	return api.Progress{Sandbox: &made, Left: left}, nil
}
