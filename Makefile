# One command per intention. `make` alone lists them. Everything below sets up what it needs first.
.DEFAULT_GOAL := help
.PHONY: help setup run test chaos kernels-check gpu-check bench ablation lint fmt up down demo-model clean

MODEL ?= models/demo
HOST ?= 127.0.0.1
PORT ?= 8000
DEVICE ?= auto
ENGINES ?= 1
GATEWAYS ?= 1
DETOKENIZERS ?= 1
ENGINE_ARGS ?=
TLS_CERT ?=
TLS_KEY ?=
TLS_CLIENT_CA ?=
VENV ?= .venv
PIP_ARGS ?=
TIERS ?= unit model architecture kernels bus e2e browser truth gpu_check chaos
COMPOSE ?= docker compose

# REDIS_URL and SERVED_MODEL_NAME reach tools.run through the environment, so a password is on no command line of ours.
# The first of these that is Python 3.11 or newer makes the virtual environment.
PYTHON ?= $(firstword $(foreach p,python3 python3.12 python3.11 python3.13 python,$(shell \
	$(p) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(p))))
PY := $(VENV)/bin/python

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

$(VENV)/.run-stamp: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "setup: needs Python 3.11 or newer with venv (Debian: apt install python3-venv)"; exit 1; }
	@$(PYTHON) -m tools.install venv --pip-args="$(PIP_ARGS)" $(VENV) gateway engine detokenizer run
	@touch $@

$(VENV)/.dev-stamp: $(VENV)/.run-stamp
	@$(PYTHON) -m tools.install venv --pip-args="$(PIP_ARGS)" $(VENV) gateway engine detokenizer run test bench lint
	@touch $@

setup: $(VENV)/.dev-stamp ## the virtual environment with everything (run, test and lint do it by themselves)

run: $(VENV)/.run-stamp ## serve MODEL on HOST:PORT; Ctrl-C ends it
	@exec $(PY) -m tools.run --model '$(MODEL)' --host '$(HOST)' --port '$(PORT)' --device '$(DEVICE)' \
		--engines '$(ENGINES)' --gateways '$(GATEWAYS)' --detokenizers '$(DETOKENIZERS)' --engine-args='$(ENGINE_ARGS)' \
		$(if $(TLS_CERT),--tls-cert '$(TLS_CERT)') $(if $(TLS_KEY),--tls-key '$(TLS_KEY)') \
		$(if $(TLS_CLIENT_CA),--tls-client-ca '$(TLS_CLIENT_CA)')

test: $(VENV)/.dev-stamp ## every test that needs no GPU, tier by tier
	@$(PY) -m tools.system
	@$(PY) -m tools.tiers $(TIERS)

chaos: $(VENV)/.dev-stamp ## kill, pause and cut everything for 30 minutes; CHAOS_ARGS="--minutes 5 --seed 1"
	@$(PY) -m tests.chaos $(CHAOS_ARGS)

kernels-check: $(VENV)/.dev-stamp ## compile every kernel for sm_80, sm_90 and sm_100; no GPU needed
	@$(PY) -m tools.kernels_check
	@$(PY) -m tools.kernels_check.specialised

gpu-check: ## measure and prove the engine on the GPU at hand, in under 8 minutes; docs/gpu-check.md
	@$(firstword $(wildcard $(PY)) python3) -m tools.gpu_check $(GPU_CHECK_ARGS)

bench: $(VENV)/.dev-stamp ## every figure of performance in one table; BENCH_ARGS=--quick is under 6 minutes
	@$(PY) -m bench $(BENCH_ARGS)

ablation: $(VENV)/.dev-stamp ## the old ways against the new one: a table and docs/pictures/ablation.png
	@$(PY) -m bench.ablation

lint: $(VENV)/.dev-stamp ## ruff, mypy --strict, import contracts
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy --strict
	@$(VENV)/bin/lint-imports --no-logo

fmt: $(VENV)/.dev-stamp ## format, and mend what ruff can
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

.env:
	@umask 077; random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }; \
		for name in REDIS_PASSWORD REDIS_GATEWAY_PASSWORD REDIS_ENGINE_PASSWORD REDIS_DETOKENIZER_PASSWORD \
		SLUICE_INTERNAL_TOKEN; do printf '%s=%s\n' "$$name" "$$(random)"; done > $@

up: .env ## the same in containers: redis, gateway, detokenizer, engine
	$(COMPOSE) up --build --detach --wait

down: ## end the containers; volumes stay
	$(COMPOSE) down

demo-model: $(VENV)/.dev-stamp ## train models/demo again (about an hour on 2 cores)
	@$(PY) -m tools.demo_model

clean: ## remove logs, caches and the virtual environment
	rm -rf .run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache $(VENV)
