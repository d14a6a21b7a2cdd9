package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/archive"
	"cove/runtime/cow"
	"cove/runtime/guest"
	"cove/runtime/image"
	"cove/runtime/sandbox"
)

// statusError is an error whose HTTP status is not that of its code.
type statusError struct {
	err    *api.Error
	status int
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

func invalid(format string, a ...any) *api.Error {
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf(format, a...)}
}

// wireError is err as the client gets it, and its HTTP status.
func wireError(err error) (*api.Error, int) {
	var se *statusError
	if errors.As(err, &se) {
		return se.err, se.status
	}
	e := apiError(err)
	return e, e.Status()
}

func apiError(err error) *api.Error {
	var e *api.Error
	var bad *sandbox.InvalidError
	var conflict *sandbox.ConflictError
	var setup *sandbox.SetupError
	var refused *guest.RequestError
	var dir *sandbox.MountError
	var limit *sandbox.LimitError
	var device *sandbox.GPUError
	var img *sandbox.ImageError
	var build *sandbox.BuildError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, sandbox.ErrNotFound):
		// The same words for one that is not there and one that is
		// somebody else's.
		return &api.Error{Code: api.CodeNotFound, Message: sandbox.ErrNotFound.Error()}
	case errors.Is(err, archive.ErrDamaged), errors.Is(err, archive.ErrHostile), errors.Is(err, archive.ErrTooLarge), errors.Is(err, archive.ErrVersion):
		return &api.Error{Code: api.CodeArchive, Message: err.Error()}
	case errors.Is(err, sandbox.ErrNoSnapshot):
		return &api.Error{Code: api.CodeNotFound, Message: sandbox.ErrNoSnapshot.Error()}
	case errors.Is(err, sandbox.ErrNoVolume):
		return &api.Error{Code: api.CodeNotFound, Message: sandbox.ErrNoVolume.Error()}
	case errors.Is(err, sandbox.ErrExists):
		return &api.Error{Code: api.CodeExists, Message: sandbox.ErrExists.Error()}
	case errors.As(err, &bad):
		return specError(bad)
	case errors.As(err, &build):
		return &api.Error{Code: api.CodeBuild, Message: build.Error(), Hint: fmt.Sprintf("all it printed: cove logs %s; to go on from there: cove rebuild %s; to give it up: cove rm %s", build.Name, build.Name, build.Name)}
	case errors.As(err, &img):
		return imageError(img)
	case errors.As(err, &conflict):
		return &api.Error{Code: api.CodeConflict, Message: conflict.Error(), Op: conflict.Op, State: conflict.State}
	case errors.As(err, &dir):
		return &api.Error{Code: api.CodeConflict, Message: dir.Message, Hint: dir.Hint}
	case errors.As(err, &limit):
		return &api.Error{Code: api.CodeConflict, Message: limit.Error(), Hint: limit.Hint}
	case errors.As(err, &device):
		return &api.Error{Code: api.CodeConflict, Message: device.Message, Hint: device.Hint}
	case errors.As(err, &setup):
		return &api.Error{
			Code: api.CodeSetup, Message: setup.Error(),
			Hint: fmt.Sprintf("all it printed: cove logs %s; to mend it inside: cove start --skip-setup %s; to go on from there: cove restart %s", setup.Name, setup.Name, setup.Name),
		}
	case errors.Is(err, cow.ErrHidden):
		return &api.Error{Code: api.CodeConflict, Message: err.Error()}
	case errors.Is(err, cow.ErrTooMany):
		return &api.Error{Code: api.CodeExhausted, Message: err.Error()}
	case errors.Is(err, sandbox.ErrCanceled):
		return &api.Error{Code: api.CodeCanceled, Message: err.Error()}
	case errors.Is(err, sandbox.ErrNoSpace), errors.Is(err, sandbox.ErrTooMany):
		return &api.Error{Code: api.CodeExhausted, Message: err.Error()}
	case errors.Is(err, sandbox.ErrUnsupported):
		return &api.Error{Code: api.CodeUnsupported, Message: err.Error()}
	case errors.Is(err, guest.ErrInvalid):
		return &api.Error{Code: api.CodeInvalid, Message: err.Error()}
	case errors.Is(err, sandbox.ErrUnavailable), errors.Is(err, guest.ErrUnavailable), errors.Is(err, guest.ErrVersion),
		errors.Is(err, guest.ErrProtocol), errors.As(err, &refused), errors.Is(err, errShutdown),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &api.Error{Code: api.CodeUnavailable, Message: err.Error()}
	}
	return &api.Error{Code: api.CodeInternal, Message: err.Error()}
}

// imageError is an image that cannot be had.
func imageError(err *sandbox.ImageError) *api.Error {
	e := &api.Error{Code: api.CodeImage, Message: err.Error(), Hint: err.Hint}
	switch {
	case errors.Is(err, image.ErrReference):
		e.Code = api.CodeInvalid
	case errors.Is(err, image.ErrNotFound):
		e.Code = api.CodeNotFound
	}
	return e
}

// specError tells the first problem in the message and all of them beside it.
func specError(bad *sandbox.InvalidError) *api.Error {
	e := &api.Error{Code: api.CodeInvalid, Message: "invalid request", Problems: bad.Problems}
	if bad.Unsupported {
		e.Code = api.CodeUnsupported
	}
	if len(bad.Problems) == 0 {
		return e
	}
	first := bad.Problems[0]
	e.Message = config.Problem{File: first.File, Line: first.Line, Column: first.Column, Key: first.Key, Message: first.Message}.String()
	e.Hint = first.Hint
	if n := len(bad.Problems) - 1; n > 0 {
		e.Message += fmt.Sprintf(" (and %d more)", n)
	}
	return e
}

// encodeError is the body of an error's answer.
func encodeError(e *api.Error) []byte {
	b, err := json.Marshal(e)
	if err != nil {
		// Only strings and numbers: it cannot fail.
		b = []byte(`{"code":"internal","message":"the error could not be encoded"}`)
	}
	return append(b, '\n')
}

// tooMany is the whole HTTP answer to a caller with too many connections.
func tooMany(most int) []byte {
	body := encodeError(&api.Error{
		Code: api.CodeUnavailable, Message: fmt.Sprintf("you have %d connections to the daemon, and may have no more", most),
		Hint: "close some: each attach, exec and event stream is one",
	})
	head := "HTTP/1.1 503 " + http.StatusText(http.StatusServiceUnavailable) + "\r\nContent-Type: application/json\r\nConnection: close\r\n" +
		"Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	return append([]byte(head), body...)
}
