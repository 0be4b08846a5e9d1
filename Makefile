# What a newcomer types: `make demo`, `make test`. Everything goes into .venv; nothing else is touched.

PYTHON ?= python3
INPUT ?=
BIN := .venv/bin
STAMP := .venv/.installed

BENCHMARKS := import_time generators wordcount scheduler engine chunks sharing

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench bench-mapreduce soak docs clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

demo: $(STAMP)-core ## count the words of many files in parallel (INPUT='a.txt dir/ *.gz')
	@$(BIN)/mrpy wordcount $(INPUT)

# Tests wait more than they compute: so three at a time on two cores.
test: $(STAMP)-test ## run the tests
	$(BIN)/python -m pytest -n 3 --dist worksteal

lint: $(STAMP)-lint ## ruff, and mypy --strict on mrpy/ and on typed programs
	$(BIN)/ruff check .
	$(BIN)/mypy --strict mrpy tests/typed

bench: $(STAMP)-bench ## measure mrpy beside its peers
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || echo "== $$name: see above"; done

bench-mapreduce: $(STAMP)-bench ## measure MapReduce beside a pool, dask.bag, PySpark (needs java) and sort
	@$(BIN)/python benchmarks/mapreduce.py

soak: $(STAMP)-test ## the long runs: all faults at random, idle waiting, level memory, longer tests; a quarter of an hour
	@for file in $(wildcard tests/soak/soak_*.py); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

docs: $(STAMP)-test ## check the pages: their code, links and tables
	$(BIN)/python -m pytest tests/test_docs.py

clean: ## remove .venv and what tools left
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mrpy needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.11 ..."; exit 1; }
	@test ! -e .venv || { echo ".venv is there but is no virtual environment: remove it"; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# One stamp per set of packages; setup.cfg changed: install again.
$(STAMP)-core: .venv/pyvenv.cfg setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(STAMP)-%: .venv/pyvenv.cfg setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@
