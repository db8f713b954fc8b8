# `make` lists the targets. Everything runs in .venv, with the versions of requirements.lock.

PYTHON ?= python3.11
PYTEST_ARGS ?=
CHAOS_ARGS ?=

# One for each processor; more change nothing (3 on two of them: 10:29 where 2 took 10:32).
WORKERS ?= logical

# So that no worker is left alone with a long file at the end.
LONGEST_FIRST := $(addprefix tests/,pipeline chaos functional hostile unit)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# DVC starts the stages with the `python` and `sensibert` that it finds.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help repro test test-fast hostile chaos lint audit ui lock clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

repro: $(VENV)/.for-pipeline ## Run what is missing of the active experiment, and say where the results are
	@$(BIN)/sensibert check
	$(BIN)/python -m pipeline.warm $(BIN)/dvc repro
	$(BIN)/sensibert track
	@$(BIN)/sensibert show

test: $(VENV)/.for-development ## Run the whole test suite; PYTEST_ARGS chooses, such as PYTEST_ARGS='-k slim'
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(LONGEST_FIRST) $(PYTEST_ARGS)

test-fast: $(VENV)/.for-development ## Run tests/unit alone: pure, in about a minute
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) tests/unit $(PYTEST_ARGS)

hostile: $(VENV)/.for-development ## Run tests/hostile in its long form: every case with every command, many random ones
	OMP_NUM_THREADS=1 SENSIBERT_HOSTILE=long $(BIN)/pytest -n $(WORKERS) tests/hostile $(PYTEST_ARGS)

chaos: $(VENV)/.for-development ## Kill, starve and double every command, for most of an hour; CHAOS_ARGS='--kills 20 --only track'
	PYTHONPATH=tests $(BIN)/python -m chaos $(CHAOS_ARGS)

lint: $(VENV)/.for-development ## Check style, formatting, the direction of imports, and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy

audit: ## Look up known vulnerabilities of requirements.lock; skipped, with the reason, where that cannot be reached
	@$(PYTHON) tools/audit.py

ui: $(VENV)/.for-pipeline ## Serve the MLflow UI, and print the link to the table; with MLFLOW_TRACKING_URI set, the link alone
	$(BIN)/sensibert track
	@test -n "$$MLFLOW_TRACKING_URI" || $(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db --workers 1

lock: ## Write requirements.lock anew; what it pins stays, so delete the lines of what shall be upgraded
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip --disable-pip-version-check install --constraint requirements.lock --editable '.[dev]'
	(sed -n '/^#/p' requirements.lock; build/lock/bin/python -m pip freeze --all --exclude pip --exclude-editable | sed 's/+.*//') > build/new.lock
	mv build/new.lock requirements.lock

clean: ## Remove .venv and the caches of the tools; data and results stay
	rm -rf $(VENV) build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src pipeline tests studies benchmarks -name __pycache__ -type d -exec rm -rf {} +

# A stamp is newer than what it was made from exactly when the environment is up to date.
$(VENV)/.for-pipeline: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint requirements.lock --editable '.[pipeline]'
	touch $@

$(VENV)/.for-development: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint requirements.lock --editable '.[dev]'
	touch $@ $(VENV)/.for-pipeline
