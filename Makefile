# Two commands for everyone, from a bare clone with Python 3.10+ and make:
#   make lab     open JupyterLab on examples/ with jupyter-cloudml in it
#   make test    install what the tests need, then run them
# and for those who work on it: make check, make bench, make assets, make clean.
# PYTHON=… chooses the interpreter of a new .venv; ARGS=… goes to JupyterLab, pytest or the benchmarks.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(CURDIR)/$(VENV)/bin
ARGS ?=
# Two files of tests at a time, in order: most of them wait for a clock or a network.
PARALLEL ?= --numprocesses 2 --dist loadfile --no-loadscope-reorder
# With AGAIN=yes, tests that failed run once more by themselves, with nothing left of the first time.
RETRY = pytest --last-failed --last-failed-no-failures none
export PYTHON VENV
# Tests start some thousand Pythons: where nothing compiled may be kept, each compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(BIN):$(PATH):/usr/sbin:/sbin

ASSETS := jupyter_cloudml/labextension/package.json
MODULES := labextension/node_modules/.package-lock.json
LAB_SOURCES := $(shell find labextension/src labextension/schema labextension/style -type f) \
	labextension/package.json labextension/package-lock.json labextension/tsconfig.json
HOUSE := pyproject.toml tools/install.sh tools/overrides.txt server_ext/jupyter_cloudml.json \
	kernels/kernelspecs/cloudml-local/kernel.json
PYTHON_SOURCES := jupyter_cloudml kernels server_ext benchmarks tests
SEMGREP := semgrep scan --quiet --metrics off --disable-version-check

.PHONY: help lab test check bench assets clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

lab: $(VENV)/.lab
	cd examples && exec jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

test: $(VENV)/.dev
	tools/install_os_packages.sh
	$(MAKE) --no-print-directory assets
	pytest $(PARALLEL) $(ARGS) $(if $(AGAIN),|| { [ $$? = 1 ] && $(RETRY); })

check: $(VENV)/.dev $(MODULES)
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	$(SEMGREP) --error --config tools/semgrep.yml $(PYTHON_SOURCES)
	semgrep scan --metrics off --disable-version-check --test --config tools/semgrep.yml tools/semgrep_samples/semgrep.py
	cd labextension && npm run --silent lint

bench: $(VENV)/.dev
	python -m benchmarks $(ARGS)

assets: $(ASSETS)

clean:
	rm -rf jupyter_cloudml/labextension labextension/lib labextension/tsconfig.tsbuildinfo dist build

# Installing builds the Lab assets where they are missing or older than their sources.
$(VENV)/.lab: $(HOUSE)
	tools/install.sh lab
	touch $@

$(VENV)/.dev: $(HOUSE)
	tools/install.sh lab,test,bench,dev
	touch $@ $(VENV)/.lab

$(MODULES): labextension/package-lock.json | $(VENV)/.dev
	cd labextension && npm ci --no-audit --no-fund
	touch $@

$(ASSETS): $(LAB_SOURCES) $(MODULES) | $(VENV)/.dev
	cd labextension && npm run --silent build:prod
	touch $@
