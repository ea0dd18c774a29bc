# Five verbs. The first use of any makes .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test serve check bench

demo: $(VENV)/installed
	$(BIN)/python -m pipelines.demo $(if $(ONESHOT),--oneshot)

test: $(VENV)/installed
	$(BIN)/python -m pytest

serve: $(VENV)/installed
	$(BIN)/winnow serve

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/bench
	$(BIN)/python -m tests.benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(WHOLE),--whole)

$(VENV)/bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	touch $@

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "torch>=2.11,<2.14"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@
