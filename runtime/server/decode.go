package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"cove/runtime/api"
)

// bodyTimeout is how long a request's body may take.
const bodyTimeout = 30 * time.Second

// decodeBody reads the JSON body of r into v. An empty body leaves v as it is.
// What is in the body is told in no error, since it may be secret: only the
// names of fields are.
func decodeBody(w http.ResponseWriter, r *http.Request, v any) error {
	rc := http.NewResponseController(w)
	if err := rc.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return fmt.Errorf("limit the time of the body: %w", err)
	}
	stop := context.AfterFunc(r.Context(), func() { _ = rc.SetReadDeadline(time.Unix(1, 0)) })
	err := decodeJSON(http.MaxBytesReader(w, r.Body, api.MaxBody), v)
	if !stop() {
		return context.Cause(r.Context())
	}
	// Without a limit again: while the request is worked on, the server reads
	// on to see whether the client is still there.
	if derr := rc.SetReadDeadline(time.Time{}); derr != nil && err == nil {
		return fmt.Errorf("end the limit of the body: %w", derr)
	}
	return err
}

// decodeJSON reads one JSON value and nothing after it.
func decodeJSON(body io.Reader, v any) error {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	if err != nil {
		return badBody(err)
	}
	if _, err := dec.Token(); err == nil || !errors.Is(err, io.EOF) {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return badBody(err)
		}
		return invalid("the body goes on after its JSON value")
	}
	return nil
}

func badBody(err error) *api.Error {
	var tooLarge *http.MaxBytesError
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &tooLarge):
		return invalid("the body is larger than %d bytes", tooLarge.Limit)
	case errors.As(err, &syntax):
		return invalid("the body is not valid JSON, at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		if kind.Field == "" {
			return invalid("the body must be a JSON object")
		}
		return invalid("field %q has the wrong type of value: it takes %s", kind.Field, jsonKind(kind))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return invalid("the body ends in the middle of its JSON value")
	}
	// The decoder has no type for this one.
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return invalid("unknown field %s", clip(field))
	}
	return invalid("the body cannot be read: %s", clip(err.Error()))
}

// jsonKind is what a field takes, in JSON's words.
func jsonKind(e *json.UnmarshalTypeError) string {
	switch t := e.Type.Kind().String(); t {
	case "string":
		return "a string"
	case "bool":
		return "true or false"
	case "slice", "array":
		return "a list"
	case "map", "struct":
		return "an object"
	default:
		if strings.HasPrefix(t, "float") {
			return "a number"
		}
		return "a whole number that fits"
	}
}

// clip shortens what a caller sent for use in a message to that caller.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// query reads the query of r and refuses what is not in known.
func query(r *http.Request, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("the query cannot be read")
	}
	for k := range q {
		if !slices.Contains(known, k) {
			return nil, invalid("unknown query parameter %q", clip(k))
		}
	}
	return q, nil
}

// flag reads a yes or no of a query.
func flag(q url.Values, name string, byDefault bool) (bool, error) {
	if !q.Has(name) {
		return byDefault, nil
	}
	switch v := q[name]; {
	case len(v) == 1 && (v[0] == "1" || v[0] == "true"):
		return true, nil
	case len(v) == 1 && (v[0] == "0" || v[0] == "false"):
		return false, nil
	}
	return false, invalid("query parameter %q takes 1 or 0, once", name)
}
