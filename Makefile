# Everything a newcomer needs: `make run` and `make test` set themselves up from a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export KEDRO_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export RAY_USAGE_STATS_ENABLED := 0
export RAY_ENABLE_UV_RUN_RUNTIME_ENV := 0
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false
export ORT_DISABLE_TELEMETRY := 1
export MPLBACKEND := Agg
export KEDRO_LOGGING_CONFIG := conf/logging.yml
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup run repro dvc test test-slow test-demo check format clean

help: ## Show the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

setup: $(STAMP) ## Make the virtual environment

run: $(STAMP) ## Generate the world, distil a planner, evaluate it and write the report
	$(BIN)/kedro run
	@echo "Report: data/synthetic/08_reporting/report/index.html"

repro: export PATH := $(CURDIR)/$(BIN):$(PATH)
repro: $(STAMP) ## The same through DVC: only what changed runs
	$(BIN)/dvc repro

dvc: $(STAMP) ## Render dvc.yaml from Kedro's graph
	$(BIN)/dima dvc

test test-slow test-demo: export OMP_NUM_THREADS := 1
test: $(STAMP) ## Unit and conformance tests; those that start Ray alone, as each fills the machine
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --ignore=tests/distributed
	$(BIN)/python -m pytest tests/distributed

test-slow: $(STAMP) ## Tests that take long: kills, hangs, a thousand scenes, twenty keyframes exported
	$(BIN)/python -m pytest -m slow

test-demo: $(STAMP) ## Checks on the demo that `make run` trained
	$(BIN)/python -m pytest -m demo

check: $(STAMP) ## Lint, format, types, import floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Delete what runs on the generated world wrote
	rm -rf data/synthetic .viz build
