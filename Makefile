# `make run` serves the app, `make test` runs every test. Both set up their environment first.
#
#   PORT=8000 make run        another port
#   make test ARGS='-k cli'   arguments for pytest
#   make test PY=python3      an interpreter that has everything installed already: no environment is made

PORT ?= 7860
VENV ?= .venv
ARGS ?=
# Spread of the bundled model's outlier channels; see assets/demo-model/README.md.
SIGMA ?= 0.7

ifeq ($(PY),)
PY := $(VENV)/bin/python
RUNTIME := $(VENV)/.requirements
DEV := $(VENV)/.requirements-dev
endif

.DEFAULT_GOAL := help
.PHONY: help setup dev browser run test lint format bench gpu screenshot demo-model clean

help:
	@echo 'make run         serve the app on 127.0.0.1:$(PORT)'
	@echo 'make test        every test, browser included; ARGS are handed to pytest'
	@echo 'make lint        ruff: rules and format'
	@echo 'make format      mend what ruff can mend'
	@echo 'make bench       decode speed beside plain generate, into docs/'
	@echo 'make gpu         the tests and the benchmark that need CUDA'
	@echo 'make screenshot  the picture in the README'
	@echo 'make demo-model  train the bundled model again (over an hour)'
	@echo 'make clean       remove the environment and the caches'

setup: $(RUNTIME)

dev: $(DEV)

# Made anew when it is missing or its interpreter has gone. A venv that failed half-way is removed, so that the next
# call does not take it for a good one.
$(VENV)/bin/python:
	@python=; \
	for name in python3 python python3.14 python3.13 python3.12 python3.11; do \
	  if command -v $$name >/dev/null 2>&1 && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "quantlab needs Python 3.11 or newer; here is $$(python3 --version 2>/dev/null || echo none)." >&2; \
	  echo "Install one (on Debian and Ubuntu: apt-get install python3 python3-venv) and call make again." >&2; \
	  exit 1; \
	fi; \
	echo "Making $(VENV) with $$($$python --version)"; \
	$$python -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.requirements: requirements.txt $(VENV)/bin/python
	$(PY) -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.requirements-dev: requirements-dev.txt $(RUNTIME)
	$(PY) -m pip install --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# The system's browser, else Debian's package, else Playwright's own. Where none can be had the tests say so.
browser: $(DEV)
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	  if command -v $$name >/dev/null 2>&1; then exit 0; fi; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  apt-get update && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y --no-install-recommends chromium fonts-liberation && exit 0; \
	fi; \
	$(PY) -m playwright install chromium || echo 'No Chromium here, and none could be installed.' >&2

run: $(RUNTIME)
	@PORT=$(PORT) $(PY) app.py

test: $(DEV) browser
	$(PY) -m pytest $(ARGS)

lint: $(DEV)
	$(PY) -m ruff check
	$(PY) -m ruff format --check

format: $(DEV)
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

bench: $(DEV)
	$(PY) -m tests.bench $(ARGS)

gpu: $(DEV)
	$(PY) -m pytest -m gpu
	$(PY) -m tests.bench --device cuda $(ARGS)

screenshot: $(DEV) browser
	$(PY) -m tests.ui.screenshot $(ARGS)

demo-model: $(RUNTIME)
	$(PY) -m quantlab.demo.train --work work/demo-model
	$(PY) -m quantlab.demo.build --work work/demo-model --sigma $(SIGMA)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
