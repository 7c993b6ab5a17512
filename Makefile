# Everything happens in .venv; nothing outside this folder is changed. Needs make and Python 3.11 or newer.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Where the five public benchmark tasks are (built by `make tasks`).
TASKS ?= $(or $(AUTOQUANT_TASKS),benchmarks/data/tasks)
# Two workers at most: every test that runs a model already uses the machine's cores.
WORKERS ?= 2

.PHONY: help demo test slow lint format tasks bench dashboard clean

help:
	@echo "make demo    tune a real text recogniser to int8, within 1 % of its float accuracy"
	@echo "make test    the test suite"
	@echo "make lint    ruff and mypy"
	@echo "make format  let ruff rewrite the sources"
	@echo "make tasks   build the five public benchmark tasks (downloads PyTorch and the models)"
	@echo "make slow    the tests that need those tasks"
	@echo "make bench   run the benchmarks on those tasks (two hours or so; keep the machine quiet)"
	@echo "make dashboard  look at the demo's study in a browser"

demo: $(VENV)/.examples demo/model.onnx
	$(BIN)/autoquant tune --model demo/model.onnx --eval examples/ocr/eval.py --target-drop 1% --max-trials 14 --out demo/ocr.autoquant

demo/model.onnx: examples/ocr/prepare.py examples/ocr/lines.py $(VENV)/.examples
	$(BIN)/python examples/ocr/prepare.py demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS)

slow: $(VENV)/.dev
	AUTOQUANT_TASKS=$(TASKS) $(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev build/typed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p autoquant

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tasks: $(VENV)/.made
	$(BIN)/python -m benchmarks.tasks.build --out $(TASKS)

BENCHMARKS = tune overhead differential racing evaluations optimality rewrites sensitivity corrections closeness \
	fallbacks rounding precisions stored calibration_data

bench: $(VENV)/.base
	set -e; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name --tasks $(TASKS); done
	$(BIN)/python -m benchmarks.proposal
	$(BIN)/python -m benchmarks.calibration --tasks $(TASKS) \
		| $(BIN)/python -m benchmarks.record calibration --command "python -m benchmarks.calibration"
	$(BIN)/python -m benchmarks.table

dashboard:
	$(PIP) install -e ".[dashboard]"
	$(BIN)/autoquant dashboard demo/ocr.autoquant

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# One stamp per set of packages, so that a second `make` installs nothing.
$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.base: pyproject.toml $(VENV)/.made
	$(PIP) install -e .
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.made
	$(PIP) install -e ".[dev,dashboard]"
	@touch $@

$(VENV)/.examples: pyproject.toml $(VENV)/.made
	$(PIP) install -e ".[examples]"
	@touch $@

# mypy cannot follow setuptools' editable finder where a package is mapped to another folder's name (`autoquant` is
# tuner/api), so it reads a tree of links laid out as the wheel will be.
.PHONY: build/typed
build/typed:
	@rm -rf $@ && mkdir -p $@/autoquant/tuner
	@ln -s $(addprefix $(CURDIR)/,$(filter-out %__pycache__,$(wildcard tuner/api/*))) $@/autoquant/
	@ln -s $(CURDIR)/strategies $(CURDIR)/evaluators $@/autoquant/
	@ln -s $(addprefix $(CURDIR)/,$(filter-out tuner/api %__pycache__,$(wildcard tuner/*))) $@/autoquant/tuner/
