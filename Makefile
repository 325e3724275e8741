# The commands for developers; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE  # starting from bytecode is a quarter faster

.DEFAULT_GOAL := help
.PHONY: help serve test soak check format generate landed bench demo requirements clean

help: ## list the commands
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 22

serve: $(VENV)/.server ## start PostgreSQL and the service on 127.0.0.1:50051
	@exec $(BIN)/draftline serve

demo: $(VENV)/.server ## walk through every call on 3,201 films
	@exec $(BIN)/draftline demo

bench: $(VENV)/.server ## measure performance as ratios to the limits of the machine, and draw docs/bench.svg
	@exec $(BIN)/python -m bench --chart docs/bench.svg

test: $(VENV)/.dev ## run the test suite on all cores, on private PostgreSQL servers
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

# `make test` runs a short form of most of tests/soak, and a twentieth of the examples of the property tests. On
# partitioned tables it runs tests/partitioned only.
soak: $(VENV)/.dev ## run tests/soak and the property tests at length, and list their figures: about an hour
	DRAFTLINE_SOAK=1 $(BIN)/python -m pytest -m "soak or hypothesis"
	DRAFTLINE_USE_PARTITIONED_TABLES=true $(BIN)/python -m pytest tests/store tests/rpc

check: $(VENV)/.dev ## check format, lint, types, imports, plain English, contract, generated files, migrations
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy --python-version 3.10 client/draftline examples
	$(BIN)/lint-imports --no-logo
	PATH="$(BIN):$$PATH" $(BIN)/python tools/generate.py --check
	$(BIN)/python tools/sync_client.py --check
	$(BIN)/python tools/plain_english.py
	$(BIN)/python tools/contract_doc.py --check
	$(BIN)/python tools/settings_doc.py --check
	$(BIN)/python tools/schema.py --check
	PATH="$(BIN):$$PATH" tools/check_contract.sh
	$(BIN)/draftline migrate --check

format: $(VENV)/.dev ## format code and protos
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .
	$(BIN)/buf format -w protos

generate: $(VENV)/.dev ## write the stubs, the blocking client, docs/contract.md and migrations/schema.sql
	PATH="$(BIN):$$PATH" $(BIN)/python tools/generate.py
	$(BIN)/python tools/sync_client.py
	$(BIN)/python tools/contract_doc.py
	$(BIN)/python tools/settings_doc.py
	$(BIN)/python tools/schema.py

landed: $(VENV)/.dev ## record the contract as released: `make check` then rejects changes that break it
	$(BIN)/python tools/generate.py --image protos/landed.binpb --bare

requirements: $(VENV)/.dev ## pin the newest versions that requirements/*.in allow
	cd requirements && for name in dev server image; do \
		../$(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
			--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file $$name.txt $$name.in; done

clean: ## remove the virtual environment, and the database of `make serve` after a question (YES=1: without one)
	rm -rf $(VENV)
	@if [ -e .draftline ]; then \
		answer=$(if $(YES),yes); \
		if [ -z "$$answer" ]; then \
			printf 'Delete the database of `make serve` in .draftline, with all its data? Type yes: '; read -r answer || echo; \
		fi; \
		if [ "$$answer" = yes ]; then rm -rf .draftline; else echo 'The database in .draftline is kept.'; fi; \
	fi

# A virtual environment is complete once it has pip. One that was not completed is made again.
$(VENV)/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit("Draftline needs Python 3.11 or newer: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv --clear $(VENV)

# Install the pinned packages with hashes, and the two packages of this tree as editable.
define install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/$(1).txt
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e client -e .
endef

$(VENV)/.server: requirements/server.txt pyproject.toml client/pyproject.toml | $(VENV)/bin/pip
	$(call install,server)
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml client/pyproject.toml | $(VENV)/bin/pip
	$(call install,dev)
	@touch $@ $(VENV)/.server
