package sandbox

import (
	"context"
	"errors"
	"os"
	"testing"
)

// An id that the caller chose names what it asked for, and nothing that was
// there before.
func TestChosenID(t *testing.T) {
	c := newCove(t)
	defer c.abandon()
	const id = "0123456789ab"
	create := func(id, name string) error {
		return c.do(func(ctx context.Context) error {
			i, err := c.m.Create(ctx, everybody, CreateRequest{ID: id, Name: name, Spec: testSpec()})
			if err == nil && i.ID != id {
				t.Errorf("the id is %s", i.ID)
			}
			return err
		})
	}
	var invalid *InvalidError
	for _, bad := range []string{"0123456789a", "0123456789abc", "0123456789AB", "../../../etc", "0123456789a/"} {
		if err := create(bad, "bad"); !errors.As(err, &invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := create(id, "a"); err != nil {
		t.Fatal(err)
	}
	if err := create(id, "b"); !errors.Is(err, ErrExists) {
		t.Errorf("twice: %v", err)
	}
	if err := c.operate("delete", "a"); err != nil {
		t.Fatal(err)
	}
	if err := c.m.trash.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(c.m.stateDir(id), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := create(id, "a"); !errors.Is(err, ErrExists) {
		t.Errorf("over what is left of another: %v", err)
	}
	if err := os.Remove(c.m.stateDir(id)); err != nil {
		t.Fatal(err)
	}
	if err := create(id, "a"); err != nil {
		t.Errorf("when nothing is left: %v", err)
	}
	if err := c.operate("delete", "a"); err != nil {
		t.Fatal(err)
	}
}
