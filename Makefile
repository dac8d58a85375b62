# `make` alone tells what can be made.

PYTHON ?= python3
# Processes that the tests run in.
PROCESSES ?= 2
# Folder of recordings that bench measures on; without one, the built-in ones.
RECORDINGS ?=
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test torture lint format bench bench-gpu docs clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## install here and run the whole way once, small
	$(BIN)/dafxtool demo

test: lint ## lint, types and all tests
	$(BIN)/pytest -n $(PROCESSES)

torture: $(VENV)/developing ## broken files, killed processes and mad plugins, in full
	$(BIN)/pytest -n $(PROCESSES) -m torture --torture

lint: $(VENV)/developing ## style and types only
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/developing ## put the code into the project's format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/developing ## measure each stage beside the plain way (on RECORDINGS=FOLDER)
	@$(BIN)/python benchmarks/bench_start.py
	@set -e; for stage in render spectrogram storage train embed inversion; do \
		$(BIN)/python benchmarks/bench_$$stage.py $(if $(RECORDINGS),--recordings '$(RECORDINGS)'); \
	done

bench-gpu: $(VENV)/installed ## check and measure the GPU, in less than 8 minutes, offline
	@$(BIN)/python benchmarks/bench_gpu.py

docs: $(VENV)/installed ## write docs/cli.md from the commands' help
	$(BIN)/python -m dafxtool.cli.reference > docs/cli.md.new
	mv docs/cli.md.new docs/cli.md

clean: ## remove the environment and all caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Both files say that the installation went well, and are older than a changed pyproject.toml.
$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
		echo "dafxtool needs Python 3.10 or newer, but '$(PYTHON)' is older or not there:" \
		"name another one, as in 'make PYTHON=python3.12'." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments: install its venv module" \
		"(on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): some minutes, and about 6 GB with CUDA's libraries."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/developing: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
