# Everything a newcomer needs: `make demo` and `make test`. Both set up their own virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One more than cores: tests wait for servers and other processes part of their time.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
COUNT ?= 1000000

# Tests and benchmarks start hundreds of processes; each would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test slow torch survive fuzz bench bench-large lint format types contracts coverage docs docs-check clean

help:            ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(MAKEFILE_LIST) | column -t -s:

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "sgdb needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.developed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed     ## take small made-up pickles all the way through
	$(BIN)/sgdb demo

test: $(VENV)/.developed     ## run the tests on the embedded PostgreSQL, or on SGDB_TEST_DATABASE_URL
	$(BIN)/pytest -n $(WORKERS) $(ARGS)

slow: $(VENV)/.developed     ## crowds, kills, bombs, the demo, the wheel where no checkout is, a Ray cluster
	$(BIN)/pytest -m 'slow and not survival' -n $(WORKERS) --dist worksteal $(ARGS)

torch: $(VENV)/.developed    ## the documentation's example with PyTorch, which is installed for it (1 GB)
	$(BIN)/python -m pip install --quiet torch numpy
	$(BIN)/pytest tests/test_docs.py -k torch $(ARGS)

survive: $(VENV)/.developed  ## kill commands and servers hundreds of times (SGDB_SURVIVAL_ROUNDS=... times each)
	$(BIN)/pytest -m survival -n $(WORKERS) --dist worksteal $(ARGS)

fuzz: $(VENV)/.developed     ## read a million mutated files (COUNT=...); ARGS="--seed N" for the same ones again
	$(BIN)/python -m tests.hostile.fuzz --count $(COUNT) $(ARGS)

bench: $(VENV)/.installed    ## measure against the fastest by hand, a few minutes; ARGS="NAME..." for some of it
	$(BIN)/python -m benchmarks $(ARGS)

bench-large: $(VENV)/.installed ## the same with a million games: half an hour, 10 GB of disk
	$(BIN)/python -m benchmarks --large $(ARGS)

lint: $(VENV)/.developed     ## style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.developed   ## put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.developed    ## mypy, strict
	$(BIN)/mypy

contracts: $(VENV)/.developed ## who may import whom
	$(BIN)/lint-imports

coverage: $(VENV)/.developed ## report on the last `make test ARGS="--cov --cov-report="`
	$(BIN)/coverage report

docs: $(VENV)/.developed     ## write the generated pages and the examples' output anew
	$(BIN)/python docs/generate.py

docs-check: $(VENV)/.developed ## fail when a generated page or an example is stale
	$(BIN)/python docs/generate.py --check

clean:           ## remove what the targets made
	rm -rf $(VENV) .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache benchmarks/results dist
