# Every target needs no more than `make setup`; `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
export HEADRACE_DATA ?= ../shared/data

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.stamp ## make .venv from requirements.lock (PYTHON=… names the interpreter)

.venv/.stamp: requirements.lock pyproject.toml .ci/setup
	@PYTHON="$(PYTHON)" .ci/setup

demo: setup ## start headrace in ./demo, send some 30,000 events, read them back with SQL, stop
	@$(BIN)/python -m headrace.demo

up: setup ## the same as demo, and stay: the gateway goes on taking events
	@$(BIN)/python -m headrace.demo --stay

test: setup ## run the tests (real Kafka and S3 servers are started; T=path/to/test narrows)
	@$(BIN)/python -m pytest -n 2 $(T)

torture: setup ## prove the promises: everything runs, is killed, cut off, filled up, and checked (MINUTES=10, SEED=)
	@$(BIN)/python -m tests.torture --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

lint: setup ## style, format and the directions of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

format: setup ## let ruff put the style right
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: setup ## mypy --strict
	$(BIN)/mypy

bench: setup ## the one table of what is measured, beside what it is compared with (at most 80 minutes; Q=--quick: a coarse look); JSON in demo/bench.json
	@mkdir -p demo
	@$(BIN)/python -m bench $(Q) --json demo/bench.json
	@$(BIN)/python -m bench.pii

docs: setup ## make docs/steps.md and docs/destinations.md again, from the code
	@$(BIN)/python -m flows.config.reference

lock: setup ## compile requirements.lock again from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --quiet --all-extras --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements.lock

ci: ## everything a change must pass, in a clean clone as here
	@.ci/run

clean: ## remove what can be made again (.venv and caches; your data stays)
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo dist

.PHONY: help setup demo up test torture lint format types bench docs lock ci clean
