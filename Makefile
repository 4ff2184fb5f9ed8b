# make demo: install, draw, score, report.   make test: install for development, lint, type-check, test.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt Makefile
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-long weights lint clean

demo: $(VENV)/.installed
	$(BIN)/drawbench run --generator noise --generator poster=examples/poster.py:poster \
	  --prompts examples/signs.csv --metric text_rendering --metric image_stats -o demo
	@echo "Open demo/report.html in a browser."

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup

test-long: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -m long --run-long

# Makes the shapes world's weights again, from nothing; each about half an hour of one core. What was stopped goes on.
weights: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python weights/text_encoder.py
	OMP_NUM_THREADS=1 $(BIN)/python weights/clip.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit('Python 3.11 or newer is needed; make PYTHON=python3.12 …' if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv $(VENV)

# A stamp is written after its install: an install that was broken off is taken up again.
$(VENV)/.installed: $(INPUTS) | $(BIN)/python
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-dev: $(INPUTS) | $(BIN)/python
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
