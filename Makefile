# make demo: install, draw, score, report.   make test: install for development, lint, type-check, test.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt Makefile
TRAIN  := $(BIN)/drawbench train --preset SHAPES --encoder shapes --encoder-dtype fp32
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo demo-rate test test-long weights lint clean

demo: $(VENV)/.installed
	$(BIN)/drawbench run --prompts shapes --dtype auto --batch-size 40 -o demo \
	  --generator guided=imagen --checkpoint guided=shapes \
	  --generator plain=imagen --checkpoint plain=shapes \
	  --set plain.base.guidance_weight=1 --set plain.sr256.guidance_weight=1 --set plain.sr1024.guidance_weight=1 \
	  --generator shapes_truth
	@echo "Open demo/report.html in a browser."

# The demo's two systems before people: prints two personal links and serves the rater app until Ctrl-C.
demo-rate: demo
	test -d demo/study || $(BIN)/drawbench study create --runs demo/guided-shapes demo/plain-shapes \
	  --design drawbench --images-per-set 1 -o demo/study
	$(BIN)/drawbench study invite demo/study --count 2
	$(BIN)/drawbench rate demo/study

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup

test-long: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -m long --run-long

# Makes the shapes world's weights again, from nothing: some seven hours of one core. What was stopped goes on.
# The base learns the world first and then, from a stream with more of them, to write words.
weights: export OMP_NUM_THREADS = 1
weights: $(VENV)/.installed
	$(BIN)/python weights/text_encoder.py
	$(BIN)/python weights/clip.py
	$(BIN)/python weights/reference.py
	$(BIN)/python weights/silhouette.py
	$(TRAIN) --stage base --data shapes -o build/weights/first
	$(TRAIN) --stage base --data shapes_words --init build/weights/first --lr 1e-3 --warmup 100 \
	  --steps 11400 --decay-steps 11400 -o build/weights/imagen
	$(TRAIN) --stage sr256 --data shapes -o build/weights/imagen
	$(TRAIN) --stage sr1024 --data shapes -o build/weights/imagen
	$(BIN)/python weights/imagen.py --note "The base began from build/weights/first: 21,000 steps of 32 on fewer words."

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
