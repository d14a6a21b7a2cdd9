// Package store keeps cove's files so that they survive a kill -9, a full disk
// and a power cut: atomic replacement, the journal of events, the record of an
// operation under way, names, locks on directories, and the leases by which
// the daemons of one machine share uid ranges.
//
// It knows nothing of sandboxes. All files it makes are 0600, all below
// directories of root's.
package store
