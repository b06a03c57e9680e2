# Gridbay. `make demo` shows the whole market on this machine; `make test` proves it.
PYTHON ?= python3
UV := .uv/bin/uv
BIN := .venv/bin
export UV_PYTHON_DOWNLOADS = never
UV_VERSION := 0.13.8
SOURCES := market infra scheduler billing monitoring portal_api provider_agent gridbay
NAME ?= cold_start

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-engines soak check bench fmt migrate migration lock clean

help: ## Say what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: .venv/.ready .venv-jobs/.ready ## Make both environments: the platform's, and the one jobs run in

demo: setup ## Run the main job on the whole market and print its verified receipt
	@$(BIN)/gridbay demo

up: setup ## Start the whole market on this machine (Ctrl-C stops it)
	@$(BIN)/gridbay up

test: setup ## Run every test; what failed is run once more, and named, since real processes share two cores
	@$(BIN)/python infra/ci/suite.py $(ARGS)

test-engines: setup ## Run what stands on a server on yours: every engine, the control plane (GRIDBAY_TEST_*_URL, see CONTRIBUTING)
	@GRIDBAY_REQUIRE_ENGINES=1 $(BIN)/python infra/ci/suite.py --on-servers tests/engines tests/infra tests/scheduler tests/billing \
		tests/portal_api tests/monitoring $(ARGS)

soak: setup ## Run the heavy tests at their full size
	@GRIDBAY_SOAK=1 $(BIN)/pytest --timeout 7200 $(ARGS)

check: setup ## Format, lint, types, import layers and sizes, in seconds
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --cache-dir .mypy_cache/import_linter
	@$(BIN)/python infra/ci/sizes.py

bench: setup ## Run one benchmark: make bench NAME=cold_start
	@$(BIN)/python -m benchmarks.$(NAME) $(ARGS)

fmt: setup ## Format and mend what ruff can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

migrate: setup ## Bring the database at GRIDBAY_DATABASE_URL to the newest schema
	@$(BIN)/gridbay process migrate

migration: setup ## Write a migration for the models' newest shape: make migration MESSAGE="..."
	@$(BIN)/python -m gridbay.processes.revise "$(MESSAGE)"

lock: $(UV) ## Write both lock files anew
	@$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --all-extras --group dev pyproject.toml -o requirements.lock
	@$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group jobs -o requirements-jobs.lock

clean: ## Remove both environments and every cache
	@rm -rf .venv .venv-jobs .uv .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(UV):
	@echo "setup: fetching uv into .uv"
	@$(PYTHON) -m venv .uv && .uv/bin/pip install -q --disable-pip-version-check uv==$(UV_VERSION)

.venv/.ready: requirements.lock pyproject.toml | $(UV)
	@echo "setup: the platform's environment (.venv): over 1 GB of wheels the first time"
	@test -x $(BIN)/python || $(UV) venv -q --python $(PYTHON) .venv
	@$(UV) pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install -q --python $(BIN)/python --no-deps --editable .
	@$(BIN)/python -m compileall -q $(SOURCES)
	@touch $@

.venv-jobs/.ready: requirements-jobs.lock | $(UV)
	@echo "setup: the environment of jobs (.venv-jobs): 0.3 GB of wheels the first time"
	@test -x .venv-jobs/bin/python || $(UV) venv -q --python $(PYTHON) .venv-jobs
	@$(UV) pip sync -q --compile-bytecode --python .venv-jobs/bin/python --require-hashes requirements-jobs.lock
	@touch $@
