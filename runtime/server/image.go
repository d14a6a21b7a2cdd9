package server

import (
	"context"
	"io"
	"net/http"
	"time"

	"cove/runtime/api"
	"cove/runtime/image"
	"cove/runtime/sandbox"
)

// authOf is what a caller sent for a registry.
func authOf(a *api.RegistryAuth) *image.Auth {
	if a == nil {
		return nil
	}
	return &image.Auth{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
}

func toImage(i sandbox.ImageInfo) api.Image {
	return api.Image{
		ID: i.ID, Ref: i.Ref, Digest: i.Digest, Platform: i.Platform, Owner: i.Owner, Size: i.Size, Layers: len(i.Layers),
		Created: i.Created, Pulled: i.Pulled, Used: i.Used, Config: i.Config,
	}
}

func toImages(list []sandbox.ImageInfo) []api.Image {
	out := make([]api.Image, 0, len(list))
	for _, i := range list {
		out = append(out, toImage(i))
	}
	return out
}

func (q *request) images() error {
	if _, err := query(q.r); err != nil {
		return err
	}
	list, err := q.s.opt.Manager.Images(q.r.Context(), q.caller)
	if err != nil {
		return err
	}
	return q.reply(http.StatusOK, toImages(list))
}

func (q *request) removeImage() error {
	var in api.ImageRequest
	if err := q.body(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.RemoveImage(q.r.Context(), q.caller, in.Ref)
	if err != nil {
		return err
	}
	return q.reply(http.StatusOK, toImage(i))
}

func (q *request) pruneImages() error {
	list, freed, err := q.s.opt.Manager.PruneImages(q.r.Context(), q.caller)
	if err != nil {
		return err
	}
	return q.reply(http.StatusOK, api.PruneReport{Images: toImages(list), Freed: freed})
}

// pullImage answers with progress, one a line, so that what goes wrong after the
// beginning is in the last of them.
func (q *request) pullImage() error {
	var in api.PullRequest
	if err := q.body(&in); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(q.r.Context())
	defer cancel()
	stop := context.AfterFunc(q.s.under.streams, cancel)
	defer stop()
	return q.progress(ctx, func(tell func(api.Progress)) (api.Progress, error) {
		i, err := q.s.opt.Manager.PullImage(ctx, q.caller, image.Request{Ref: in.Ref, Platform: in.Platform, Auth: authOf(in.Auth)}, func(p image.Progress) {
			tell(api.Progress{Text: sandbox.PullText(p), Done: p.Done, Total: p.Total})
		})
		if err != nil {
			return api.Progress{}, err
		}
		img := toImage(i)
		return api.Progress{Image: &img}, nil
	})
}

// progress answers with what work tells, one a line, and what it comes to. Before
// it has told anything an error is the answer.
func (q *request) progress(ctx context.Context, work func(tell func(api.Progress)) (api.Progress, error)) error {
	lines := make(chan api.Progress, 1)
	var last api.Progress
	var err error
	go func() {
		defer close(lines)
		last, err = work(func(p api.Progress) {
			// The newest is what counts: who reads slowly sees fewer.
			for {
				select {
				case lines <- p:
					return
				case <-ctx.Done():
					return
				default:
				}
				select {
				case <-lines:
				default:
				}
			}
		})
	}()
	begun := false
	var now api.Progress
	ping := time.NewTicker(api.PingInterval)
	defer ping.Stop()
	for more := true; more; {
		select {
		case p, ok := <-lines:
			if more = ok; !ok {
				continue
			}
			now = p
		case <-ping.C: // so that it can be told from a daemon that hangs
		}
		if !begun {
			q.startLines()
			begun = true
		}
		if q.failure == nil {
			q.failure = q.send(now)
		}
	}
	if err != nil && !begun {
		return err
	}
	if !begun {
		q.startLines()
	}
	if err != nil {
		e, _ := wireError(err)
		last = api.Progress{Error: e}
	}
	if q.failure == nil {
		q.failure = q.send(last)
	}
	return nil
}

// importImage takes the tar that comes as the stream's stdin, and tells what it
// makes of it on its stdout: Progress, the last of which has the image or an error.
func (q *request) importImage() error {
	var in api.ImportRequest
	if err := q.streamBody(&in); err != nil {
		return err
	}
	return q.upload(func(ctx context.Context, tar io.Reader, _ io.Writer) (api.Progress, error) {
		i, err := q.s.opt.Manager.ImportImage(ctx, q.caller, image.ImportRequest{Tar: tar, Ref: in.Ref, Tag: in.Tag})
		if err != nil {
			return api.Progress{}, err
		}
		img := toImage(i)
		return api.Progress{Image: &img}, nil
	})
}

// exportImage sends the tar of a layout as the stdout of a stream.
func (q *request) exportImage() error {
	var in api.ExportRequest
	if err := q.streamBody(&in); err != nil {
		return err
	}
	return q.download(func(ctx context.Context, out io.Writer) error {
		return q.s.opt.Manager.ExportImage(ctx, q.caller, in.Ref, out)
	})
}
