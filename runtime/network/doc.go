// Package network gives each sandbox its namespaces and decides what it reaches.
//
// # Between a sandbox and the host lies a gate
//
// An instance has one network namespace besides the host's and the sandboxes':
// the gate. Each connected sandbox has a veth whose other end is in the gate,
// and one veth joins the gate to the host:
//
//	sandbox eth0 ---- cv<inst>-1 |      |
//	sandbox eth0 ---- cv<inst>-2 | gate | host0 ---- cv<inst>-0 in the host's namespace
//
// The gate forwards, translates addresses and holds the rules (gatetable.go).
// It belongs to a process that does nothing (cove-init hold-network), so that
// running sandboxes keep their network, rules and all, when the daemon is
// killed. Why not simply end the veths in the host's namespace:
//
//   - A reload of the host's firewall ("nft flush ruleset" is how most begin)
//     does not reach into the gate: what forbids is still there, daemon or no
//     daemon, and there is no moment in which it is not.
//   - A firewall of the host's that drops what it forwards (Docker's, ufw's) meets
//     one interface and one source address, whatever sandboxes there are.
//   - The sandboxes' addresses are seen by nobody else: they need not be
//     leased, and cannot be confused with the host's routes.
//   - A sandbox that fills the table of connections fills the gate's.
//
// # The door
//
// What the gate lets out the host must still forward, and must not take for
// itself. The gate sends every frame to a hardware address that the host's end
// does not have, so that the host's kernel throws it away as not its own
// (PACKET_OTHERHOST, before any routing), unless a rule of ours in the host's
// own table says otherwise ("meta pkttype set host" at ingress; nft(8)). So where
// the host's rules are flushed nothing from any sandbox enters the host's
// stack, for IPv4 and IPv6, whether a daemon is there to see it or not. The
// daemon that is there puts the rules back at once.
//
// block_all needs none of this: such a sandbox has a loopback and no veth.
package network
