# cove: two targets are the whole set-up, `make run` and `make test`.
# Everything a fresh Debian machine with Go lacks, `make deps` installs.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
PREFIX   ?= /usr/local
BIN      := bin
GO       ?= $(shell command -v go || echo /usr/local/go/bin/go)
SUDO     := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
ROUNDS   ?= 10

LDFLAGS  := -s -w -X main.version=$(VERSION)

# Package and the file that proves it is there.
BUILD_DEPS := gcc:/usr/bin/gcc pkg-config:/usr/bin/pkg-config libseccomp-dev:/usr/include/seccomp.h libc6-dev:/usr/include/stdio.h
# What cove itself calls: for disk quotas.
RUN_DEPS   := e2fsprogs:/sbin/mke2fs
TEST_DEPS  := python3:/usr/bin/python3 python3-venv:/usr/share/doc/python3-venv sudo:/usr/bin/sudo util-linux:/usr/bin/setpriv \
              tmux:/usr/bin/tmux less:/usr/bin/less htop:/usr/bin/htop vim:/usr/bin/vim.basic vim-tiny:/usr/bin/vim.tiny python3-pip:/usr/share/doc/python3-pip procps:/usr/bin/ps e2fsprogs:/sbin/mkfs.ext4 git:/usr/bin/git \
              nftables:/usr/sbin/nft iproute2:/usr/sbin/ip docker-registry:/usr/bin/docker-registry mmdebstrap:/usr/bin/mmdebstrap busybox-static:/usr/share/doc/busybox-static
# The test guest: an emulator, and what its disks are made with.
VM_DEPS    := qemu-system-x86:/usr/bin/qemu-system-x86_64 cpio:/usr/bin/cpio busybox-static:/usr/share/doc/busybox-static kmod:/usr/sbin/modprobe \
              zstd:/usr/bin/zstd lz4:/usr/bin/lz4 xz-utils:/usr/bin/xz util-linux:/usr/bin/setpriv e2fsprogs:/sbin/mkfs.ext4 nftables:/usr/sbin/nft iproute2:/usr/sbin/ip procps:/usr/bin/ps systemd:/lib/systemd/systemd

.PHONY: all run build test test-vm vm-deps test-gpu soak lint bench install deps test-deps clean

all: build

run: build ## build what is needed and open the TUI
	$(SUDO) $(abspath $(BIN))/cove

build: $(BIN)/cove $(BIN)/cove-init $(BIN)/runc

# Go knows best what is stale; runc changes only with go.mod.
.PHONY: $(BIN)/cove $(BIN)/cove-init
$(BIN)/cove: | deps
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/cove

$(BIN)/cove-init: | deps
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $@ ./cmd/cove-init

$(BIN)/runc: go.mod | deps
	CGO_ENABLED=1 $(GO) build -trimpath -tags 'seccomp netgo osusergo' \
		-ldflags '-s -w -extldflags -static' -o $@ github.com/opencontainers/runc
	@touch $@

deps:
	@$(call install_missing,$(BUILD_DEPS) $(RUN_DEPS))

test-deps:
	@$(call install_missing,$(TEST_DEPS))

vm-deps:
	@$(call install_missing,$(VM_DEPS))

define install_missing
missing=; for d in $(1); do [ -e "$${d#*:}" ] || missing="$$missing $${d%%:*}"; done; \
if [ -n "$$missing" ]; then \
	echo "installing:$$missing"; \
	$(SUDO) apt-get update -qq && \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
fi
endef

test: build test-deps vm-deps ## the whole suite, as root: real sandboxes, real runc; and beside it test-vm
	COVE_BIN=$(abspath $(BIN)) runtime/vmtest/beside $(SUDO) env "PATH=$$PATH" COVE_BIN=$(abspath $(BIN)) COVE_ROUNDS=$(ROUNDS) $(GO) test -timeout 25m ./...

test-vm: build vm-deps ## what needs a host with cgroup v2, in a guest of its own: RUN=TestGuestX, PKG=./runtime/x
	COVE_BIN=$(abspath $(BIN)) runtime/vmtest/suite $(if $(RUN),-run '$(RUN)') $(if $(PKG),-pkg $(PKG))

test-gpu: build test-deps ## on a machine with a GPU of NVIDIA's: CUDA in the sandbox that has it, and in no other
	$(SUDO) env "PATH=$$PATH" COVE_BIN=$(abspath $(BIN)) COVE_TEST_GPU=1 $(GO) test -count=1 -timeout 10m -v -run GPU ./cmd/cove ./runtime/sandbox

soak: build test-deps vm-deps ## the long rounds: kill -9 of the daemon, here and in the guest, attach and detach
	$(SUDO) env "PATH=$$PATH" COVE_BIN=$(abspath $(BIN)) COVE_ROUNDS=200 COVE_SOAK=1 \
		COVE_CROWD=100 $(GO) test -count=1 -timeout 60m -v -run 'KillRounds|AttachRounds|ResizeRounds|Model|Crowd|LargeTree|TestMove' ./cmd/cove ./runtime/sandbox ./runtime/archive
	COVE_BIN=$(abspath $(BIN)) COVE_ROUNDS=100 COVE_SOAK=1 runtime/vmtest/suite -t 3600 -pkg cmd/cove -run 'TestGuest'

bench: build test-deps ## what the design sets budgets for, beside runc and other programs, as ratios of one run; all figures in bin/bench.json
	$(SUDO) env "PATH=$$PATH" COVE_BIN=$(abspath $(BIN)) $(GO) test -count=1 -timeout 15m -run '^$$' -bench Budgets -benchtime 1x ./cmd/cove

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'not gofmt-ed'; exit 1; }
	$(GO) vet -tags vmtest ./...
	$(GO) mod tidy -diff
	$(GO) build -modfile=.ci/tools/go.mod -o $(BIN)/tools/ tool
	$(BIN)/tools/golangci-lint run ./...

install: build
	$(SUDO) install -D -m 0755 $(BIN)/cove $(DESTDIR)$(PREFIX)/bin/cove
	$(SUDO) install -D -m 0755 $(BIN)/cove-init $(DESTDIR)$(PREFIX)/libexec/cove/cove-init
	$(SUDO) install -D -m 0755 $(BIN)/runc $(DESTDIR)$(PREFIX)/libexec/cove/runc
	$(SUDO) install -D -m 0644 assets/systemd/cove.service $(DESTDIR)/etc/systemd/system/cove.service

clean:
	rm -rf $(BIN)
