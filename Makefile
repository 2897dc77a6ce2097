# Builds, checks and installs migref; everything that is made goes under build/.
#
#   make                the program and the libraries
#   make demo           the main job on real recordings
#   make check          every test in every variant, and a short run of each fuzz target
#   make unit           only the unit tests, in the variant at hand
#   make uffd-campaign  200 migrations on real memory behind userfaultfd, each replayed
#   make tsan           what has threads, under ThreadSanitizer
#   make swarm          10,000 simulated migrations, each drawn from a seed of its own
#   make bench          the benchmarks; bench-instructions counts instructions for each decoder, and compares
#   make fuzz           the fuzz targets; fuzz-brief runs each for FUZZ_SECONDS, fuzz-afl-brief with AFL++
#   make coverage       how much of ref/ the tests reach
#   make tidy, format, format-check, install, clean
#
# Variants, each with objects of its own: CC=clang, SANITIZE=address,undefined, COVERAGE=1.
# V=1 shows the commands.

VERSION = 0.1.0
SOVERSION = 0

ifeq ($(origin CC),default)
CC := gcc
endif

BUILD = build
PREFIX = /usr/local
BINDIR = $(PREFIX)/bin
LIBDIR = $(PREFIX)/lib
INCLUDEDIR = $(PREFIX)/include
MANDIR = $(PREFIX)/share/man
FUZZ_SECONDS = 10
CHECK_FUZZ_SECONDS = 5
AFL_SECONDS = 30

comma := ,
variant := $(subst $(comma),-,$(notdir $(firstword $(CC)))$(addprefix -,$(SANITIZE)))
variant := $(variant)$(if $(COVERAGE),-coverage)$(if $(FUZZ),-fuzz)
OUT := $(if $(filter gcc,$(variant)),$(BUILD),$(BUILD)/variants/$(variant))

# ---- flags

CFLAGS = $(if $(COVERAGE),-O0,$(if $(FUZZ)$(findstring afl,$(CC)),-O2,$(if $(SANITIZE),-O1,-O2))) -g
warnings := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
# For speed: telling libFuzzer of each comparison costs half of all executions, and the dictionaries have the constants;
# undefined behaviour traps without a message, which the same input has from the regression binary.
fuzz_instrument := -fsanitize=fuzzer-no-link -fno-sanitize-coverage=trace-cmp,indirect-calls \
	-fsanitize-coverage-ignorelist=fuzz/uninstrumented.txt -fsanitize-trap=undefined
instrument := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all \
	-fno-omit-frame-pointer) $(if $(COVERAGE),--coverage) $(if $(FUZZ),$(fuzz_instrument))
base_flags = -std=c11 -fPIC -fno-semantic-interposition $(warnings) $(instrument) -I. -Iref $(CPPFLAGS) $(CFLAGS)

# The reference may use nothing but the language and its library; only sim/ and tests have a system.
world_flags = $(base_flags) -D_GNU_SOURCE

# Asked only inside recipes, since pkg-config may not be there before the packages step has run.
pkg = $(shell pkg-config $(1))
ref_packages := jansson zlib libzstd
world_packages := $(ref_packages) libcrypto liblzma inih
ref_pkg_cflags = $(eval ref_pkg_cflags := $(call pkg,--cflags $(ref_packages)))$(ref_pkg_cflags)
ref_pkg_libs = $(eval ref_pkg_libs := $(call pkg,--libs $(ref_packages)))$(ref_pkg_libs)
pkg_cflags = $(eval pkg_cflags := $(call pkg,--cflags $(world_packages)))$(pkg_cflags)
# bzip2 has no pkg-config file.
pkg_libs = $(eval pkg_libs := $(call pkg,--libs $(world_packages)) -lbz2)$(pkg_libs)
test_libs = $(eval test_libs := $(call pkg,--libs cmocka))$(test_libs)

# ---- sources

c_files = $(sort $(shell find $(wildcard $(1)) -name '*.c' 2>/dev/null </dev/null))
ifeq ($(wildcard ref),)
$(error ref/ is missing: run make in the top directory of migref)
endif

ref_sources := $(call c_files,ref)
world_dirs := $(wildcard sim/record sim/world sim/host)
world_sources := $(if $(world_dirs),$(call c_files,$(world_dirs))) $(wildcard sim/guest/*.c)
guest_sources := $(wildcard sim/guest/boot/*.c)
cli_sources := $(wildcard sim/cli/*.c)
unit_sources := $(wildcard tests/unit/test_*.c)
unit_support_sources := $(filter-out $(unit_sources),$(wildcard tests/unit/*.c))
bench_sources := $(wildcard tests/bench/bench_*.c)
fuzz_sources := $(wildcard fuzz/fuzz_*.c)
fuzz_support_sources := $(wildcard fuzz/options.c)
fuzz_driver_sources := $(wildcard fuzz/afl_driver.c fuzz/regress.c)
bench_scripts := $(wildcard tests/bench/bench_*.sh)
shell_tests := $(wildcard tests/replay/*.sh tests/cli/*.sh tests/spec/*.sh)

all_c := $(ref_sources) $(world_sources) $(guest_sources) $(cli_sources) $(unit_sources) $(unit_support_sources) \
	$(bench_sources) $(fuzz_sources) $(fuzz_support_sources) $(fuzz_driver_sources)
all_h := $(sort $(shell find ref $(wildcard sim tests fuzz) -name '*.h'))
tables := $(wildcard ref/*.def ref/*/*.def sim/*/*.def)

objects = $(patsubst %.c,$(OUT)/obj/%.o,$(1))

library := $(OUT)/libmigref.a
shared := $(OUT)/libmigref.so.$(SOVERSION)
world := $(OUT)/libworld.a
program := $(OUT)/migref
unit_programs := $(patsubst tests/unit/%.c,$(OUT)/tests/%,$(unit_sources))
bench_programs := $(patsubst tests/bench/%.c,$(OUT)/bench/%,$(bench_sources))
# Those that only serve scripts print no figures of their own.
bench_measures := $(filter-out %/bench_instructions %/bench_records %/bench_stream,$(bench_programs))
fuzz_programs := $(patsubst fuzz/%.c,$(OUT)/fuzz/%,$(fuzz_sources))
regress_programs := $(patsubst fuzz/fuzz_%.c,$(OUT)/fuzz/regress_%,$(fuzz_sources))
afl_programs := $(patsubst fuzz/fuzz_%.c,$(OUT)/fuzz/afl_%,$(fuzz_sources))

# V=1 shows each command, otherwise one short line stands for it.
say = $(if $(V),,@echo '  $(1) $@')
Q := $(if $(V),,@)

# Objects are kept, although make itself takes those of the tests for intermediate.
.SECONDARY:

# ---- the program and the libraries

.PHONY: all
all: $(program) $(library) $(OUT)/libmigref.so

$(OUT)/obj/ref/%.o: ref/%.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(base_flags) $(ref_pkg_cflags) -MMD -MP -c -o $@ $<

$(OUT)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(world_flags) $(pkg_cflags) -MMD -MP -c -o $@ $<

# An archive keeps the members of deleted sources, so each is made anew; the list of members is a
# prerequisite, so that a deleted source is noticed at all.
define archive
$(call say,AR)
@mkdir -p $(@D)
@rm -f $@
$(Q)$(AR) rcs $@ $(filter %.o,$^)
endef

$(library): $(call objects,$(ref_sources)) $(OUT)/obj/ref.list
	$(archive)

$(world): $(call objects,$(world_sources)) $(OUT)/guest/image.o $(OUT)/obj/world.list
	$(archive)

$(OUT)/obj/ref.list: members = $(ref_sources)
$(OUT)/obj/world.list: members = $(world_sources)
$(OUT)/obj/%.list: force
	@mkdir -p $(@D)
	@echo '$(members)' | cmp -s - $@ || echo '$(members)' >$@

.PHONY: force
force:

$(shared): $(call objects,$(ref_sources)) $(OUT)/obj/ref.list
	$(call say,LD)
	$(Q)$(CC) $(instrument) -shared -Wl,-soname,$(@F) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ref_pkg_libs)

$(OUT)/libmigref.so: $(shared)
	@ln -sf $(<F) $@

$(program): $(call objects,$(cli_sources)) $(world) $(library)
	$(call say,LD)
	$(Q)$(CC) $(instrument) $(LDFLAGS) -o $@ $^ $(pkg_libs) -lpthread

-include $(patsubst %.o,%.d,$(call objects,$(all_c)))

# ---- the test guest

# Freestanding x86-64, whatever the variant; a host of another kind gets an empty image unless it names a compiler.
GUEST_CC = $(if $(filter x86_64,$(shell uname -m)),$(CC))
guest_flags := -std=c11 -m64 -O2 -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none \
	-fno-asynchronous-unwind-tables -mgeneral-regs-only -mno-red-zone $(warnings) -I.
guest_parts := sim/guest/boot/start.S sim/guest/boot/guest.c sim/guest/parameters.c sim/world/content.c sim/world/pattern.c

$(OUT)/guest/%.o: % Makefile
	@mkdir -p $(@D)
	$(call say,GUEST)
	$(Q)$(GUEST_CC) $(guest_flags) -MMD -MP -c -o $@ $<

$(OUT)/guest.img: $(guest_parts:%=$(OUT)/guest/%.o) sim/guest/boot/image.ld
	$(call say,LD)
	$(Q)$(GUEST_CC) -m64 -nostdlib -static -Wl,-T,sim/guest/boot/image.ld,--oformat,binary,--build-id=none -o $@ $(filter %.o,$^)

$(OUT)/guest/image.c: $(if $(GUEST_CC),$(OUT)/guest.img)
	@mkdir -p $(@D)
	$(Q){ echo '#include "sim/guest/predict.h"'; echo 'const uint8_t mr_guest_image[MR_GUEST_IMAGE_SIZE] = {'; \
		$(if $<,od -An -v -tu1 $< | sed 's/[0-9][0-9]*/&$(comma)/g',echo 0); echo '};'; } >$@

$(OUT)/guest/image.o: $(OUT)/guest/image.c Makefile
	$(Q)$(CC) $(world_flags) -MMD -MP -c -o $@ $<

-include $(guest_parts:%=$(OUT)/guest/%.d) $(OUT)/guest/image.d

# ---- tests

.PHONY: tests unit check check-built demo demo-built bench packages-build packages-check

# What `make check` needs from one variant.
tests: $(unit_programs) $(program) $(if $(SANITIZE),$(regress_programs))

$(OUT)/tests/%: $(OUT)/obj/tests/unit/%.o $(call objects,$(unit_support_sources)) \
		$(world) $(library)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(instrument) $(LDFLAGS) -o $@ $^ $(test_libs) $(pkg_libs) -lpthread

# Scripts get absolute names of the program and its directory, so that they may go elsewhere.
test_environment = BUILD='$(BUILD)' CC='$(CC)' MIGREF='$(abspath $(program))' \
	BUILD_DIR='$(abspath $(OUT))'

unit: tests
	@$(test_environment) tests/run.sh $(unit_programs:%=unit:$(variant):%)

packages-build:
	@tools/packages.sh build

packages-check:
	@tools/packages.sh check

# The packages may install the tools that make itself asks for, hence a make of its own afterwards.
# Without a -j from the user, every processor is used.
submake = $(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

demo: packages-build
	+@$(submake) demo-built

demo-built: all
	@$(test_environment) tools/demo.sh

check: packages-check
	+@$(submake) CC=gcc SANITIZE= COVERAGE= FUZZ= check-built

sanitizers := address,undefined
variant_programs = $(unit_sources:tests/unit/%.c=unit:$(1):$(BUILD)/variants/$(1)/tests/%)
check_words = $(unit_programs:%=unit:gcc:%) $(unit_programs:%=valgrind:valgrind:%) \
	$(call variant_programs,gcc-address-undefined) $(call variant_programs,clang-address-undefined) $(shell_tests:%=shell:shell:%) \
	$(call regress_words,gcc-address-undefined) $(call regress_words,clang-address-undefined) \
	$(fuzz_sources:fuzz/%.c=fuzz:fuzz:$(fuzz_out)/%)
regress_words = $(fuzz_sources:fuzz/fuzz_%.c=regress:$(1):$(BUILD)/variants/$(1)/fuzz/regress_%)

check-built: all tests
	+@$(submake) CC=gcc SANITIZE=$(sanitizers) tests
	+@$(submake) CC=clang all
	+@$(submake) CC=clang SANITIZE=$(sanitizers) tests
	+@$(submake) fuzz
	@$(test_environment) FUZZ_SECONDS=$(CHECK_FUZZ_SECONDS) tests/run.sh $(check_words)

# ---- simulation

.PHONY: swarm
SWARM_SEEDS = 1..10000

# A line for each seed is kept; what fails and the sums are shown.
swarm: all
	@status=0; $(program) sim --seeds $(SWARM_SEEDS) --failures '$(OUT)/swarm' >'$(OUT)/swarm.txt' || status=$$?; \
		sed -n '/^  [A-Za-z]/p; /^[0-9]* runs/,$$p' '$(OUT)/swarm.txt'; exit $$status

# ---- real memory

.PHONY: uffd-campaign tsan tsan-built
UFFD_SEEDS = 1 200

uffd-campaign: all
	@$(test_environment) KEEP='$(abspath $(OUT)/uffd)' tools/uffd-campaign.sh $(UFFD_SEEDS)

tsan:
	+@$(submake) CC=clang SANITIZE=thread tsan-built

tsan_programs = $(patsubst tests/unit/%.c,$(OUT)/tests/%,$(wildcard tests/unit/test_host_*.c))

tsan-built: all $(tsan_programs)
	@$(test_environment) SANITIZED=1 tests/run.sh $(tsan_programs:%=unit:clang-thread:%) shell:clang-thread:tests/cli/uffd.sh

# ---- real QEMU

.PHONY: interop

# Every mode, both ways, under each accelerator of the host: what docs/interop.md shows.
interop: all
	@$(program) interop --markdown docs/interop.md

.PHONY: record-campaign
TIMES = 10

# Real QEMU by every preset, each recording replayed: what docs/recording.md shows.
record-campaign: all
	@$(test_environment) KEEP='$(abspath $(OUT)/recorded)' TABLE=docs/recording.md tools/record-campaign.sh $(TIMES)

# ---- benchmarks

$(OUT)/bench/%: $(OUT)/obj/tests/bench/%.o $(world) $(library)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(instrument) $(LDFLAGS) -o $@ $^ $(pkg_libs) -lpthread

bench: all $(bench_programs)
	@set -e; for bench in $(bench_measures) $(bench_scripts); do \
		echo "== $$bench"; $(test_environment) $$bench; done

# The counts are of one compiler and its flags. UPDATE=1 keeps those of today.
.PHONY: bench-instructions
bench-instructions:
	+@$(submake) CC=gcc SANITIZE= COVERAGE= FUZZ= $(bench_programs)
	@$(test_environment) CC=gcc BUILD_DIR='$(abspath $(BUILD))' UPDATE='$(UPDATE)' tests/bench/instructions.sh

# ---- fuzzing

.PHONY: fuzz fuzz-brief fuzz-targets fuzz-afl fuzz-afl-targets fuzz-afl-brief
fuzz_out := $(BUILD)/variants/clang-$(subst $(comma),-,$(sanitizers))-fuzz/fuzz

fuzz:
	+@$(submake) CC=clang SANITIZE=$(sanitizers) FUZZ=1 fuzz-targets

fuzz-targets: $(fuzz_programs)

$(OUT)/fuzz/%: $(OUT)/obj/fuzz/%.o $(call objects,$(fuzz_support_sources)) $(library)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(instrument) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(ref_pkg_libs)

# The corpora without a fuzzer, under any compiler.
$(OUT)/fuzz/regress_%: $(OUT)/obj/fuzz/fuzz_%.o $(OUT)/obj/fuzz/regress.o $(call objects,$(fuzz_support_sources)) \
		$(library)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(instrument) $(LDFLAGS) -o $@ $^ $(ref_pkg_libs)

# AFL++ instruments by its compiler, so the targets are the same sources with another driver.
fuzz-afl:
	@command -v afl-clang-fast >/dev/null || { echo 'fuzz-afl: needs the Debian package afl++' >&2; exit 1; }
	+@AFL_QUIET=1 $(submake) CC=afl-clang-fast SANITIZE=$(sanitizers) fuzz-afl-targets

fuzz-afl-targets: $(afl_programs)

$(OUT)/fuzz/afl_%: $(OUT)/obj/fuzz/fuzz_%.o $(OUT)/obj/fuzz/afl_driver.o $(call objects,$(fuzz_support_sources)) \
		$(library)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(instrument) $(LDFLAGS) -o $@ $^ $(ref_pkg_libs)

fuzz-afl-brief: fuzz-afl
	@tools/fuzz-seeds.sh $(BUILD)/fuzz/seeds >/dev/null
	@$(test_environment) AFL_SECONDS=$(AFL_SECONDS) \
		tests/run.sh $(fuzz_sources:fuzz/fuzz_%.c=afl:afl:$(afl_out)/afl_%)
afl_out := $(BUILD)/variants/afl-clang-fast-$(subst $(comma),-,$(sanitizers))/fuzz

fuzz-brief: fuzz
	@$(test_environment) FUZZ_SECONDS=$(FUZZ_SECONDS) \
		tests/run.sh $(fuzz_sources:fuzz/%.c=fuzz:fuzz:$(fuzz_out)/%)

# ---- coverage and style

.PHONY: coverage coverage-built tidy format format-check

coverage:
	+@$(submake) CC=gcc SANITIZE= COVERAGE=1 coverage-built

coverage-built: all tests
	find $(OUT) -name '*.gcda' -delete
	@$(test_environment) tests/run.sh $(unit_programs:%=unit:coverage:%) $(shell_tests:%=shell:shell:%)
	lcov -q --rc lcov_branch_coverage=1 --capture --directory $(OUT)/obj/ref \
		--base-directory . --no-external -o $(OUT)/ref.info
	lcov --rc lcov_branch_coverage=1 --list $(OUT)/ref.info

# No compiler database: the flags of a file follow from the directory it stands in.
# The driver for AFL++ has a meaning only for AFL++'s compiler.
tidy: $(patsubst %,$(BUILD)/tidy/%.done,$(filter-out fuzz/afl_driver.c,$(all_c)))

$(BUILD)/tidy/ref/%.done: ref/% $(all_h) $(tables) .clang-tidy
	@mkdir -p $(@D)
	$(call say,TIDY)
	$(Q)clang-tidy --quiet $< -- -std=c11 -I. -Iref $(ref_pkg_cflags) \
		2>$@.log || { cat $@.log; false; }
	@touch $@

$(BUILD)/tidy/%.done: % $(all_h) $(tables) .clang-tidy
	@mkdir -p $(@D)
	$(call say,TIDY)
	$(Q)clang-tidy --quiet $< -- -std=c11 -I. -Iref -D_GNU_SOURCE $(pkg_cflags) \
		2>$@.log || { cat $@.log; false; }
	@touch $@

format:
	clang-format -i $(all_c) $(all_h)

format-check:
	clang-format --dry-run -Werror $(all_c) $(all_h)

# ---- installation

.PHONY: install clean

# A header is installed as one file, with the tables that it includes put in their places: migref.h, the others below it.
public_headers := migref.h $(patsubst ref/%,migref/%,$(filter-out ref/migref.h,$(wildcard ref/*.h)))
inline_tables = /^ *\# *include "[^"]*\.def"/ { split($$0, part, "\""); table = "ref/" part[2]; \
	while ((getline line <table) > 0) print line; close(table); next } { print }

install: all
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(INCLUDEDIR)/migref' \
		'$(DESTDIR)$(MANDIR)/man1' '$(DESTDIR)$(MANDIR)/man5'
	install -m 755 $(program) '$(DESTDIR)$(BINDIR)/migref'
	install -m 644 $(library) $(shared) '$(DESTDIR)$(LIBDIR)'
	ln -sf $(notdir $(shared)) '$(DESTDIR)$(LIBDIR)/libmigref.so'
	set -e; for header in $(public_headers); do \
		target='$(DESTDIR)$(INCLUDEDIR)'/$$header; \
		awk '$(inline_tables)' ref/$${header##*/} >"$$target"; chmod 644 "$$target"; done
	install -m 644 docs/migref.1 '$(DESTDIR)$(MANDIR)/man1'
	install -m 644 docs/migref-scenario.5 '$(DESTDIR)$(MANDIR)/man5'
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
		-e 's|@VERSION@|$(VERSION)|' -e 's|@PACKAGES@|$(ref_packages)|' migref.pc.in \
		>'$(DESTDIR)$(LIBDIR)/pkgconfig/migref.pc'

clean:
	rm -rf $(BUILD)
