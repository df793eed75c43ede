# Tests. Unit tests: tests/unit/NAME.c, linked with libblx; each prints its own verdict and exits 0 or 1.
UNITS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(filter-out $(if $(TLS),,tests/unit/tls.c),$(wildcard tests/unit/*.c)))
$(BUILD)/unit/tls: UNIT_LIBS := $(TLS_LIBS)
$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(LIBBLX)
	@mkdir -p $(@D)
	$(CC) $(BLX_CFLAGS) $(LDFLAGS) -o $@ $< $(LIBBLX) $(UNIT_LIBS) -lxxhash -lzstd -lpthread $(URING_LIBS) $(CRYPTO_LIBS)
units: $(UNITS)
.PHONY: units

# Helpers that suites run: tests/tools/NAME.c
TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tools/%,$(wildcard tests/tools/*.c))
TOOL_LIBS :=
$(BUILD)/tools/btfcheck: $(BUILD)/cmd/blxtrack/btf.o
$(BUILD)/tools/btfcheck: TOOL_LIBS := -lbpf -lelf -lz
$(BUILD)/tools/%: $(BUILD)/tests/tools/%.o $(LIBBLX)
	@mkdir -p $(@D)
	$(CC) $(BLX_CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBBLX) $(TOOL_LIBS) -lxxhash -lzstd -lpthread $(URING_LIBS) $(CRYPTO_LIBS)

# blxtrack of the previous release, whose tracking `upgrade` takes over. All it leaves is the program.
PREVIOUS := $(abspath $(BUILD))/previous
$(BUILD)/previous/blxtrack: tests/data/blx-0.1.0.tar.xz
	rm -rf '$(PREVIOUS)' && mkdir -p '$(PREVIOUS)'
	tar -xJf $< -C '$(PREVIOUS)' --strip-components=1
	$(MAKE) -C '$(PREVIOUS)' BUILD=build SANITIZE= CFLAGS=-O2 build/bin/blxtrack
	mv '$(PREVIOUS)/build/bin/blxtrack' '$(PREVIOUS).new' && rm -rf '$(PREVIOUS)' && mkdir '$(PREVIOUS)'
	mv '$(PREVIOUS).new' '$(PREVIOUS)/blxtrack'

tools: $(TOOLS) $(BUILD)/previous/blxtrack
.PHONY: tools

include tests/fuzz/fuzz.mk

# Random work and random faults for MINUTES (10), the choices of SEED (a new one).
torture: all tools
	BLX_BUILD=$(abspath $(BUILD)) tests/torture $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))
.PHONY: torture
