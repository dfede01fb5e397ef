# Everything a developer or a newcomer does starts here; `make help` lists it.
# State, caches and built things live in .local/, which may be deleted at any time after `make down`.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .local/venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/ready
NODES ?= 1
SEED ?= $(shell echo $$RANDOM)
MINUTES ?= 5
VMS ?= 20
TIMES ?= 1
CODE := src tests localcluster images bench scripts

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

##@ Use
.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(READY) ## a cluster (unless KUBECONFIG is set), Virtpod on it, a VM, its login prompt
	@$(PYTHON) -m scripts.demo

.PHONY: debian
debian: $(READY) ## on the cluster of `make demo`: a VM with a whole Debian (its first build takes minutes)
	@$(PYTHON) -m scripts.debian

.PHONY: cluster
cluster: $(READY) ## the embedded Kubernetes; NODES=2 for two nodes
	@$(PYTHON) -m localcluster up --nodes $(NODES)

.PHONY: install
install: $(READY) ## build the images and install Virtpod on the cluster; GUESTFS=1 for virtctl guestfs too
	@$(PYTHON) -m scripts.install

.PHONY: down
down: ## take away all that `make cluster` and `make demo` made on this machine
	@python3 -m localcluster down

##@ Check
.PHONY: test
test: $(READY) ## everything that must pass: lint, types, unit, integration, end-to-end
	@$(PYTHON) -m scripts.test

.PHONY: test-long
test-long: $(READY) ## what takes longer than a change can wait for
	@$(PYTHON) -m scripts.test --long

.PHONY: test-hostdev
test-hostdev: $(READY) ## PCI functions passed through in earnest, on an emulated node
	@$(PYTHON) -m scripts.install
	@VIRTPOD_E2E_READY=1 $(PYTHON) -m pytest -q -s tests/e2e/test_pass_through.py

.PHONY: chaos
chaos: $(READY) ## faults at random into 20 VMs on two nodes; SEED=, MINUTES=, VMS=
	@NODES=2 $(PYTHON) -m scripts.install
	@VIRTPOD_E2E_READY=1 VIRTPOD_CHAOS_SEED=$(SEED) VIRTPOD_CHAOS_MINUTES=$(MINUTES) \
	  VIRTPOD_CHAOS_VMS=$(VMS) $(PYTHON) -m pytest -q -s tests/e2e/test_chaos.py

.PHONY: fuzz
fuzz: $(READY) ## the property tests with examples of their own, TIMES= times
	@for time in $$(seq $(TIMES)); do $(PYTHON) -m pytest -q -m "hypothesis and not (guest or long)" \
	  -p no:cacheprovider --hypothesis-profile=fuzz tests || exit; done

.PHONY: quick
quick: lint types ## lint, types and the tests that need no cluster
	@$(PYTHON) -m pytest -q -m "not (cluster or e2e or images or guest or apiserver or long)"

.PHONY: lint
lint: $(READY) ## ruff and the layers between packages
	@ruff check $(CODE) && ruff format --check $(CODE) && lint-imports

.PHONY: types
types: $(READY) ## mypy --strict
	@mypy

.PHONY: golden
golden: $(READY) ## write the golden files anew; review the diff
	@$(PYTHON) -m pytest -q tests/golden tests/stories tests/why tests/replay \
		tests/node/test_network_changes.py --regenerate-golden

.PHONY: bench
bench: $(READY) ## latencies, API requests, memory; beside KubeVirt's
	@$(PYTHON) -m bench

##@ Build
.PHONY: images
images: $(READY) ## the container images
	@$(PYTHON) -m images build

.PHONY: manifests
manifests: $(READY) ## manifests/: the operator and the KubeVirt object, for kubectl apply
	@$(PYTHON) -m scripts.manifests

.PHONY: chart
chart: $(READY) ## chart/virtpod: the same as a Helm chart
	@$(PYTHON) -m scripts.chart

.PHONY: docs
docs: $(READY) ## the pages that are made from code
	@$(PYTHON) -m scripts.docs

.PHONY: wheel
wheel: $(READY) ## dist/virtpod-*.whl
	@uv build --wheel --no-build-isolation -q && ls dist/*.whl

.PHONY: lock
lock: $(READY) ## the hash-pinned requirements*.lock, from pyproject.toml
	@scripts/lock

.PHONY: format
format: $(READY) ## ruff's formatting and fixes
	@ruff check --fix -q $(CODE); ruff format -q $(CODE)

# A virtual environment with exactly what requirements-dev.lock names.
$(READY): requirements-dev.lock pyproject.toml
	@scripts/venv $(VENV)
	@touch $@
