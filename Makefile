# `make demo` shows a moving head, `make test` runs every check, `make quick` the quick ones.
# All need only Python 3.10 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := assets calibration commands export model runtime training
READY := $(VENV)/.ready
# Also what the checks need: tools, and TensorRT-RTX, which builds engines without a GPU.
TOOLS := $(VENV)/.tools
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal --durations=15

.PHONY: demo test quick lint types unit clean

demo: $(READY)
	$(BIN)/hidenerf-export -o out/bundle
	$(BIN)/hidenerf-run --bundle out/bundle --orbit 15 -o out/demo.mp4
	@echo "The video is $(CURDIR)/out/demo.mp4"

test: lint types unit

quick: lint
	$(PYTEST) -m "not slow and not gpu"

lint: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The folders are the package's parts, so the checker gets a tree in which they stand under their import name.
types: $(TOOLS)
	mkdir -p build/typing/hidenerf
	ln -sfn ../../../package/__init__.py build/typing/hidenerf/__init__.py
	for part in $(PACKAGES); do ln -sfn ../../../$$part build/typing/hidenerf/$$part; done
	MYPYPATH=build/typing:. $(BIN)/mypy -p hidenerf -p benchmarks -p tests

unit: $(TOOLS)
	$(PYTEST)

$(READY): EXTRAS := cpu,export,track
$(TOOLS): EXTRAS := cpu,export,track,dev
$(READY) $(TOOLS): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) build out
