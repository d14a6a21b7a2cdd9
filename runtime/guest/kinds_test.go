package guest

import (
	"errors"
	"net"
	"strings"
	"testing"

	"cove/runtime/frame"
)

// TestOlderGuest has a PID 1 of before copies, sources and logs: it is asked for
// none of them, and who asks is told what to do.
func TestOlderGuest(t *testing.T) {
	asked := make(chan Request, 8)
	c := fake(t, func(c net.Conn, r *frame.Reader) {
		say(c, frame.Hello, Hello{Version: 1, Ready: true, Boot: "b"})
		_, _, _ = r.Next() // a request of version 2, which it refuses
		say(c, frame.Reply, Reply{Error: "unknown version 2 of the protocol"})
		if t, p, err := r.Next(); err == nil && t == frame.Request {
			asked <- Request{Hostname: string(p)}
		}
	})
	for _, r := range []Request{
		{Kind: Files, Files: &FilesRequest{Op: Get, Path: "x", Name: "x"}},
		{Kind: Code, Code: &CodeRequest{Name: "x", Ways: []Way{{Needs: "sh", Argv: []string{"sh"}}}}},
		{Kind: Logs},
	} {
		_, err := c.Open(context10(t), r)
		if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "restart it") {
			t.Errorf("%s: %v", r.Kind, err)
		}
	}
	if len(asked) > 0 {
		t.Errorf("it was asked again: %+v", <-asked)
	}
}

func TestValidateFilesAndCode(t *testing.T) {
	way := []Way{{Needs: "sh", Argv: []string{"sh", "-e"}}}
	for name, r := range map[string]Request{
		"no files":              {Kind: Files},
		"no operation":          {Kind: Files, Files: &FilesRequest{Path: "/x", Name: "x"}},
		"a zero byte":           {Kind: Files, Files: &FilesRequest{Op: Put, Path: "/x\x00"}},
		"a long path":           {Kind: Files, Files: &FilesRequest{Op: Put, Path: strings.Repeat("x", 5000)}},
		"a name that is a path": {Kind: Files, Files: &FilesRequest{Op: Put, Path: "/x", Name: "a/b"}},
		"a name that leaves":    {Kind: Files, Files: &FilesRequest{Op: Put, Path: "/x", Name: ".."}},
		"nothing to call it":    {Kind: Files, Files: &FilesRequest{Op: Get, Path: "/x"}},
		"a bad user":            {Kind: Files, User: "a b", Files: &FilesRequest{Op: Put, Path: "/x"}},
		"no source":             {Kind: Code},
		"no name":               {Kind: Code, Code: &CodeRequest{Ways: way}},
		"a source's path":       {Kind: Code, Code: &CodeRequest{Name: "a/b", Ways: way}},
		"a source that leaves":  {Kind: Code, Code: &CodeRequest{Name: "..", Ways: way}},
		"no way":                {Kind: Code, Code: &CodeRequest{Name: "x"}},
		"a way to a path":       {Kind: Code, Code: &CodeRequest{Name: "x", Ways: []Way{{Needs: "/bin/sh", Argv: []string{"sh"}}}}},
		"a way of nothing":      {Kind: Code, Code: &CodeRequest{Name: "x", Ways: []Way{{Needs: "sh"}}}},
		"a large source":        {Kind: Code, Code: &CodeRequest{Name: "x", Ways: way, Source: make([]byte, MaxSource+1)}},
		"a zero in an argument": {Kind: Code, Argv: []string{"\x00"}, Code: &CodeRequest{Name: "x", Ways: way}},
	} {
		if err := r.Validate(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, r := range []Request{
		{Kind: Logs, Follow: true},
		{Kind: Files, Files: &FilesRequest{Op: Put, Path: ""}},
		{Kind: Files, Files: &FilesRequest{Op: Get, Path: "~/x y", Name: "."}},
		{Kind: Code, Argv: []string{"-x", ""}, Code: &CodeRequest{Name: "-x.py", Ways: way, Source: make([]byte, MaxSource)}},
	} {
		if err := r.Validate(); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
}
