# Each target makes the virtual environment that it needs; nothing has to be set. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH := $(VENV)/.bench
# The releases that all get, until `make constraints` takes newer ones. Empty: the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

# A worker for each core, each with servers of its own and with whole files, in the order of tests/conftest.py.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

.PHONY: help demo example test test-large test-running test-lowest test-newest law lint check coverage \
	bench bench-scale bench-rebuild bench-adopt diagram constraints clean

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' Makefile | expand -t 15

demo: $(INSTALLED)  ## a working day of four researchers, then a web application that is disturbed
	$(BIN)/python -m demo
	$(BIN)/python -m example --show

example: $(INSTALLED)  ## the application of example/ on embedded servers, to be looked at in a browser
	$(BIN)/python -m example

test: $(INSTALLED)  ## the tests, on embedded servers or on those of DATABASE_URL and REDIS_URL
	$(BIN)/python -m pytest $(PARALLEL)

# Then what talks to a store once more, on databases that were adopted.
test-large: $(INSTALLED)  ## what takes longer: 200,000 rows a table, processes that are killed, the command line
	$(BIN)/python -m pytest $(PARALLEL) -m large
	$(BIN)/python -m pytest $(PARALLEL) --adopted tests/integration

RUNNING := postgresql://postgres@127.0.0.1:5432/postgres
RUNNING_LOG := redis://127.0.0.1:6379/0

test-running: $(INSTALLED)  ## on running servers, where there are some: each row is compared with its log
	@if $(BIN)/python -m tests.support.reachable $(RUNNING); then \
		if $(BIN)/python -m tests.support.reachable $(RUNNING_LOG); then export REDIS_URL=$(RUNNING_LOG); fi; \
		DATABASE_URL=$(RUNNING) $(BIN)/python -m pytest $(PARALLEL) --with-log tests/integration tests/migration; \
	fi

law: $(INSTALLED)  ## for some minutes, random calls in search of a row that is not what its log says
	LAW=big $(BIN)/python -m pytest tests/integration/test_law.py

LOWEST := .venv-lowest

test-lowest: $(LOWEST)/.installed  ## on the lowest versions of all direct dependencies
	$(LOWEST)/bin/python -m pytest $(PARALLEL)

# On the newest supported Python of this machine, where that is newer than $(PYTHON). A machine without Python 3.14 can
# have it in a directory, as root: debootstrap --include=python3.14-venv,make sid DIRECTORY; then a copy of this
# repository in there, and with chroot DIRECTORY: make test PYTHON=python3.14
test-newest:  ## on the newest supported Python of this machine and the newest dependencies
	@newest="$$($(PYTHON) -m tests.versions newest)"; \
	if [ -n "$$newest" ]; then $(MAKE) test VENV=".venv-$${newest##*/}" PYTHON="$$newest" CONSTRAINTS=; \
	else echo "No supported Python here is newer than $$($(PYTHON) -V), on which make test runs: nothing to run."; fi

lint: $(INSTALLED)  ## ruff, mypy --strict, pyright, the migration linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.lint_migrations
	$(BIN)/python -m tests.docs.typed

check: lint test test-large test-running test-lowest test-newest  ## all of these: what CI runs

# For people: no figure fails it.
coverage: $(INSTALLED)  ## what `make test` runs of the package, in percent and by line
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term

# This one and the next write docs/performance.md and its charts.
bench: $(BENCH)  ## beside raw asyncpg, plain Tortoise and the SQLAlchemy layer that it replaces: six minutes
	$(BIN)/python -m benchmarks --markdown docs/performance.md --chart docs/charts/ratios.svg

bench-scale: $(BENCH)  ## the same calls while the tables grow from a thousand rows to a million: fifteen minutes
	$(BIN)/python -m benchmarks.scale --markdown docs/performance.md --charts docs/charts

bench-rebuild: $(INSTALLED)  ## how fast rows are rebuilt, beside the time that reading the logs takes
	$(BIN)/python -m benchmarks.rebuild

# ARGS='--projections 1000000' for a large database.
bench-adopt: $(INSTALLED)  ## how long the adoption of a database of the SQLAlchemy layer takes, and how much disk
	$(BIN)/python -m benchmarks.adoption $(ARGS)

diagram: $(INSTALLED)  ## draw the entity diagram of docs/data-model.md, from the migrations
	$(BIN)/python -m tests.docs.diagram

# With the lowest supported Python, on which all of these releases have to run.
constraints:  ## take the newest releases that pyproject.toml allows into constraints.txt
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python $(PIP_INSTALL) '.[bench]'
	.venv-newest/bin/python -m pip freeze --exclude veupath-store > constraints.txt

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) $(CONSTRAINTS:%=--constraint %) --editable '.[dev]'
	touch $@

$(LOWEST)/.installed: pyproject.toml tests/versions.py
	$(PYTHON) -m venv --clear $(LOWEST)
	$(PYTHON) -m tests.versions lowest > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python $(PIP_INSTALL) --editable . -r $(LOWEST)/lowest.txt
	touch $@

# What only the comparison needs; the tests run without it.
$(BENCH): $(INSTALLED)
	$(BIN)/python $(PIP_INSTALL) $(CONSTRAINTS:%=--constraint %) --editable '.[bench]'
	touch $@

clean:  ## remove what these targets made
	rm -rf $(VENV) .venv-* .demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
