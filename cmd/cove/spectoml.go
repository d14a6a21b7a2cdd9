package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"cove/config"
)

// specTOML writes a spec as a profile that says everything: read again, it
// gives the same spec.
func specTOML(s config.Spec) string {
	var w tomlWriter
	w.text("description", s.Description)
	w.raw("image", tomlString(s.Image))
	w.text("language", s.Language)
	w.raw("shell", tomlStrings(s.Shell))
	w.texts("command", s.Command)
	w.text("install", s.Install)
	w.raw("user", tomlString(s.User))
	w.raw("no_new_privileges", strconv.FormatBool(s.NoNewPrivileges))
	w.raw("workdir", tomlString(s.Workdir))
	w.texts("setup", s.Setup)
	w.text("runtime", s.Runtime)

	r := s.Resources
	w.table("[resources]")
	w.raw("cpu", number(r.CPU))
	w.raw("all_cpus", strconv.FormatBool(r.AllCPUs))
	w.text("memory", r.Memory.String())
	w.text("swap", r.Swap.String())
	w.text("disk", r.Disk.String())
	w.raw("disk_reserve", strconv.FormatBool(r.DiskReserve))
	w.raw("pids", fmt.Sprint(r.Pids))
	if len(r.GPU.IDs) > 0 {
		w.texts("gpu", r.GPU.IDs)
	} else {
		w.raw("gpu", fmt.Sprint(r.GPU.Count))
	}
	w.raw("gpu_shared", strconv.FormatBool(r.GPUShared))
	w.text("io_read", r.IORead.String())
	w.text("io_write", r.IOWrite.String())

	n := s.Network
	w.table("[network]")
	w.raw("block_all", strconv.FormatBool(n.BlockAll))
	w.texts("allow", n.Allow)
	w.texts("deny", n.Deny)
	w.texts("domains", n.Domains)
	w.raw("lan", strconv.FormatBool(n.LAN))
	if len(n.HostPorts) > 0 {
		w.raw("host_ports", strings.ReplaceAll(fmt.Sprint(n.HostPorts), " ", ", "))
	}
	w.raw("ask", strconv.FormatBool(n.Ask))

	for _, p := range s.Ports {
		w.table("[[ports]]")
		w.raw("port", fmt.Sprint(p.Port))
		w.raw("public", strconv.FormatBool(p.Public))
	}
	w.env(s.Env)
	w.labels(s.Labels)
	w.table("[git]")
	w.raw("identity", strconv.FormatBool(s.Git.Identity))
	w.text("name", s.Git.Name)
	w.text("email", s.Git.Email)
	for _, m := range s.Mounts {
		w.table("[[mounts]]")
		w.text("source", m.Source)
		w.text("target", m.Target)
		w.text("mode", m.Mode)
	}
	for _, v := range s.Volumes {
		w.table("[[volumes]]")
		w.text("name", v.Name)
		w.text("target", v.Target)
		w.text("subpath", v.Subpath)
		w.text("quota", v.Quota.String())
		w.raw("read_only", strconv.FormatBool(v.ReadOnly))
	}

	auto := s.Automation
	w.table("[automation]")
	w.text("auto_stop", auto.AutoStop.String())
	w.text("auto_pause", auto.AutoPause.String())
	w.text("stop_timeout", auto.StopTimeout.String())
	w.texts("pre_stop", auto.PreStop)
	w.text("pre_stop_timeout", auto.PreStopTimeout.String())
	w.text("auto_archive", auto.AutoArchive.String())
	w.text("auto_delete", auto.AutoDelete.String())
	w.text("ttl", auto.TTL.String())
	w.texts("activity", auto.Activity)
	return w.b.String()
}

// tomlWriter writes keys of TOML one a line.
type tomlWriter struct{ b strings.Builder }

func (w *tomlWriter) table(head string) { w.b.WriteString("\n" + head + "\n") }

func (w *tomlWriter) raw(key, value string) { w.b.WriteString(key + " = " + value + "\n") }

// text and texts leave out what is empty; they are for keys that are empty
// unless a profile sets them.
func (w *tomlWriter) text(key, value string) {
	if value != "" {
		w.raw(key, tomlString(value))
	}
}

func (w *tomlWriter) texts(key string, values []string) {
	if len(values) > 0 {
		w.raw(key, tomlStrings(values))
	}
}

func (w *tomlWriter) env(env map[string]config.EnvVar) {
	if len(env) == 0 {
		return
	}
	w.table("[env]")
	for _, k := range slices.Sorted(maps.Keys(env)) {
		if v := env[k]; v.From != "" {
			table := "{ from = " + tomlString(v.From)
			if v.Optional {
				table += ", optional = true"
			}
			w.raw(tomlString(k), table+" }")
		} else {
			w.raw(tomlString(k), tomlString(v.Value))
		}
	}
}

func (w *tomlWriter) labels(labels map[string]string) {
	if len(labels) == 0 {
		return
	}
	w.table("[labels]")
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		w.raw(tomlString(k), tomlString(labels[k]))
	}
}

// tomlString is a basic string of TOML v1.0. JSON's escapes are a subset of
// TOML's, which wants DEL escaped besides.
func tomlString(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	must(enc.Encode(s)) // a string always has a JSON form
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\u007f`)
}

func tomlStrings(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = tomlString(v)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// number writes a float so that it is one in TOML.
func number(f float64) string {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
