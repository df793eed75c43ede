# Fuzzing, bounded: `make fuzz` runs every target for FUZZ_SECONDS, beginning with the inputs in tests/fuzz/corpus/NAME.
# A crash leaves its input in $(BUILD)/fuzz: mend the cause and keep the input in the corpus, which the test suite runs
# through (kept-NAME, without libFuzzer).
FUZZ := list head ack stream digests tree apply records track $(if $(TLS),tls)
FUZZ_SECONDS ?= 60
FUZZ_FLAGS := -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
FUZZ_LIB := $(filter-out lib/readahead.c lib/source.c,$(LIB_SRC))

# Parts of programs that a target runs.
FUZZ_WITH_apply := $(filter-out %/main.c,$(wildcard cmd/blxapply/*.c))
FUZZ_WITH_records := $(FUZZ_WITH_apply) cmd/blxls/view.c
FUZZ_WITH_track := $(filter-out %/main.c %/state.c,$(wildcard cmd/blxtrack/*.c)) # it has state.c in itself
FUZZ_LIBS_track := -lbpf -lelf -lz
FUZZ_WITH_tls := $(addprefix cmd/blxtls/,wire.c peers.c net.c command.c)
FUZZ_LIBS_tls := $(TLS_LIBS)

$(BUILD)/fuzz/%: tests/fuzz/%.c $(wildcard tests/fuzz/*.h lib/*.[ch] cmd/*/*.[ch]) | $(BPF_SKEL)
	@mkdir -p $(@D)
	$(CLANG) $(BLX_CPPFLAGS) -std=c17 $(WARN) -O1 -g $(FUZZ_FLAGS) -o $@ $< $(FUZZ_WITH_$*) $(FUZZ_LIB) $(FUZZ_LIBS_$*) -lxxhash -lzstd -lpthread $(CRYPTO_LIBS)

$(foreach t,$(FUZZ),$(eval $(BUILD)/fuzz/kept-$(t): $(FUZZ_WITH_$(t):%.c=$(BUILD)/%.o)))
$(BUILD)/fuzz/kept-%: $(BUILD)/tests/fuzz/%.o $(BUILD)/tests/fuzz/kept.o $(LIBBLX)
	@mkdir -p $(@D)
	$(CC) $(BLX_CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBBLX) $(FUZZ_LIBS_$*) -lxxhash -lzstd -lpthread $(URING_LIBS) $(CRYPTO_LIBS)
tools: $(FUZZ:%=$(BUILD)/fuzz/kept-%)

fuzz: $(FUZZ:%=fuzz-%)
fuzz-%: $(BUILD)/fuzz/%
	@mkdir -p $(BUILD)/fuzz/new-$*
	cd $(BUILD)/fuzz && ./$* -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
		-dict=$(CURDIR)/tests/fuzz/text.dict -artifact_prefix=$*- new-$* $(CURDIR)/tests/fuzz/corpus/$*
.PHONY: fuzz
