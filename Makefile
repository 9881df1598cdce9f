# Everything works from a clean checkout with Python 3.11+ and make: set-up happens in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test test-all bench lint docs clean

run: $(READY)  ## the main job: the founding paper's workload at full size
	$(BIN)/hmsim run workloads/paper-60.toml

test: $(READY)  ## the tests, but for the slow ones
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: $(READY)  ## every test
	$(BIN)/python -m pytest -n 2 --dist worksteal

bench: $(READY)  ## throughput, cost as work grows, peak memory
	$(BIN)/python scripts/bench.py

lint: $(READY)  ## style, types, and which room may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)  ## the documentation as a site, in site/
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) out site .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@
