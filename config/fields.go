package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// header is what a profile says beside the Spec.
type header struct {
	extends string
}

// profileFields are the valid keys of a profile (and their one definition):
// they set s and h.
func profileFields(s *Spec, h *header) fields {
	return fields{
		"extends":           value(&h.extends, text),
		"description":       value(&s.Description, text),
		"image":             value(&s.Image, text),
		"language":          value(&s.Language, text),
		"shell":             value(&s.Shell, texts),
		"command":           value(&s.Command, texts),
		"install":           value(&s.Install, text),
		"user":              value(&s.User, text),
		"no_new_privileges": value(&s.NoNewPrivileges, boolean),
		"workdir":           value(&s.Workdir, text),
		"setup":             value(&s.Setup, texts),
		"runtime":           value(&s.Runtime, text),
		"resources":         group(resourceFields(&s.Resources)),
		"network":           group(networkFields(&s.Network)),
		"ports":             each(&s.Ports, portFields, "port"),
		"env":               mapping(&s.Env, envVar),
		"labels":            mapping(&s.Labels, text),
		"git":               group(gitFields(&s.Git)),
		"mounts":            each(&s.Mounts, mountFields, "source", "target"),
		"volumes":           each(&s.Volumes, volumeFields, "name", "target"),
		"automation":        group(automationFields(&s.Automation)),
	}
}

func resourceFields(r *Resources) fields {
	return fields{
		"cpu":          value(&r.CPU, number),
		"all_cpus":     value(&r.AllCPUs, boolean),
		"memory":       value(&r.Memory, size),
		"swap":         value(&r.Swap, size),
		"disk":         value(&r.Disk, size),
		"disk_reserve": value(&r.DiskReserve, boolean),
		"pids":         value(&r.Pids, whole),
		"gpu":          value(&r.GPU, gpuRequest),
		"gpu_shared":   value(&r.GPUShared, boolean),
		"io_read":      value(&r.IORead, size),
		"io_write":     value(&r.IOWrite, size),
	}
}

func networkFields(n *Network) fields {
	return fields{
		"block_all":  value(&n.BlockAll, boolean),
		"allow":      value(&n.Allow, texts),
		"deny":       value(&n.Deny, texts),
		"domains":    value(&n.Domains, texts),
		"lan":        value(&n.LAN, boolean),
		"host_ports": value(&n.HostPorts, listOf("ports", port)),
		"ask":        value(&n.Ask, boolean),
	}
}

func gitFields(g *Git) fields {
	return fields{
		"identity": value(&g.Identity, boolean),
		"name":     value(&g.Name, text),
		"email":    value(&g.Email, text),
	}
}

func portFields(p *Port) fields {
	return fields{
		"port":   value(&p.Port, port),
		"public": value(&p.Public, boolean),
	}
}

func mountFields(m *Mount) fields {
	m.Mode = MountRO
	return fields{
		"source": value(&m.Source, text),
		"target": value(&m.Target, text),
		"mode":   value(&m.Mode, text),
	}
}

func volumeFields(v *Volume) fields {
	return fields{
		"name":      value(&v.Name, text),
		"target":    value(&v.Target, text),
		"subpath":   value(&v.Subpath, text),
		"quota":     value(&v.Quota, size),
		"read_only": value(&v.ReadOnly, boolean),
	}
}

func automationFields(a *Automation) fields {
	return fields{
		"auto_stop":        value(&a.AutoStop, duration),
		"auto_pause":       value(&a.AutoPause, duration),
		"stop_timeout":     value(&a.StopTimeout, duration),
		"pre_stop":         value(&a.PreStop, texts),
		"pre_stop_timeout": value(&a.PreStopTimeout, duration),
		"auto_archive":     value(&a.AutoArchive, duration),
		"auto_delete":      value(&a.AutoDelete, duration),
		"ttl":              value(&a.TTL, duration),
		"activity":         value(&a.Activity, texts),
	}
}

// envVar is "value" or { from = "env", optional = true }.
func envVar(v any) (EnvVar, error) {
	const form = `want a string, { from = "env" } or { from = "env", optional = true }`
	switch v := v.(type) {
	case string:
		return EnvVar{Value: v}, nil
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if name != "from" && name != "optional" {
				return EnvVar{}, fmt.Errorf("unknown key %s: %s", quote(name), form)
			}
		}
		if v["from"] != FromEnv {
			return EnvVar{}, errors.New(form)
		}
		e := EnvVar{From: FromEnv}
		if given, ok := v["optional"]; ok {
			if e.Optional, ok = given.(bool); !ok {
				return EnvVar{}, fmt.Errorf("optional: %s", wrongType("true or false", given))
			}
		}
		return e, nil
	}
	return EnvVar{}, fmt.Errorf("%s, got %s", form, describe(v))
}

// gpuRequest is a number of GPUs or a list of their names.
func gpuRequest(v any) (GPURequest, error) {
	switch n := v.(type) {
	case int64:
		if n < 0 || n > maxGPUs {
			return GPURequest{}, fmt.Errorf("%d is no number of GPUs: want 0 to %d", n, maxGPUs)
		}
		return GPURequest{Count: int(n)}, nil
	case []any:
		ids, err := texts(n)
		return GPURequest{IDs: ids}, err
	}
	return GPURequest{}, errors.New(wrongType(`a number of GPUs or a list of their names`, v))
}
