package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cove/runtime/lifecycle"
)

// buildContext writes files of a build.
func buildContext(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const stagedDockerfile = `ARG BASE=host
FROM $BASE AS build
ARG WHO=world
ENV GREETING="hello $WHO"
WORKDIR /opt/work
COPY src/ ./
COPY --chmod=755 tool.sh /usr/local/bin/tool
RUN echo "$GREETING from $(pwd)" > made.txt && tool >> made.txt
RUN <<EOT
echo a script > script.txt
EOT

FROM build AS unneeded
RUN exit 1

FROM host
ENV MODE=final
COPY --from=build --chown=dev /opt/work/made.txt /opt/out/
COPY --from=build /opt/work/*.txt /opt/all/
WORKDIR /opt/out
USER dev
CMD ["cat", "made.txt"]
`

// TestBuild builds from a Dockerfile with several stages, makes a sandbox of what
// comes of it, and builds it again, which does no step.
func TestBuild(t *testing.T) {
	h := realHost(t)
	dir := buildContext(t, map[string]string{
		"Dockerfile": stagedDockerfile, "src/a.txt": "content\n", "src/sub/b": "b\n", "tool.sh": "#!/bin/sh\necho tool\n",
		".dockerignore": "*.env\n", "src/secret.env": "secret\n",
	})
	build := func(name string, more ...string) (stderr string) {
		t.Helper()
		out, stderr, code := h.cove(append([]string{"snapshot", "build", "-p", "shell", "-n", name, "--build-arg", "WHO=cove", dir}, more...)...)
		if code != 0 || out != name+"\n" {
			t.Fatalf("build: exit %d\n%s%s", code, out, stderr)
		}
		return stderr
	}
	first := build("web")
	if strings.Contains(first, "CACHED") || strings.Contains(first, "exit 1") {
		t.Errorf("the first build:\n%s", first)
	}
	h.must("create", "-p", "shell", "-n", "w", "--image", "snapshot:web")
	got := h.must("exec", "w", "--", "sh", "-c", `id -un; pwd; echo $MODE; cat made.txt; stat -c %U made.txt; cd /opt/all; echo *; ls /opt/work 2>&1 | head -1; ls -A /usr/local/bin/tool 2>&1 | head -1`)
	want := "dev\n/opt/out\nfinal\nhello cove from /opt/work\ntool\ndev\na.txt made.txt script.txt\n"
	if !strings.HasPrefix(got, want) || strings.Contains(got, "secret") {
		t.Errorf("in what was built:\n%s", got)
	}
	// The other stage is not there.
	if n := strings.Count(got, "No such file"); n != 2 {
		t.Errorf("of the other stage there is:\n%s", got)
	}
	steps := 0
	for line := range strings.Lines(build("again")) {
		if strings.Contains(line, " COPY ") || strings.Contains(line, " RUN ") || strings.Contains(line, " WORKDIR ") {
			steps++
			if !strings.HasSuffix(line, "CACHED\n") {
				t.Errorf("the second build does %s", line)
			}
		}
	}
	if steps != 8 {
		t.Errorf("%d steps", steps)
	}
	// A changed file has all after it done anew, and nothing before it.
	if err := os.WriteFile(filepath.Join(dir, "tool.sh"), []byte("#!/bin/sh\necho changed\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if third := build("changed"); !strings.Contains(third, "COPY src/ ./: CACHED") || strings.Contains(third, "tool: CACHED") || strings.Count(third, "CACHED") != 2 {
		t.Errorf("after a change:\n%s", third)
	}
	if all := build("anew", "--no-cache"); strings.Contains(all, "CACHED") {
		t.Errorf("without the cache:\n%s", all)
	}
	h.must("snapshot", "rm", "web", "again", "changed", "anew")
	h.must("image", "prune")
	if got := h.must("exec", "w", "--", "cat", "/opt/out/made.txt"); !strings.Contains(got, "hello cove") {
		t.Errorf("without its snapshot: %q", got)
	}
}

// TestBuildFails: a step that fails leaves the build, to look at and to do again.
func TestBuildFails(t *testing.T) {
	h := realHost(t)
	dir := buildContext(t, map[string]string{"Dockerfile": "FROM host\nRUN touch /opt/first\nCOPY . /opt/ctx\nRUN echo on stdout; echo the last words >&2; exit 3\n"})
	out, stderr, code := h.cove("snapshot", "build", "-p", "shell", "-n", "bad", dir)
	if code != 1 || out != "" || !strings.Contains(stderr, "the last words") || !strings.Contains(stderr, "exit status 3") || !strings.Contains(stderr, "cove rebuild build-bad") {
		t.Fatalf("build: exit %d\n%s%s", code, out, stderr)
	}
	d := h.inspect("build-bad")
	if d.State != lifecycle.BuildFailed || d.Reason == nil || !strings.Contains(d.Reason.Detail, "exit status 3") {
		t.Errorf("it is %s, %+v", d.State, d.Reason)
	}
	if log := h.must("logs", "build-bad"); !strings.Contains(log, "the last words") || !strings.Contains(log, "RUN touch /opt/first") {
		t.Errorf("its log:\n%s", log)
	}
	h.refuse(1, []string{"build_failed"}, "start", "build-bad")
	// Also for the next daemon.
	h.kill()
	h.must("daemon", "start")
	if _, stderr, code := h.cove("rebuild", "build-bad"); code != 1 || strings.Count(stderr, "CACHED") != 2 || !strings.Contains(stderr, "exit status 3") {
		t.Errorf("rebuild: exit %d\n%s", code, stderr)
	}
	h.must("rm", "build-bad")
	for text, want := range map[string]string{
		"FROM host\nHEALTHCHECK CMD x\n": "HEALTHCHECK is not supported", "RUN x\n": "no build stage", "FROM host\nFLY\n": "Dockerfile:2", "": "Dockerfile",
		"FROM host\nADD https://example.org/x /x\n": "is not supported", "FROM host\nRUN --mount=type=cache,target=/x true\n": "RUN --mount is not supported",
		"FROM host\nCOPY a b c\n": "slash", "FROM host\nCOPY nothing /x\n": "there is no such file",
	} {
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, stderr, code := h.cove("snapshot", "build", "-p", "shell", dir); code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit %d, %s", text, code, stderr)
		}
	}
}

// TestBuildIsKilled: a build that its daemon does not outlive leaves nothing but the
// steps that were done.
func TestBuildIsKilled(t *testing.T) {
	h := realHost(t)
	dir := buildContext(t, map[string]string{"Dockerfile": "FROM host\nRUN echo done > /opt/done\nRUN sleep 1000\n"})
	cmd := h.command(t.Context(), "snapshot", "build", "-p", "shell", "-n", "k", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the second step", func() bool {
		list := h.list()
		return len(list) == 1 && strings.Contains(list[0].Progress, "sleep")
	})
	h.kill()
	if err := cmd.Wait(); err == nil {
		t.Error("a build succeeds without its daemon")
	}
	h.must("daemon", "start")
	until(t, "the end of the build", func() bool { return len(h.list()) == 0 })
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM host\nRUN echo done > /opt/done\nRUN cat /opt/done\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, stderr, code := h.cove("snapshot", "build", "-p", "shell", "-n", "k", dir); code != 0 || strings.Count(stderr, "CACHED") != 1 {
		t.Errorf("after it: exit %d\n%s%s", code, out, stderr)
	}
	// One that its caller breaks off goes.
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM host\nRUN sleep 1001\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd = h.command(t.Context(), "snapshot", "build", "-p", "shell", "-n", "broken-off", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the step", func() bool {
		list := h.list()
		return len(list) == 1 && strings.Contains(list[0].Progress, "sleep")
	})
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	until(t, "the end of the build", func() bool { return len(h.list()) == 0 })
}
