# blx: one non-recursive Makefile. Variables to set: PREFIX DESTDIR CFLAGS LDFLAGS CC CLANG BPFTOOL BUILD.

VERSION := 0.1.0
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
BUILD ?= build
CC ?= cc
CLANG ?= clang
BPFTOOL ?= $(shell PATH="$$PATH:/usr/sbin:/sbin" command -v bpftool || echo bpftool)
INSTALL ?= install
CFLAGS ?= -O2 -g

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:

WARN := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
BLX_CPPFLAGS := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DBLX_VERSION='"$(VERSION)"' -Ilib -I. -I$(BUILD) $(CPPFLAGS)
BLX_CFLAGS := -std=c17 $(WARN) -fno-common $(SANITIZE) $(CFLAGS)

# liburing is optional: without it the reader uses threads.
URING := $(shell pkg-config --exists liburing 2>/dev/null && echo yes)
ifeq ($(URING),yes)
BLX_CPPFLAGS += -DHAVE_LIBURING
URING_LIBS := -luring
endif

# OpenSSL is optional: without it there is no SHA-256.
CRYPTO := $(shell pkg-config --exists libcrypto 2>/dev/null && echo yes)
ifeq ($(CRYPTO),yes)
BLX_CPPFLAGS += -DHAVE_OPENSSL
CRYPTO_LIBS := -lcrypto
endif

# and, where it knows TLS 1.3, without it there is no blxtls.
TLS := $(shell pkg-config --atleast-version=3.0 openssl 2>/dev/null && echo yes)
ifeq ($(TLS),yes)
TLS_LIBS := -lssl -lcrypto
endif

# ---- which program uses which library
PROGRAMS := blxtrack blxread blxpack blxapply blxls blxsum blxused $(if $(TLS),blxtls)
LIBS_blxtrack := -lbpf -lelf -lz -lxxhash
LIBS_blxread := -lxxhash -lzstd -lpthread $(URING_LIBS)
LIBS_blxpack := -lxxhash -lzstd -lpthread
LIBS_blxapply := -lxxhash -lzstd -lpthread
LIBS_blxls := -lxxhash -lzstd -lpthread
LIBS_blxused := -lxxhash
LIBS_blxsum := -lxxhash -lpthread $(URING_LIBS) $(CRYPTO_LIBS)
LIBS_blxtls := $(TLS_LIBS)

LIB_SRC := $(filter-out $(if $(TLS),,lib/tls%),$(wildcard lib/*.c))
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
LIBBLX := $(BUILD)/libblx.a
BINS := $(PROGRAMS:%=$(BUILD)/bin/%)

all: $(BINS)

$(LIBBLX): $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

define program
OBJ_$(1) := $$(patsubst %.c,$(BUILD)/%.o,$$(wildcard cmd/$(1)/*.c))
$(BUILD)/bin/$(1): $$(OBJ_$(1)) $(LIBBLX)
	@mkdir -p $$(@D)
	$$(CC) $$(BLX_CFLAGS) $$(LDFLAGS) -o $$@ $$(OBJ_$(1)) $(LIBBLX) $$(LIBS_$(1))
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$(p))))

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(BLX_CPPFLAGS) $(BLX_CFLAGS) -MMD -MP -c -o $@ $<

# ---- the kernel side: object, then a skeleton header that blxtrack includes
BPF_ARCH := $(shell uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/; s/ppc64le/powerpc/; s/riscv64/riscv/; s/s390x/s390/')
$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h)
	@mkdir -p $(@D)
	$(CLANG) -target bpf -D__TARGET_ARCH_$(BPF_ARCH) -mcpu=v3 -g -O2 -Wall -Wextra -Werror -Ibpf -I/usr/include/$(shell $(CC) -dumpmachine | sed "s/-\(pc\|unknown\)-/-/") -c -o $@ $<

$(BUILD)/bpf/%.skel.h: $(BUILD)/bpf/%.bpf.o
	{ echo '// NOLINTBEGIN: generated'; $(BPFTOOL) gen skeleton $< name $*_bpf && echo '// NOLINTEND'; } > $@

BPF_SKEL := $(patsubst bpf/%.bpf.c,$(BUILD)/bpf/%.skel.h,$(wildcard bpf/*.bpf.c))
$(patsubst %.c,$(BUILD)/%.o,$(wildcard cmd/blxtrack/*.c)): | $(BPF_SKEL)

-include $(shell find $(BUILD) -path $(BUILD)/vm -prune -o -name '*.d' -print 2>/dev/null)

include tests/tests.mk

# ---- what else must be installed, by its Debian name
DEPS_BUILD := gcc libc6-dev make pkg-config clang llvm bpftool libbpf-dev libelf-dev zlib1g-dev libzstd-dev libxxhash-dev \
	liburing-dev libssl-dev
DEPS_DEMO := bc e2fsprogs fio iproute2 mount openssh-client openssh-server procps python3 sqlite3 util-linux
DEPS_VM = $(if $(filter x86_64,$(shell uname -m)),busybox-static cpio kmod qemu-system-x86 \
	$(shell apt-cache show virtiofsd >/dev/null 2>&1 && echo virtiofsd))
DEPS_TEST = $(DEPS_DEMO) $(DEPS_VM) bats bsdextrautils btrfs-progs clang-format clang-tidy fdisk git mandoc ncat \
	netcat-openbsd netcat-traditional openssl shellcheck socat strace xfsprogs xxhash xz-utils zstd

deps:
	contrib/install-deps $(DEPS_BUILD) $(DEPS_TEST)

# ---- the two commands of the README. Make is called again once the packages are there, as what is found while this
# file is read (liburing, bpftool) depends on them.
check: deps
	$(MAKE) all units tools
	BUILD=$(BUILD) tests/run $(TESTS)

# Debian's kernels in virtual machines: part of `check` too, which leaves the page as it is.
vm-check: deps
	$(MAKE) all tools
	BLX_BUILD=$(abspath $(BUILD)) BLX_BIN=$(abspath $(BUILD))/bin tests/vm/run; code=$$?; \
	tests/vm/table --markdown $(BUILD)/vm/results >docs/compatibility.md; exit $$code

demo:
	contrib/install-deps $(DEPS_BUILD) $(DEPS_DEMO)
	$(MAKE) all
	BLX_BIN=$(abspath $(BUILD))/bin demo/demo.sh

# ---- the programs and their unit tests with sanitizers; blxtrack's heart is in the kernel and has other tests
ASAN_TESTS ?= unit formats blxls blxpack blxread fuzz blxsum blxused blxapply recovery scrub faults wrong
asan: SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
asan:
	$(MAKE) BUILD=build-asan SANITIZE='$(SANITIZE)' CFLAGS='-O1 -g' all units tools
	BUILD=build-asan UBSAN_OPTIONS=print_stacktrace=1 tests/run $(ASAN_TESTS)

# ---- style
C_FILES = $(wildcard lib/*.[ch] cmd/*/*.[ch] bpf/*.[ch] tests/unit/*.[ch] tests/tools/*.[ch] tests/fuzz/*.[ch])
SHELL_FILES = $(wildcard tests/run tests/*.bash tests/*.bats tests/vm/*.sh $(addprefix tests/vm/,boot disks guest kernel run tools) $(filter-out %/covered %.service,$(wildcard tests/vm/reboot/*)) bench/*.sh bench/*.bash demo/*.sh .ci/run contrib/install-deps \
	contrib/completion/blx.bash contrib/boot/root contrib/systemd/shutdown $(wildcard contrib/initramfs-tools/* contrib/dracut/*))
lint: $(BPF_SKEL)
	clang-format --dry-run -Werror $(C_FILES)
	clang-tidy --quiet $(filter-out bpf/%,$(filter %.c,$(C_FILES))) -- -std=c17 $(BLX_CPPFLAGS) \
		-Itests/unit
	shellcheck -S warning $(SHELL_FILES)
	mandoc -T lint -W warning $(wildcard man/*.[1-8])

# ---- installing
SYSTEMDDIR ?= $(PREFIX)/lib/systemd/system
LIBEXECDIR ?= $(PREFIX)/lib/blx
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions
DOCDIR ?= $(PREFIX)/share/doc/blx
MAN_PAGES = $(filter-out $(if $(TLS),,man/blxtls.1),$(wildcard man/*.[1-8]))
DOCS = README.md CHANGELOG.md LICENSE SECURITY.md docs/boot.md docs/recovery.md contrib/cron/blx contrib/sudoers/blx

# fill MODE,FROM,TO: with the names of this installation
fill = $(INSTALL) -D -m $(1) $(2) '$(DESTDIR)$(3)' && \
	sed -i 's|@BINDIR@|$(BINDIR)|g; s|@LIBEXECDIR@|$(LIBEXECDIR)|g' '$(DESTDIR)$(3)'

install: all
	$(INSTALL) -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(SYSTEMDDIR)' '$(DESTDIR)$(COMPLETIONDIR)' '$(DESTDIR)$(DOCDIR)'
	$(INSTALL) -m 755 $(BINS) '$(DESTDIR)$(BINDIR)'
	for page in $(MAN_PAGES); do \
		$(INSTALL) -D -m 644 $$page "$(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/}" || exit; done
	$(call fill,644,contrib/systemd/blxtrack@.service,$(SYSTEMDDIR)/blxtrack@.service)
	$(call fill,644,contrib/systemd/blx-root.service,$(SYSTEMDDIR)/blx-root.service)
ifneq ($(filter blxtls,$(PROGRAMS)),)
	$(call fill,644,contrib/systemd/blxtls.service,$(SYSTEMDDIR)/blxtls.service)
	$(call fill,644,contrib/systemd/blxtls.socket,$(SYSTEMDDIR)/blxtls.socket)
endif
	$(call fill,644,contrib/systemd/run-blx.conf,$(SYSTEMDDIR)/run-blx.mount.d/blx.conf)
	$(call fill,755,contrib/boot/root,$(LIBEXECDIR)/root)
	for program in $(PROGRAMS); do \
		$(INSTALL) -m 644 contrib/completion/blx.bash "$(DESTDIR)$(COMPLETIONDIR)/$$program" || exit; done
	for doc in $(DOCS); do $(INSTALL) -m 644 $$doc "$(DESTDIR)$(DOCDIR)/$$(echo $$doc | sed 's|/blx$$||; s|.*/||')" || exit; done

# What saves and restores the history of the root file system's disk (docs/boot.md), where the system's own tools look
# for it, whatever PREFIX is. It does nothing without /etc/blx/root.conf.
SHUTDOWNDIR ?= /usr/lib/systemd/system-shutdown
INITRAMFSDIR ?= /usr/share/initramfs-tools
DRACUTDIR ?= /usr/lib/dracut/modules.d
BOOT_FILES = '$(SHUTDOWNDIR)/blxtrack' '$(INITRAMFSDIR)/hooks/blx' '$(INITRAMFSDIR)/scripts/init-premount/blx' \
	'$(DRACUTDIR)/90blx'

install-boot:
	$(call fill,755,contrib/systemd/shutdown,$(SHUTDOWNDIR)/blxtrack)
	$(call fill,755,contrib/initramfs-tools/hook,$(INITRAMFSDIR)/hooks/blx)
	$(call fill,755,contrib/initramfs-tools/init-premount,$(INITRAMFSDIR)/scripts/init-premount/blx)
	$(foreach f,$(notdir $(wildcard contrib/dracut/*.sh)),$(call fill,755,contrib/dracut/$(f),$(DRACUTDIR)/90blx/$(f)) &&) :

# Programs that are gone must not leave a tracking behind that nobody can read. Un-acked changes would be lost with it:
# only FORCE=1 goes on then. A staged tree (DESTDIR) is not what this machine runs.
uninstall:
ifeq ($(DESTDIR),)
	if [ -x '$(BINDIR)/blxtrack' ]; then '$(BINDIR)/blxtrack' stop --all $(if $(FORCE),--force); fi
endif
	rm -f $(PROGRAMS:%='$(DESTDIR)$(BINDIR)/%') $(PROGRAMS:%='$(DESTDIR)$(COMPLETIONDIR)/%')
	rm -f '$(DESTDIR)$(SYSTEMDDIR)'/blxtrack@.service '$(DESTDIR)$(SYSTEMDDIR)'/blx-root.service
	rm -f '$(DESTDIR)$(SYSTEMDDIR)'/blxtls.service '$(DESTDIR)$(SYSTEMDDIR)'/blxtls.socket
	rm -f '$(DESTDIR)$(SYSTEMDDIR)/run-blx.mount.d/blx.conf' '$(DESTDIR)$(LIBEXECDIR)/root'
	rm -rf $(BOOT_FILES:'%'='$(DESTDIR)%')
	for page in $(MAN_PAGES); do rm -f "$(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/}"; done
	rm -rf '$(DESTDIR)$(DOCDIR)'

clean:
	rm -rf $(BUILD) build-asan

.PHONY: all deps check vm-check demo asan lint install install-boot uninstall clean
