# Two commands do everything: `make demo` and `make test`. Both create .venv if it is absent.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
ifeq ($(origin LUSTRAL_DATA), undefined)
ifneq ($(wildcard ../shared/data/.),)
export LUSTRAL_DATA := $(abspath ../shared/data)
endif
endif

.PHONY: demo test slow check golden tables torture benchmark docs clean

demo: $(STAMP)
	$(BIN)/lustral run recipes/demo.toml --out runs/demo --workers 2

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not slow"

# Minutes long: a real recipe killed twenty times and resumed.
slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

check: $(STAMP)
	$(BIN)/ruff format --check src tests benchmarks docs/conf.py examples
	$(BIN)/ruff check src tests benchmarks docs/conf.py examples
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2
	$(MAKE) docs

golden: $(STAMP)
	$(BIN)/python -m tests.golden

tables: $(STAMP)
	$(BIN)/python -m tests.project.tables

torture: $(STAMP)
	$(BIN)/python -m tests.torture --kills 200

benchmark: $(STAMP)
	$(BIN)/python benchmarks/attack_overhead.py

docs: $(STAMP)
	$(BIN)/pip install -q -c constraints.txt -e ".[docs]"
	$(BIN)/sphinx-build -q -W -b html docs docs/_build

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) runs docs/_build
