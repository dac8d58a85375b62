# `make` without a target lists the targets.

PYTHON ?= python3
# Number of processes of the tests.
PROCESSES ?= 2
# Folder of recordings for bench; by default the built-in ones.
RECORDINGS ?=
VENV := .venv
NEWEST := .venv-newest
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-newest pretrained robustness lint format bench bench-gpu docs site constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## install here and run the whole pipeline, small
	$(BIN)/dafxtool demo

test: lint ## lint, types and all tests
	$(BIN)/pytest -n $(PROCESSES) --dist worksteal

test-newest: ## install the newest releases into a separate environment and run the pipeline
	rm -rf $(NEWEST)
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check .
	$(NEWEST)/bin/dafxtool doctor
	mkdir $(NEWEST)/work
	cd $(NEWEST)/work && export PATH="$(CURDIR)/$(NEWEST)/bin:$$PATH" && \
		dafxtool render --pairs-per-effect 20 && dafxtool train --steps 1 && \
		dafxtool interpolate a.wav b.wav

robustness: $(VENV)/developing ## all robustness tests: broken files, killed processes, faulty plugins
	$(BIN)/pytest -n $(PROCESSES) -m robustness --all-cases

# The packages that differ from the last commit, unless PACKAGE names one.
PACKAGE ?= $(shell git diff --name-only HEAD -- dafxtool tests | sed -n 's,^[a-z]*/\([a-z]*\)/.*,\1,p' | sort -u)

test-fast: $(VENV)/developing ## quick tests of the packages you changed, or of PACKAGE=effects
	$(BIN)/pytest -n $(PROCESSES) -m 'not slow and not browser and not robustness' tests/test_layers.py \
		$(wildcard $(addprefix tests/,$(PACKAGE)))

pretrained: $(VENV)/installed ## build the pretrained model from RECORDINGS=FOLDER (docs/pretrained.md)
	OMP_WAIT_POLICY=passive $(BIN)/python scripts/build_pretrained.py '$(RECORDINGS)'

lint: $(VENV)/developing ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@if npx --yes --package typescript@5.9 tsc --version >/dev/null 2>&1; then \
		npx --yes --package typescript@5.9 tsc -p .; \
	else echo "JavaScript is not type-checked: npx is not there or has no network"; fi

format: $(VENV)/developing ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/developing ## measure each stage beside a plain implementation (on RECORDINGS=FOLDER)
	@$(BIN)/python benchmarks/bench_start.py
	@$(BIN)/python benchmarks/bench_explore.py
	@set -e; for stage in render spectrogram storage train embed inversion; do \
		$(BIN)/python benchmarks/bench_$$stage.py $(if $(RECORDINGS),--recordings '$(RECORDINGS)'); \
	done

bench-gpu: $(VENV)/installed ## check and measure a GPU, in less than 8 minutes, offline
	@$(BIN)/python benchmarks/bench_gpu.py

docs: $(VENV)/installed ## write docs/cli.md and docs/python.md from help texts and docstrings
	$(BIN)/python -m dafxtool.cli._reference > docs/cli.md.new
	mv docs/cli.md.new docs/cli.md
	$(BIN)/python -m dafxtool.cli._python_reference > docs/python.md.new
	mv docs/python.md.new docs/python.md

site: $(VENV)/developing ## build the documentation site into site/, strict and offline
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# torchaudio fits some releases of torch only, and its metadata does not say which: the pair is
# chosen here, by hand. --universal covers every Python and system that pyproject.toml allows.
constraints: $(VENV)/developing ## update constraints.txt, the versions that demo and test install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	printf 'torch==2.14.1\ntorchaudio==2.11.1\n' > constraints.in
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --all-extras \
		--no-annotate --custom-compile-command 'make constraints' \
		--constraints constraints.in --output-file constraints.txt pyproject.toml
	rm constraints.in

clean: ## remove the environment and all caches
	rm -rf $(VENV) $(NEWEST) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Both files mark a complete installation; a newer pyproject.toml makes them outdated.
$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
		echo "dafxtool needs Python 3.10 or newer, but '$(PYTHON)' is older or missing:" \
		"name another one, as in 'make PYTHON=python3.12'." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot create virtual environments: install its venv module" \
		"(on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): some minutes, and about 6 GB with CUDA's libraries."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable .
	@touch $@

$(VENV)/developing: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[dev]'
	@touch $@
