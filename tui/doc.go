// Package tui is cove's terminal interface: the list of sandboxes with their
// live states, and what can be done with them.
//
// There is one Bubble Tea model, [App]. What it consists of (table, dialogs,
// notices) are plain structs that it calls; only App sees messages. Update and
// View do no IO, take no lock that IO can hold and know the time only from a
// clock that tests can set: IO happens in commands, which carry a context and a
// deadline. Events of the daemon go into the [Mirror], which keeps the latest
// of each sandbox and raises one signal however many there were.
//
// The daemon is reached through [Backend] and nothing else. Leaving the
// program touches no sandbox.
package tui
