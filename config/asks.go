package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// What a project's own profile may do before its user has said that it is
// trusted: narrow what the user's default profile grants, and mount what lies
// in the project. Everything else has to be asked for.

// trustRule decides about some fields of a Spec. A test sees to it that each
// field is decided about once.
type trustRule struct {
	// fields are Go's names, "Resources.CPU", with those of what is in lists
	// and maps: "Mounts.Source".
	fields []string
	// judge adds what s asks for over granted. Nil: whatever the fields say
	// gives the sandbox nothing.
	judge func(a *asking, s, granted Spec)
}

// asking collects what a profile asks for.
type asking struct {
	project string // its directory
	// inherited is what the files that are no project's give, those that it
	// extends: programs and variables of theirs are no stranger's.
	inherited Spec
	problems  []Problem
}

// strange tells whether programs are neither those that are granted nor those
// inherited.
func (a *asking) strange(argv, granted, inherited []string) bool {
	return len(argv) > 0 && !slices.Equal(argv, granted) && !slices.Equal(argv, inherited)
}

// stepsBehind are the steps of setup behind those that are inherited.
func stepsBehind(setup, inherited []string) []string {
	if n := len(inherited); n <= len(setup) && slices.Equal(setup[:n], inherited) {
		return setup[n:]
	}
	return setup
}

func (a *asking) add(key, format string, args ...any) {
	a.problems = append(a.problems, Problem{Key: key, Message: fmt.Sprintf(format, args...)})
}

// beyond lists what s asks for that granted does not give, with the words that
// tell it to its user. inherited is what s extends that is no project's.
func beyond(s, granted, inherited Spec, project string) []Problem {
	a := &asking{project: project, inherited: inherited}
	for _, r := range trustRules() {
		if r.judge != nil {
			r.judge(a, s, granted)
		}
	}
	return a.problems
}

func trustRules() []trustRule {
	return []trustRule{
		// What is told first is what matters most.
		{[]string{"Mounts.Source", "Mounts.Target", "Mounts.Mode", "Mounts.Within"}, askMounts},
		{[]string{"Env.Value", "Env.From", "Env.Optional"}, askEnv},
		// Words, and where programs begin: no right goes with them. How long
		// the sandbox lasts is nobody's right either.
		{fields: []string{
			"Profile", "Description", "Language", "Workdir", "Labels",
			"Automation.AutoStop", "Automation.AutoPause", "Automation.StopTimeout", "Automation.PreStopTimeout",
			"Automation.AutoArchive", "Automation.AutoDelete", "Automation.TTL", "Automation.Activity",
		}},
		{[]string{"Image"}, func(a *asking, s, g Spec) {
			if s.Image != "host" && s.Image != g.Image {
				a.add("image", "runs another system than this machine's: %s", inFull(s.Image))
			}
		}},
		{[]string{"Runtime"}, func(a *asking, s, g Spec) {
			if s.Runtime != "" && s.Runtime != "runc" && s.Runtime != g.Runtime {
				a.add("runtime", "is run by %s", inFull(s.Runtime))
			}
		}},
		// Programs run with what the user gives the sandbox besides: keys by
		// --env, directories by --mount.
		{[]string{"Shell", "Command", "Install", "Setup", "Automation.PreStop"}, func(a *asking, s, g Spec) {
			in := a.inherited
			if a.strange(s.Shell, g.Shell, in.Shell) && !plainShell(s.Shell) {
				a.add("shell", "starts %s where you ask for a shell", words(s.Shell))
			}
			if a.strange(s.Command, g.Command, in.Command) {
				a.add("command", "starts %s where you attach", words(s.Command))
			}
			if s.Install != "" && s.Install != g.Install && s.Install != in.Install {
				// It is shown as what to type.
				a.add("install", "has you install a program by %s", inFull(s.Install))
			}
			if a.strange(s.Setup, g.Setup, in.Setup) {
				a.add("setup", "runs %s when it is made", count(len(stepsBehind(s.Setup, in.Setup)), "command"))
			}
			if p := s.Automation.PreStop; a.strange(p, g.Automation.PreStop, in.Automation.PreStop) {
				a.add("automation.pre_stop", "runs %s when it stops", words(p))
			}
		}},
		{[]string{"User", "NoNewPrivileges"}, func(a *asking, s, g Spec) {
			if s.User != g.User {
				a.add("user", "runs programs as %s", inFull(s.User))
			}
			if !s.NoNewPrivileges && g.NoNewPrivileges {
				a.add("no_new_privileges", "lets programs gain privileges inside (sudo)")
			}
		}},
		{[]string{"Git.Identity", "Git.Name", "Git.Email"}, func(a *asking, s, g Spec) {
			if s.Git.Identity && !g.Git.Identity {
				a.add("git.identity", "takes your name and address from your git configuration")
			}
			if s.Git.Name != g.Git.Name && s.Git.Name != "" || s.Git.Email != g.Git.Email && s.Git.Email != "" {
				a.add("git", "makes commits in the name of %s", inFull(s.Git.Name+" <"+s.Git.Email+">"))
			}
		}},
		{[]string{
			"Resources.CPU", "Resources.AllCPUs", "Resources.Memory", "Resources.Swap", "Resources.Disk", "Resources.DiskReserve", "Resources.Pids",
			"Resources.GPU.Count", "Resources.GPU.IDs", "Resources.GPUShared", "Resources.IORead", "Resources.IOWrite",
		}, func(a *asking, s, g Spec) { askResources(a, s.Resources, g.Resources) }},
		{[]string{
			"Network.BlockAll", "Network.Allow", "Network.Deny", "Network.Domains", "Network.LAN", "Network.HostPorts", "Network.Ask",
		}, func(a *asking, s, g Spec) { askNetwork(a, s.Network, g.Network) }},
		{[]string{"Ports.Port", "Ports.Public"}, func(a *asking, s, g Spec) {
			for i, p := range s.Ports {
				if !slices.Contains(g.Ports, p) {
					who := "you"
					if p.Public {
						who = "everybody"
					}
					a.add(indexKey("ports", i), "shows its port %d to %s", p.Port, who)
				}
			}
		}},
		{[]string{"Volumes.Name", "Volumes.Target", "Volumes.Subpath", "Volumes.Quota", "Volumes.ReadOnly"}, func(a *asking, s, g Spec) {
			for i, v := range s.Volumes {
				if !slices.Contains(g.Volumes, v) {
					a.add(indexKey("volumes", i), "uses your volume %s at %s", inFull(v.Name), inFull(v.Target))
				}
			}
		}},
	}
}

// plainShell tells whether it is one of the usual ones, without a script.
func plainShell(shell []string) bool {
	for _, arg := range shell[1:] {
		if arg != "-l" && arg != "-i" {
			return false
		}
	}
	dir, name := filepath.Split(shell[0])
	return (dir == "/bin/" || dir == "/usr/bin/") && slices.Contains([]string{"sh", "bash", "dash", "zsh", "fish", "ksh"}, name)
}

func words(argv []string) string { return inFull(strings.Join(argv, " ")) }

// inFull quotes a value however long it is: what is agreed to must not hide
// behind what a message has room for.
func inFull(s string) string { return strconv.QuoteToGraphic(s) }

func count(n int, what string) string {
	if n == 1 {
		return "one " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// askEnv: a variable may send the user's own programs elsewhere with the
// user's own keys (a base URL, a preloaded library).
func askEnv(a *asking, s, g Spec) {
	for _, name := range sortedKeys(s.Env) {
		v := s.Env[name]
		was, known := g.Env[name]
		inherited, ours := a.inherited.Env[name]
		switch {
		case known && was == v, ours && inherited == v && v.From == "":
		case v.From != "":
			a.add(joinKey("env", name), "takes %s from your environment", inFull(name))
		default:
			a.add(joinKey("env", name), "sets %s to %s", inFull(name), inFull(v.Value))
		}
	}
}

func askResources(a *asking, r, g Resources) {
	more := func(key string, want, has float64, text string) {
		// Zero is no limit, but for swap.
		if has == 0 && key != "resources.swap" || want == has || want < has && (want != 0 || key == "resources.swap") {
			return
		}
		if want == 0 {
			text = "as much as there is"
		}
		a.add(key, "may use %s", text)
	}
	more("resources.cpu", r.CPU, g.CPU, fmt.Sprintf("%v cores", r.CPU))
	if r.AllCPUs && !g.AllCPUs {
		a.add("resources.all_cpus", "runs on every processor")
	}
	more("resources.memory", float64(r.Memory), float64(g.Memory), r.Memory.String()+" of memory")
	more("resources.swap", float64(r.Swap), float64(g.Swap), r.Swap.String()+" of swap")
	more("resources.disk", float64(r.Disk), float64(g.Disk), r.Disk.String()+" of the disk")
	more("resources.pids", float64(r.Pids), float64(g.Pids), fmt.Sprintf("%d processes", r.Pids))
	more("resources.io_read", float64(r.IORead), float64(g.IORead), r.IORead.String()+" a second from the disk")
	more("resources.io_write", float64(r.IOWrite), float64(g.IOWrite), r.IOWrite.String()+" a second to the disk")
	if r.DiskReserve && !g.DiskReserve {
		a.add("resources.disk_reserve", "sets disk space aside")
	}
	if r.GPU.Count > g.GPU.Count {
		a.add("resources.gpu", "uses %s", count(r.GPU.Count, "GPU"))
	}
	for _, id := range r.GPU.IDs {
		if !slices.Contains(g.GPU.IDs, id) {
			a.add("resources.gpu", "uses the GPU %s", inFull(id))
		}
	}
	if r.GPUShared && !g.GPUShared {
		a.add("resources.gpu_shared", "shares a GPU")
	}
}

func askNetwork(a *asking, n, g Network) {
	if !n.BlockAll && g.BlockAll {
		a.add("network.block_all", "uses the network")
	}
	if n.BlockAll {
		return // nothing is reached, whatever else is said
	}
	if n.LAN && !g.LAN {
		a.add("network.lan", "reaches the local network")
	}
	for _, p := range n.HostPorts {
		if !slices.Contains(g.HostPorts, p) {
			a.add("network.host_ports", "reaches port %d of this machine", p)
		}
	}
	if !n.Ask && g.Ask {
		a.add("network.ask", "does not ask before it reaches something new")
	}
	for _, d := range g.Deny {
		if !slices.Contains(n.Deny, d) {
			a.add("network.deny", "may reach %s", inFull(d))
		}
	}
	// Any entry of these turns the rest off; without one all is open.
	listed := len(g.Allow)+len(g.Domains) > 0
	if listed && len(n.Allow)+len(n.Domains) == 0 {
		a.add("network.allow", "reaches all of the internet")
	}
	for i, c := range n.Allow {
		if !slices.Contains(g.Allow, c) && (listed || !public(c)) {
			a.add(indexKey("network.allow", i), "reaches %s", inFull(c))
		}
	}
	for i, d := range n.Domains {
		if listed && !slices.Contains(g.Domains, d) {
			a.add(indexKey("network.domains", i), "reaches %s", inFull(d))
		}
	}
}

// public tells whether what allows a CIDR lets nothing be reached that an open
// network would not reach: one of the internet's own addresses.
func public(entry string) bool {
	text := entry
	if i := strings.LastIndexByte(text, '/'); i >= 0 {
		// The port, if there is one, follows the length of the prefix.
		if j := strings.IndexByte(text[i:], ':'); j >= 0 {
			text = text[:i+j]
		}
	}
	if proto := strings.LastIndexByte(text, ':'); proto >= 0 && strings.Count(text, "/") > 1 {
		text = text[:proto]
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Bits() < 8 {
		return false
	}
	// A network may have one of these in it without beginning there.
	for _, other := range []string{
		"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
		"64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	} {
		if netip.MustParsePrefix(other).Overlaps(p.Masked()) {
			return false
		}
	}
	return p.Masked().Addr().IsGlobalUnicast() && !p.Addr().Is4In6()
}

func askMounts(a *asking, s, g Spec) {
	for i, m := range s.Mounts {
		key := indexKey("mounts", i)
		if slices.ContainsFunc(g.Mounts, func(o Mount) bool { return o.Source == m.Source && o.Target == m.Target && o.Mode == m.Mode }) {
			continue
		}
		if m.Mode == MountRWAsRoot {
			a.add(key+".mode", "writes to %s as root", inFull(m.Source))
			continue
		}
		if why := leadsOut(m.Source, a.project); why != "" {
			a.add(key+".source", "mounts %s (%s) at %s, %s", inFull(m.Source), m.Mode, inFull(m.Target), why)
		} else if !workplace(m.Target, g.Workdir) {
			// Programs that the user starts, or their settings, may be there.
			a.add(key+".target", "puts its own files in place of the sandbox's %s", inFull(m.Target))
		}
	}
}

// workplace tells whether a target is a place for what is worked on, where no
// program looks for others or for its settings.
func workplace(target, workdir string) bool {
	for _, dir := range []string{workdir, "/workspace", "/mnt", "/srv"} {
		if dir != "" && dir != "/" && below(target, dir) {
			return true
		}
	}
	return false
}

// leadsOut tells why a path is not one of the directory's: "" when it is, also
// behind symbolic links.
func leadsOut(path, dir string) string {
	const out = "which is outside of the project"
	if dir == "" || !below(path, dir) {
		return out
	}
	top, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return out
	}
	real, err := filepath.EvalSymlinks(path)
	switch {
	case absent(err):
		return "" // opening it will tell
	case err != nil:
		return "which cannot be looked at"
	case !below(real, top):
		return "which is a link to " + inFull(real) + ", outside of the project"
	}
	return ""
}

// below tells whether path is dir or lies in it, as it is written.
func below(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
