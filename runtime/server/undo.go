package server

import (
	"net/http"

	"cove/runtime/api"
)

// deleted lists what the caller can bring back.
func (q *request) deleted() error {
	if _, err := query(q.r); err != nil {
		return err
	}
	list := q.s.opt.Manager.Deleted(q.caller)
	out := make([]api.Deleted, 0, len(list))
	for _, d := range list {
		out = append(out, api.Deleted(d))
	}
	return q.reply(http.StatusOK, out)
}

func (q *request) undo() error {
	var in api.UndoRequest
	if err := q.body(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.Undo(q.r.Context(), q.caller, in.Ref)
	return q.changed(http.StatusOK, i, err)
}
