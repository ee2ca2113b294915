# One command each. A second run starts in seconds: the environment is rebuilt only when the pins change.
PYTHON ?= python3
VENV := .venv
# A file of tests in one process, one more at a time than there are cores (they wait for what they start), at most 4.
WORKERS := $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$((cores < 3 ? cores + 1 : 4)))
TEST := -m pytest -n $(WORKERS) --dist loadfile
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The engine's metadata asks for pandas and pyarrow, which nothing here imports; --no-deps saves 350 MB.
ENGINE := chdb-core
# What reads the environment must not be part of it.
SBOM := $(VENV)/sbom

.DEFAULT_GOAL := help
.PHONY: help install run test test-fast test-browser console-pictures test-deploy check bench drivers faults sbom clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "weighbridge needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12"; exit 2; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing weighbridge and its store engine (about 250 MB to download, once)"
	@$(PIP) install --constraint constraints.txt --editable '.[demo,kafka,compression]'
	@$(PIP) install --constraint constraints.txt --no-deps $(ENGINE)
	@touch $@

$(VENV)/.development: $(VENV)/.runtime
	@echo "Installing the test and check tools"
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(VENV)/.runtime  ## create .venv with everything `make run` needs

run: $(VENV)/.runtime  ## the bridge on 127.0.0.1:4318 with the embedded store
	@exec $(BIN)/weighbridge serve

test: $(VENV)/.development  ## the whole test suite, the ten slowest tests at the end
	@echo "The whole test suite: up to ten minutes on two quiet cores; a bridge and its engine are started again and again"
	@$(BIN)/python $(TEST) --durations 10

test-fast: $(VENV)/.development  ## the tests that start no process: about a minute
	@$(BIN)/python $(TEST) -m "not process" --durations 10

$(VENV)/.tools: tests/deploy/tools.sh tests/deploy/operator/go.sum | $(BIN)/python
	@echo "Installing helm, promtool, debootstrap, Kubernetes' schemas and the Prometheus Operator's types (needs root for Debian's packages)"
	@bash tests/deploy/tools.sh $(VENV)/tools
	@touch $@

test-deploy: $(VENV)/.development $(VENV)/.tools  ## chart, unit, alerts and image, with helm, promtool and debootstrap; needs root
	@PATH="$(CURDIR)/$(VENV)/tools/bin:$$PATH" DEBIAN_ROOT="$(CURDIR)/$(VENV)/tools/trixie" $(BIN)/python -m pytest -q -m tools tests/deploy --durations 5

$(VENV)/.browser: tests/browser/package.json constraints.txt $(VENV)/.development
	@command -v chromium >/dev/null || { echo "Chromium is needed: apt-get install chromium"; exit 2; }
	@PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 $(PIP) install --constraint constraints.txt --editable '.[browser]'
	@npm install --prefix tests/browser --silent --no-audit --no-fund --no-package-lock --ignore-scripts
	@touch $@

test-browser: $(VENV)/.browser  ## the console in Chromium: what people do, hostile events, accessibility
	@$(BIN)/python -m pytest -q -m browser tests/browser --durations 5

console-pictures: $(VENV)/.browser  ## docs/images: the console's pages, from the demo
	@PYTHONPATH=tests/rigs $(BIN)/python tests/browser/screenshots.py docs/images

check: $(VENV)/.development  ## formatting, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(VENV)/.development  ## CPU per span, beside rotel in the same run
	@$(PIP) install --constraint constraints.txt --pre rotel
	@$(BIN)/python -m bench.end_to_end

drivers: $(VENV)/.development  ## drivers of Go, Java and SQLAlchemy, exports to S3: needs go, a JDK and mvn
	@$(BIN)/python -m pytest -q -m drivers tests/process/drivers

faults: $(VENV)/.development  ## kill, starve and corrupt a running bridge; compare what it acknowledged with what it stored
	@$(BIN)/python -m faults

sbom: $(VENV)/.development  ## dist/weighbridge.cdx.json: what the image installs, as CycloneDX
	@test -x $(SBOM)/bin/cyclonedx-py || { $(PYTHON) -m venv $(SBOM) && \
		$(SBOM)/bin/python -m pip --disable-pip-version-check --quiet install cyclonedx-bom==7.5.0; }
	@mkdir -p dist
	@$(SBOM)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o dist/environment.cdx.json $(BIN)/python
	@$(BIN)/python -m deploy.sbom dist/environment.cdx.json >dist/weighbridge.cdx.json
	@rm dist/environment.cdx.json

clean:  ## remove the environment and caches, keep data/
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache dist
