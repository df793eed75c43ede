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

# ---- which program uses which library
PROGRAMS := blxtrack blxread blxpack blxapply blxls
LIBS_blxtrack := -lbpf -lelf -lz -lxxhash
LIBS_blxread := -lxxhash -lzstd -lpthread $(URING_LIBS)
LIBS_blxpack := -lxxhash -lzstd -lpthread
LIBS_blxapply := -lxxhash -lzstd -lpthread
LIBS_blxls := -lxxhash -lzstd -lpthread

LIB_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard lib/*.c))
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
	$(CLANG) -target bpf -D__TARGET_ARCH_$(BPF_ARCH) -mcpu=v3 -g -O2 -Wall -Wextra -Werror -Ibpf -I/usr/include/$(shell $(CC) -dumpmachine) -c -o $@ $<

$(BUILD)/bpf/%.skel.h: $(BUILD)/bpf/%.bpf.o
	$(BPFTOOL) gen skeleton $< name $*_bpf > $@

BPF_SKEL := $(patsubst bpf/%.bpf.c,$(BUILD)/bpf/%.skel.h,$(wildcard bpf/*.bpf.c))
$(patsubst %.c,$(BUILD)/%.o,$(wildcard cmd/blxtrack/*.c)): | $(BPF_SKEL)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

include tests/tests.mk

clean:
	rm -rf $(BUILD)

.PHONY: all clean
