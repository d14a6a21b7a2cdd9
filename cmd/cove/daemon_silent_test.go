package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"cove/config"
)

// TestSilentDaemon has a daemon that takes connections and says nothing: who asks
// for its status is told, and does not wait for ever.
func TestSilentDaemon(t *testing.T) {
	s := newStandIn(t)
	s.mux.HandleFunc("GET /v1/version", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	a := &app{dirs: config.Dirs{Run: s.run}}
	_, err := a.statusWithin(t.Context(), 100*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "takes connections, but does not answer within 100ms") {
		t.Errorf("got %v", err)
	}
}
