package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"cove/runtime/api"
)

func (a *app) eventsCommand() *cobra.Command {
	var follow, asJSON bool
	c := &cobra.Command{
		Use:   "events",
		Short: "Print the state of every sandbox, and with -f every change",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := a.client(cmd.Context()); err != nil {
				return err
			}
			show := a.eventLine
			if asJSON {
				show = a.eventJSON
			}
			return a.follow(cmd.Context(), follow, show)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, one event a line")
	return c
}

// follow shows events until there are no more, or for ever. It outlives the
// daemon: it waits for the next one, without starting it, and goes on behind
// the last event it saw.
func (a *app) follow(ctx context.Context, forever bool, show func(api.Event) error) error {
	var since *api.Cursor
	for {
		shown, err := a.showEvents(ctx, since, forever, show)
		if shown != nil {
			since = shown
		}
		var refused *api.Error
		switch {
		case err == nil && !forever, ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &refused) && refused.Code != api.CodeUnavailable:
			return explain(err, "")
		case !forever:
			return err
		}
		var output *outputError
		if errors.As(err, &output) {
			return err
		}
		if err := a.awaitSocket(ctx); err != nil {
			return err
		}
	}
}

// outputError is a failure to print.
type outputError struct{ error }

func (e *outputError) Unwrap() error { return e.error }

// showEvents shows one stream of events to its end and returns the cursor of
// the last one. The end of the stream is no error.
func (a *app) showEvents(ctx context.Context, since *api.Cursor, follow bool, show func(api.Event) error) (*api.Cursor, error) {
	stream, err := api.New(a.dirs.Socket()).Events(ctx, since, follow)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(stream)
	var last *api.Cursor
	for {
		ev, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return last, err
		}
		if ev.Type == api.EventPing {
			continue
		}
		if err := show(ev); err != nil {
			return last, &outputError{err}
		}
		at := ev.Cursor
		last = &at
	}
}

func (a *app) eventJSON(ev api.Event) error {
	line, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(append(escapeControls(line), '\n'))
	return err
}

// eventLine prints an event for a person: when, which sandbox, what became of
// it. Of a snapshot it prints every sandbox.
func (a *app) eventLine(ev api.Event) error {
	sandboxes := ev.Sandboxes
	if ev.Sandbox != nil {
		sandboxes = append(sandboxes, *ev.Sandbox)
	}
	for _, s := range sandboxes {
		word := stateWord(s)
		if ev.Type == api.EventRemoved {
			word = "removed"
		}
		switch {
		case s.Progress != "":
			word += fmt.Sprintf(" [%s: %s]", s.Op, s.Progress)
		case s.Op != "":
			word += fmt.Sprintf(" [%s]", s.Op)
		}
		if err := a.printf("%s  %s  %s\n", ev.Time.Local().Format(time.DateTime), oneLine(s.Name), oneLine(word)); err != nil {
			return err
		}
	}
	return nil
}
