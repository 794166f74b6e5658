# The environment lives in .venv; stamp files in it make a second call quick.
#
#   make demo    a recommender poisoned and defended, then a report (demo/report.html)
#   make test    all tests, with coverage
#   make lint    ruff and mypy
#   make docs    this project's documentation (docs/_build/html)
#   make bench   the benchmarks, but for benchmarks/killed_grid.py, which takes an hour
#   make clean   remove what these made, the environment included

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
CPU_WHEELS := https://download.pytorch.org/whl/cpu
NEEDED := constraints.txt pyproject.toml

.PHONY: demo test lint docs bench clean
.NOTPARALLEL:

demo: $(VENV)/.installed
	$(BIN)/fedsiege demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --cov=fedsiege --cov-report=term:skip-covered --cov-fail-under=90

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.flower
	$(BIN)/python benchmarks/rounds.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/aggregation.py --no-peers
	$(BIN)/python benchmarks/flower.py
	$(BIN)/python benchmarks/local_training.py
	$(BIN)/python benchmarks/reconstruction.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/report.py

clean:
	rm -rf $(VENV) build docs/_build .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "FedSiege needs Python 3.11 or newer; name one, such as: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	touch $@

# PyPI's torch for Linux brings gigabytes of CUDA along. The CPU build comes first, so that it is what the package
# finds installed: from the configured index if that has it, else from PyTorch's own; elsewhere torch has one build.
$(VENV)/.installed: $(VENV)/.made $(NEEDED)
	$(INSTALL) 'torch==$(TORCH)+cpu' 2>/dev/null \
	  || $(INSTALL) --extra-index-url $(CPU_WHEELS) 'torch==$(TORCH)'
	$(INSTALL) -e .
	touch $@

# byzfl is a reference that tests compare with. It asks for torchvision, which what we use of it does not need.
$(VENV)/.test: $(VENV)/.installed
	$(INSTALL) -e '.[test,docs]'
	$(INSTALL) --no-deps byzfl
	touch $@

$(VENV)/.flower: $(VENV)/.installed
	$(INSTALL) -e '.[flower]'
	touch $@

$(VENV)/.lint: $(VENV)/.installed
	$(INSTALL) -e '.[lint]'
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(INSTALL) -e '.[docs]'
	touch $@
