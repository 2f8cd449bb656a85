# Every target works from a clean clone: it makes .venv if it is missing and installs only what that target needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Idle OpenMP threads that spin make small operations many times slower.
export OMP_WAIT_POLICY ?= passive
# One thread for each test process; the demo chooses its own number.
test lint docs pictures fuzz bench: export OMP_NUM_THREADS = 1
# The theme announces its end of life at every build; docs/ uses no plugin that would tie us to it.
docs: export NO_MKDOCS_2_WARNING = 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test lint docs pictures fuzz bench clean

help: ## list the targets
	@sed -n 's/^\([a-z][a-z]*\):[^#]*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-14s%s\n", $$1, $$2}'

demo: $(VENV)/.demo ## search and evaluate a small architecture, start to end, without a download of data
	$(BIN)/mlo-nas demo

test: lint $(VENV)/.test ## lint, types and all tests: what continuous integration runs
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=10

lint: $(VENV)/.test ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/mypy

docs: $(VENV)/.docs ## build the documentation into site/
	$(BIN)/mkdocs build --strict

pictures: $(VENV)/.demo ## draw the figures of the documentation again; some minutes
	$(BIN)/python docs/draw/overview.py
	$(BIN)/python docs/draw/plots.py
	$(BIN)/python docs/draw/cell.py
	$(BIN)/python docs/draw/hypergradients.py
	$(BIN)/python -m examples.figures

fuzz: $(VENV)/.test ## 20,000 random inputs: each gives a result or one line that says what is wrong; an hour or less
	MLO_FUZZ=20000 $(BIN)/python -m pytest -n 0 --timeout=0 tests/fuzz

bench: $(VENV)/.demo ## count and time hypergradients, supernets and steps; fails where a count got worse
	$(BIN)/python -m benchmarks.bench

clean: ## remove the environment, the caches and site/ (results of runs stay)
	rm -rf $(VENV) site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of extras, renewed when the declared dependencies change.
$(VENV)/.demo: EXTRAS = nas,viz
$(VENV)/.test: EXTRAS = test,lint,docs
$(VENV)/.docs: EXTRAS = docs
$(VENV)/.demo $(VENV)/.test $(VENV)/.docs: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing [$(EXTRAS)] into $(VENV); the first time this takes a few minutes."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "'$(PYTHON)' is not a Python of at least 3.11; name one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@
