package rootfs

import (
	"bytes"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// identity is what the regenerated files of /etc are made from. Nothing of it
// is copied as it is: of the host's users only system accounts are taken over,
// and of those only name and numbers, so that files in /usr and packages'
// scripts find the owners they know.
type identity struct {
	passwd, group []byte // the host's
	shell         string // of root and dev
	sudo          bool   // the host has it
}

// genFile is a file made by us.
type genFile struct {
	path    string
	mode    uint32
	content string
}

const resolvConf = "# Names are asked of the host's own resolver, where the sandbox may use the network.\nnameserver 169.254.1.1\n"

type account struct {
	name     string
	id, gid  int // gid: users only
	home, sh string
}

// accountName is what shadow-utils and Debian's adduser accept as a system
// account.
const accountName = `^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`

const (
	nobodyID      = 65534
	defaultHost   = "cove"
	passwordDay   = 19700 // when "the password was changed": shadow(5) wants a day, any day
	devName       = "dev"
	maxSystemID   = 999
	sudoersSecure = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// accounts reads passwd(5) or group(5) with fields fields per line, and keeps
// well-formed system accounts, each name and number once. Root, dev and nobody
// are ours to define.
func accounts(raw []byte, fields int) []account {
	var out []account
	valid := regexp.MustCompile(accountName)
	names, ids := map[string]bool{"root": true, devName: true, "nobody": true, "nogroup": true}, map[int]bool{}
	for line := range bytes.Lines(raw) {
		f := strings.Split(strings.TrimRight(string(line), "\r\n"), ":")
		if len(f) != fields || !valid.MatchString(f[0]) || names[f[0]] {
			continue
		}
		id, err := strconv.Atoi(f[2])
		if err != nil || id < 1 || id > maxSystemID || ids[id] {
			continue
		}
		a := account{name: f[0], id: id}
		if fields == 7 {
			if a.gid, err = strconv.Atoi(f[3]); err != nil || a.gid < 0 || (a.gid > maxSystemID && a.gid != nobodyID) {
				continue
			}
			a.home, a.sh = systemHome(f[5]), systemShell(f[6])
		}
		names[a.name], ids[id] = true, true
		out = append(out, a)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].id < out[j].id })
	return out
}

// systemHome keeps the home of a system account unless it tells of people.
func systemHome(h string) string {
	for _, top := range []string{"/usr", "/var", "/run", "/bin", "/sbin", "/dev", "/nonexistent"} {
		if (h == top || strings.HasPrefix(h, top+"/")) && plainPath(h) && !strings.Contains(h, "..") {
			return h
		}
	}
	return "/nonexistent"
}

// plainPath tells whether p has nothing in it that a passwd(5) line or a shell
// would take for more than a path.
func plainPath(p string) bool {
	const plain = "/._+-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return strings.HasPrefix(p, "/") && strings.Trim(p, plain) == ""
}

func systemShell(s string) string {
	switch s {
	case "/bin/false", "/usr/bin/false", "/bin/sync", "/sbin/nologin", "/usr/sbin/nologin", "/usr/bin/nologin":
		return s
	}
	return "/usr/sbin/nologin"
}

// files are all regenerated files of /etc.
func (in identity) files() []genFile {
	users := append([]account{{name: "root", home: "/root", sh: in.shell}}, accounts(in.passwd, 7)...)
	users = append(users,
		account{name: devName, id: DevUID, gid: DevUID, home: "/home/" + devName, sh: in.shell},
		account{name: "nobody", id: nobodyID, gid: nobodyID, home: "/nonexistent", sh: "/usr/sbin/nologin"})
	groups := append([]account{{name: "root"}}, accounts(in.group, 4)...)
	groups = append(groups, account{name: devName, id: DevUID}, account{name: nobodyGroup(in.group), id: nobodyID})

	var passwd, shadow, group, gshadow strings.Builder
	for _, u := range users {
		fmt.Fprintf(&passwd, "%s:x:%d:%d::%s:%s\n", u.name, u.id, u.gid, u.home, u.sh)
		// "*" is no hash: no password opens the account, and it is not locked.
		fmt.Fprintf(&shadow, "%s:*:%d:0:99999:7:::\n", u.name, passwordDay)
	}
	for _, g := range groups {
		fmt.Fprintf(&group, "%s:x:%d:\n", g.name, g.id)
		fmt.Fprintf(&gshadow, "%s:*::\n", g.name)
	}
	out := []genFile{
		{"etc/passwd", 0o644, passwd.String()},
		{"etc/group", 0o644, group.String()},
		{"etc/shadow", 0o640, shadow.String()},
		{"etc/gshadow", 0o640, gshadow.String()},
		{"etc/subuid", 0o644, ""},
		{"etc/subgid", 0o644, ""},
		{"etc/hostname", 0o644, defaultHost + "\n"},
		{"etc/hosts", 0o644, hostsFile(defaultHost)},
		{"etc/resolv.conf", 0o644, resolvConf},
		{"etc/machine-id", 0o444, ""},
		{"etc/nsswitch.conf", 0o644, nsswitch},
	}
	if in.sudo {
		out = append(out, genFile{"etc/sudoers", 0o440, "Defaults env_reset\nDefaults secure_path=\"" + sudoersSecure +
			"\"\nroot ALL=(ALL:ALL) ALL\n" + devName + " ALL=(ALL:ALL) NOPASSWD: ALL\n"})
	}
	return out
}

// nobodyGroup is what the host calls group 65534: nogroup on Debian, nobody
// elsewhere; packages' scripts expect their own.
func nobodyGroup(group []byte) string {
	if bytes.HasPrefix(group, []byte("nobody:")) || bytes.Contains(group, []byte("\nnobody:")) {
		return "nobody"
	}
	return "nogroup"
}

// groupID finds a group's number among the regenerated ones.
func (in identity) groupID(name string) int {
	for _, g := range accounts(in.group, 4) {
		if g.name == name {
			return g.id
		}
	}
	return 0
}

func hostsFile(hostname string) string {
	return "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t" + hostname + "\n"
}

// nsswitch names only what needs no daemon of the host.
const nsswitch = `passwd: files
group: files
shadow: files
gshadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
netgroup: files
`
