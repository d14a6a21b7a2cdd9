//go:build vmtest

package main

import "testing"

// TestGuestReserve: the freezer of version 2 holds who writes, too.
func TestGuestReserve(t *testing.T) {
	inGuest(t)
	testReserve(t, 200, "0")
}
