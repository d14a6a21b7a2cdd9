package api

import (
	"context"
	"net/url"
	"time"
)

// PingInterval is how often the daemon says on a stream of events that it is
// there when nothing else is to be said.
const PingInterval = 5 * time.Second

// silence is how long a stream may say nothing before the daemon counts as
// gone: it may miss one ping and be late for the next.
const silence = 2*PingInterval + PingInterval/2

// Events is a stream of events, pings among them. Its owner reads it in one
// goroutine and closes it. A client goes on from the last cursor it saw: that
// of any event but a ping.
type Events struct{ *lines[Event] }

// Events opens the stream of events after since, or, when since is nil or no
// longer known to the daemon, a snapshot and the events after it. With goOn it
// goes on until ctx ends or Close is called; without, it ends after what is
// known now. Codes: invalid, unavailable. Stable.
func (c *Client) Events(ctx context.Context, since *Cursor, goOn bool) (*Events, error) {
	q := url.Values{"follow": {"0"}}
	if goOn {
		q.Set("follow", "1")
	}
	if since != nil {
		q.Set("since", since.String())
	}
	l, err := follow[Event](ctx, c, "/events", q, goOn)
	if err != nil {
		return nil, err
	}
	return &Events{l}, nil
}
