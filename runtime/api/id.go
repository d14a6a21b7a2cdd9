package api

import (
	"crypto/rand"
	"encoding/hex"
)

// NewID makes up the id of a sandbox, for [CreateRequest.ID].
func NewID() string {
	var raw [6]byte
	_, _ = rand.Read(raw[:]) // it never fails: it stops the program instead
	return hex.EncodeToString(raw[:])
}
