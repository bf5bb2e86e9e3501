# make demo, make test: each makes its own virtual environment first; nothing needs to be set.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH := $(VENV)/.bench

.PHONY: demo example test test-large law lint check bench bench-rebuild bench-adopt diagram clean

demo: $(INSTALLED)
	$(BIN)/python -m demo
	$(BIN)/python -m example --show

# The same application, to be looked at in a browser.
example: $(INSTALLED)
	$(BIN)/python -m example

test: $(INSTALLED)
	$(BIN)/python -m pytest

# 200,000 rows a table, processes that are killed, the command line: what takes long.
test-large: $(INSTALLED)
	$(BIN)/python -m pytest -m large

# The same machine that `make test` runs for some seconds, for some minutes.
law: $(INSTALLED)
	LAW=big $(BIN)/python -m pytest tests/integration/test_law.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.lint_migrations

check: lint test test-large

# The store beside raw asyncpg, plain Tortoise and the SQLAlchemy layer that it replaces: some minutes.
bench: $(BENCH)
	$(BIN)/python -m benchmarks

bench-rebuild: $(INSTALLED)
	$(BIN)/python -m benchmarks.rebuild

# How long the adoption of a legacy database takes, and how much disk: ARGS='--projections 1000000' for a large one.
bench-adopt: $(INSTALLED)
	$(BIN)/python -m benchmarks.adoption $(ARGS)

# The entity diagram of docs/data-model.md, from the migrations.
diagram: $(INSTALLED)
	$(BIN)/python -m tests.docs.diagram --write

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# What only the comparison needs; the tests run without it.
$(BENCH): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) .demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
