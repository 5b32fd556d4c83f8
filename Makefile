# weir: build, test and measure. `make help` lists the targets.
#
#   BUILD=release|debug|asan|tsan           which binary (default: release)
#   O=DIR                                   where objects go (default: build/$(BUILD))
#   CC=gcc|clang   WERROR=1   STATIC=1

BUILD ?= release
O     ?= build/$(BUILD)
ifeq ($(origin CC),default)
CC := gcc
endif
PKG   ?= pkg-config

# The house, right to left: a folder may use itself and what stands before it in its line.
FOLDERS := base mem conf obs wire net upstream relay mock load api policy trial server cli

WARN := -Wall -Wextra -Wshadow -Wconversion -Wundef -Wstrict-prototypes -Wmissing-prototypes \
        -Wwrite-strings -Wcast-qual -Wformat=2 -Wvla -Wimplicit-fallthrough
ifeq ($(WERROR),1)
WARN += -Werror
endif

LUA_CFLAGS := $(shell $(PKG) --cflags lua5.4 2>/dev/null || echo -I/usr/include/lua5.4)
CPPFLAGS += -Isrc -D_GNU_SOURCE $(LUA_CFLAGS)
CFLAGS_ALL := -std=c11 -g $(WARN) -fno-strict-aliasing -fvisibility=hidden -pthread

CF_release := -O2 -fPIE -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fcf-protection=full \
              -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables
LF_release := -pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--gc-sections -Wl,-z,pack-relative-relocs
CF_debug   := -O0 -DWR_DEBUG
CF_asan    := -O1 -DWR_DEBUG -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LF_asan    := -fsanitize=address,undefined
CF_tsan    := -O1 -DWR_DEBUG -fsanitize=thread -fno-omit-frame-pointer
LF_tsan    := -fsanitize=thread
CF_fuzz    := -O1 -DWR_DEBUG -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

# Folders that no event passes are built for size.
COLD := conf obs/hist obs/metric obs/prom obs/trace upstream mock policy/load trial load server cli
ifeq ($(BUILD),release)
$(foreach f,$(COLD),$(eval $(O)/obj/$(f)%.o: CF_COLD := -Os))
endif

CFLAGS_USED  = $(CFLAGS_ALL) $(CF_$(BUILD)) $(CF_COLD) $(CFLAGS)
LDFLAGS_USED = $(LF_$(BUILD)) -pthread $(LDFLAGS)

ifeq ($(STATIC),1)
# Debian 12 and 13 name libuv's archive differently; cJSON is packaged as a shared library only. The archives are copied
# without their unwind tables, a tenth of the binary that nothing in it reads.
LIBUV_A := $(if $(findstring /,$(shell $(CC) -print-file-name=libuv_a.a)),libuv_a,libuv)
STATIC_LIBS := $(foreach l,$(LIBUV_A) libmbedtls libmbedx509 libmbedcrypto liblua5.4 libcares,$(O)/static/$(l).a)
LIBS := $(STATIC_LIBS) -lcjson -lm -ldl -lrt
$(O)/static/%.a:
	@mkdir -p $(@D)
	objcopy -R .eh_frame -R .rela.eh_frame $(shell $(CC) -print-file-name=$*.a) $@
$(O)/weir: $(STATIC_LIBS)
else
LIBS := -luv -lmbedtls -lmbedx509 -lmbedcrypto -llua5.4 -lcares -lcjson -lm -ldl
endif

# Archives, left to right, for the linker; and for the tests of a folder only what it may use.
reverse = $(if $(1),$(call reverse,$(wordlist 2,$(words $(1)),$(1))) $(firstword $(1)))
upto    = $(if $(2),$(if $(filter $(1),$(firstword $(2))),$(1),$(firstword $(2)) $(call upto,$(1),$(wordlist 2,$(words $(2)),$(2)))))
archive = $(O)/lib$(1).a
ARCHIVES := $(foreach f,$(call reverse,$(FOLDERS)),$(call archive,$(f)))

# Text files that a folder carries, as C made by share/embed: src/base/embed.h.
EMBED_cli := $(wildcard share/init/*)
# The standard library; weir.test is for a stock Lua.
EMBED_policy := $(filter-out lua/weir/test%,$(sort $(wildcard lua/weir/*.lua lua/weir/*/*.lua)))

src_of = $(filter-out src/cli/main.c,$(wildcard src/$(1)/*.c))
obj_of = $(patsubst src/%.c,$(O)/obj/%.o,$(call src_of,$(1))) $(if $(EMBED_$(1)),$(O)/obj/gen/$(1).o)

.DEFAULT_GOAL := all
.PHONY: all help clean
all: $(O)/weir

$(O)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS_USED) -MMD -MP -c -o $@ $<

define embed_rule
$(O)/gen/$(1).c: share/embed $(EMBED_$(1))
	@mkdir -p $$(@D)
	share/embed wr_embedded_$(1) $(EMBED_$(1)) >$$@
endef
$(foreach f,$(FOLDERS),$(if $(EMBED_$(f)),$(eval $(call embed_rule,$(f)))))
$(O)/obj/gen/%.o: $(O)/gen/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS_USED) -MMD -MP -c -o $@ $<
$(O)/pic/gen/%.o: $(O)/gen/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(filter-out -fPIE,$(CFLAGS_USED)) -fPIC -MMD -MP -c -o $@ $<

define folder_rule
$(call archive,$(1)): $(call obj_of,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call folder_rule,$(f))))

$(O)/weir: $(O)/obj/cli/main.o $(ARCHIVES)
	$(CC) $(CFLAGS_USED) $(LDFLAGS_USED) -o $@ $< -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBS)

# --- weir.test: the trial and all it stands on as a module for a stock Lua, which brings its own Lua.
LUA_MODULE := $(O)/lua/weir/test/core.so
MODULE_OBJ := $(foreach f,$(call upto,trial,$(FOLDERS)),$(patsubst src/%.c,$(O)/pic/%.o,$(call src_of,$(f))) \
  $(if $(EMBED_$(f)),$(O)/pic/gen/$(f).o))
$(O)/pic/%.o: CF_COLD := $(if $(filter release,$(BUILD)),-Os)
$(O)/pic/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(filter-out -fPIE,$(CFLAGS_USED)) -fPIC -MMD -MP -c -o $@ $<
$(LUA_MODULE): $(MODULE_OBJ)
	@mkdir -p $(@D)
	$(CC) -shared $(filter-out -pie -static,$(LDFLAGS_USED)) -Wl,-Bsymbolic -o $@ $^ \
	  $(filter-out -llua5.4,-luv -lmbedtls -lmbedx509 -lmbedcrypto -lcares -lcjson -lm)
.PHONY: lua-test
lua-test: $(LUA_MODULE)

# --- C tests: tests/<folder>/test_<x>.c is one cmocka program, linked with its folder and what that may use.
TEST_SRC := $(wildcard tests/*/test_*.c)
TEST_BIN := $(patsubst tests/%.c,$(O)/tests/%,$(TEST_SRC))
test_libs = $(foreach f,$(call reverse,$(call upto,$(1),$(FOLDERS))),$(call archive,$(f)))

define test_rule
$(O)/tests/$(1)/%: tests/$(1)/%.c $(call test_libs,$(1))
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS) -Itests $$(CFLAGS_USED) $$(LDFLAGS_USED) -MMD -MP -MF $$@.d -o $$@ $$< \
	  -Wl,--start-group $(call test_libs,$(1)) -Wl,--end-group $$(LIBS) -lcmocka $$(EXTRA_LIBS)
endef
$(foreach f,$(FOLDERS),$(eval $(call test_rule,$(f))))

# --- Fuzz targets: tests/fuzz/fuzz_<x>.c, with seeds in tests/fuzz/seeds/<x>/ and <x>.dict.
# With libFuzzer (clang) they search; with any compiler, replay.c runs them over the seeds.
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_REPLAY := $(patsubst tests/fuzz/%.c,$(O)/fuzz/%,$(FUZZ_SRC))
FUZZ_LIBS := $(foreach f,mock relay upstream net wire obs conf mem base,$(call archive,$(f)))
$(O)/fuzz/%: tests/fuzz/%.c tests/fuzz/replay.c $(FUZZ_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests $(CFLAGS_USED) $(LDFLAGS_USED) -MMD -MP -MF $@.d -o $@ $< tests/fuzz/replay.c \
	  -Wl,--start-group $(FUZZ_LIBS) -Wl,--end-group $(LIBS)

# The searching build: clang with coverage, in a folder of its own.
FUZZ_SECONDS ?= 20
FUZZ_RUN := $(patsubst tests/fuzz/%.c,$(O)/libfuzzer/%,$(FUZZ_SRC))
$(O)/libfuzzer/%: tests/fuzz/%.c $(FUZZ_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests $(CFLAGS_USED) -fsanitize=fuzzer -o $@ $< \
	  -Wl,--start-group $(FUZZ_LIBS) -Wl,--end-group $(LIBS)

.PHONY: check-c check-fuzz fuzz tests-c
tests-c: $(TEST_BIN)
check-c: $(TEST_BIN)
	@.ci/run-c-tests $(TEST_BIN)
check-fuzz: $(FUZZ_REPLAY)
	@for t in $(FUZZ_REPLAY); do n=$${t##*/fuzz_}; $$t tests/fuzz/seeds/$$n || exit 1; done
fuzz:
	@$(MAKE) --no-print-directory -s BUILD=fuzz CC=clang O=$(O)/fuzz fuzz-run
.PHONY: fuzz-run
fuzz-run: $(FUZZ_RUN)
	@for t in $^; do n=$${t##*/fuzz_}; d=$(O)/libfuzzer/corpus-$$n; mkdir -p $$d; \
	  dict=; [ -f tests/fuzz/$$n.dict ] && dict=-dict=tests/fuzz/$$n.dict; \
	  $$t -max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=65536 -print_final_stats=1 $$dict \
	    -artifact_prefix=$(O)/libfuzzer/ $$d tests/fuzz/seeds/$$n || exit 1; done

# --- The second parser that tests compare with, where it is packaged.
$(O)/tests/wire/%: EXTRA_LIBS += $(if $(wildcard /usr/include/http_parser.h),-lhttp_parser)

# --- Packages, the demo, the tests, the benchmark.
PREFIX  ?= /usr/local
DESTDIR ?=
SIZE_LIMIT_BYTES := 2000000

.PHONY: deps deps-test deps-bench demo test test-trixie tidy size install bench bench-quick
help:
	@sed -n 's/^## //p' Makefile

## make [all]       the binary, in build/release/weir (BUILD=debug|asan|tsan, STATIC=1, CC=clang)
## make demo        installs what is missing, builds, and shows a relayed stream; needs no key and no network
## make test        installs what is missing and runs every test
## make deps        installs the packages that building needs (deps-test: those of the tests, deps-bench: of the benchmark)
deps:
	@.ci/deps deps
deps-test:
	@.ci/deps deps test
deps-bench:
	@.ci/deps deps bench
# A new make: what pkg-config says may have changed.
demo: deps
	@$(MAKE) --no-print-directory -s -j2 O=$(O) all
	@$(O)/weir demo
test: deps-test
	@.ci/test
## make tidy        layers and style
tidy:
	@.ci/tidy
## make test-trixie builds and tests in a Debian 13 root folder (as root)
test-trixie:
	@.ci/trixie
## make bench-quick CPU time per event beside the thinnest relay, HAProxy and nginx; about 90 seconds (bench: 10 minutes)
bench-quick:
	@$(MAKE) --no-print-directory -s -j2 O=$(O) all bench-tools
	@WEIR_BIN=$(O)/weir bench/run --quick
bench:
	@$(MAKE) --no-print-directory -s -j2 O=$(O) all bench-tools
	@WEIR_BIN=$(O)/weir bench/run
BENCH_TOOLS := build/bench/thin build/bench/load
.PHONY: bench-tools
bench-tools: $(BENCH_TOOLS)
build/bench/thin: bench/thin.c
build/bench/load: bench/load.c bench/load_up.c bench/load_client.c
build/bench/load: bench/load.h
$(BENCH_TOOLS):
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -O2 -g $(WARN) -o $@ $(filter %.c,$^)
# --- The parts, and the gate of the hot path: programs of bench/ that use weir's own archives.
BENCH_LIBS := $(foreach f,relay upstream net wire obs conf mem base,$(call archive,$(f)))
build/bench/micro build/bench/ablation: build/bench/%: bench/%.c $(BENCH_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS_USED) $(LDFLAGS_USED) -o $@ $< -Wl,--start-group $(BENCH_LIBS) -Wl,--end-group $(LIBS)
build/bench/lockstep: bench/lockstep.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -O2 -g $(WARN) -o $@ $<
.PHONY: bench-parts bench-gate bench-gate-write bench-policy soak
## make bench-policy what hooks cost an event: none, empty, looking, redacting; CPU, instructions, allocations
bench-policy:
	@$(MAKE) --no-print-directory -s -j2 O=$(O) all build/bench/lockstep
	@WEIR_BIN=$(O)/weir bench/policy
## make soak        a million events through a policy that retains and fails, under reloads: nothing may grow
soak:
	@$(MAKE) --no-print-directory -s -j2 O=$(O) all build/bench/lockstep
	@WEIR_BIN=$(O)/weir bench/soak
## make bench-parts each part alone beside what it replaces, and what each idea is worth; about a minute
bench-parts:
	@.ci/deps deps bench
	@$(MAKE) --no-print-directory -s -j2 O=$(O) build/bench/micro build/bench/ablation
	@bench/parts $(RECORDINGS)
## make bench-gate  instructions per event against those kept in bench/gate.txt (bench-gate-write keeps them)
bench-gate bench-gate-write:
	@$(MAKE) --no-print-directory -s -j2 O=$(O) all build/bench/lockstep
	@WEIR_BIN=$(O)/weir bench/gate $(if $(findstring write,$@),--write)
.PHONY: profile
## make profile    where the time of an event goes: flame graph, instructions by function, system calls
profile:
	@.ci/deps deps bench
	@$(MAKE) --no-print-directory -s -j2 O=build/profile CFLAGS=-fno-omit-frame-pointer all build/bench/lockstep
	@WEIR_BIN=build/profile/weir bench/profile
## make size        the stripped binary's size against its limit (with STATIC=1)
size: $(O)/weir
	@strip -o $(O)/weir.stripped $(O)/weir
	@n=$$(stat -c %s $(O)/weir.stripped); echo "size: $$n bytes stripped, limit $(SIZE_LIMIT_BYTES)"; \
	  [ $$n -lt $(SIZE_LIMIT_BYTES) ]
## make lua-test    the module weir.test for busted, in build/release/lua (LUA_CPATH); lua/ has the rest (LUA_PATH)
## make install     PREFIX=/usr/local DESTDIR=
install: $(O)/weir $(LUA_MODULE)
	install -D -s -m 755 $(O)/weir $(DESTDIR)$(PREFIX)/bin/weir
	install -D -m 644 conf.lua $(DESTDIR)$(PREFIX)/share/weir/conf.lua
	cd lua && find . -name '*.lua' -exec install -D -m 644 {} $(DESTDIR)$(PREFIX)/share/weir/lua/{} \;
	cd types && find . -name '*.lua' -exec install -D -m 644 {} $(DESTDIR)$(PREFIX)/share/weir/types/{} \;
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/lua/5.4/weir lua/weir/test.lua
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/lua/5.4/weir/test lua/weir/test/streams.lua
	install -D -s -m 755 -t $(DESTDIR)$(PREFIX)/lib/lua/5.4/weir/test $(LUA_MODULE)
## make check-c     the C tests; check-fuzz: the fuzz targets over their seeds; fuzz: searching, FUZZ_SECONDS each
## make clean
clean:
	rm -rf build

-include $(shell find $(O) -name '*.d' 2>/dev/null)
