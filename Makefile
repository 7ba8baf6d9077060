# Dubline: the targets that a person needs. `make` alone lists them.
# Plain POSIX sh and make; nothing needs root, Docker, a GPU or a model hub.

VENV ?= .venv
PYTHON ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.locked
PYTEST_ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.PHONY: help setup models demo up test chaos coqui lint audit bench doctor schemas lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## make the Python environment from the lock file

$(STAMP): requirements.lock pyproject.toml scripts/make-venv
	@VENV="$(VENV)" PYTHON="$(PYTHON)" sh scripts/make-venv
	@touch $@

models: setup ## fetch and verify the default models (about 300 MB, once)
	@$(BIN)/dubline models fetch

demo: setup ## dub the bundled sample from English into Portuguese
	@$(BIN)/dubline demo

up: models ## run the whole system on http://127.0.0.1:8000 until Ctrl-C
	@$(BIN)/dubline up

test: models ## run every test
	@VENV="$(VENV)" sh scripts/test-tools
	@$(BIN)/python -m pytest --numprocesses=2 --no-loadscope-reorder $(PYTEST_ARGS)

chaos: models ## shoot at real processes for 7 minutes: 200 faults, then proof (docs/chaos.md)
	@CHAOS_SECONDS="$${CHAOS_SECONDS:-420}" CHAOS_FAULTS="$${CHAOS_FAULTS:-200}" \
	  $(BIN)/python -m pytest tests/chaos/test_chaos.py --durations=0 $(PYTEST_ARGS)

coqui: ## run the tests of the optional Coqui engine in an environment of its own (about 8 GB)
	@VENV=.venv-coqui LOCK=requirements-coqui.lock sh scripts/make-venv
	@.venv-coqui/bin/python -m pytest tests/integration/engines/test_coqui.py

lint: setup ## check format, style, types, imports and the house rules
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/check_tree.py

audit: setup ## compare the locked packages with known weaknesses; needs the network (docs/security.md)
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements-runtime.lock \
	  $$(sed -n 's/^[A-Z][A-Z0-9-]*$$/--ignore-vuln &/p' deploy/audit-ignore.txt)

bench: models ## measure, print a table, write build/bench.json
	@$(BIN)/python -m benchmarks

doctor: setup ## say what is usable here, what is missing, and what to do
	@$(BIN)/dubline doctor

schemas: setup ## publish the schemas of events and files anew; refuses a breaking change
	@$(BIN)/python -m shared.events.schemas docs

lock: setup ## resolve the requirements anew and write the lock files
	@VENV="$(VENV)" sh scripts/lock

clean: ## remove the environment, build output and caches; data and models stay
	rm -rf "$(VENV)" .venv-coqui build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
