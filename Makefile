# Everything sets itself up: a fresh machine needs Python 3.11, pip, git and make.
VENV ?= .venv
BIN := $(VENV)/bin
export VENV
SMALL := -m "not full"
JOBS ?= 2

.PHONY: demo test test-fast test-all mutants lint fmt bench errors-doc clean lock

demo: $(VENV)/.installed-run ## the main job on the embedded default; ONCE=1 ends by itself and compares both sides
	$(BIN)/cdc demo $(if $(ONCE),--once) $(ARGS)

test: $(VENV)/.installed-test $(VENV)/.installed-debian $(VENV)/.installed-peers ## every test at its small size
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(SMALL) $(ARGS)

test-fast: $(VENV)/.installed-test $(VENV)/.installed-debian ## unit and property tests: under a minute
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(SMALL) tests/unit tests/property tests/contract $(ARGS)

test-all: $(VENV)/.installed-test $(VENV)/.installed-debian $(VENV)/.installed-peers ## the full sizes
	CDC_TEST_SIZE=full $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

mutants: $(VENV)/.installed-test $(VENV)/.installed-debian ## breaks one rule after another: the tests that guard it must notice
	$(BIN)/python -m tests.support.mutants $(ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-test $(VENV)/.installed-debian $(VENV)/.installed-peers ## speeds as a share of the physical limit
	$(BIN)/python -m bench $(ARGS)

errors-doc: $(VENV)/.installed-test ## docs/errors.md from the registries of error codes
	$(BIN)/python -m tools.errors_doc

lock: ## pins the newest versions (needs uv)
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml requirements/run.in -o requirements/run.lock
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --extra sqlserver pyproject.toml requirements/test.in -o requirements/test.lock
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --override requirements/tap.overrides requirements/tap.in -o requirements/tap.lock
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-deps requirements/tap-source.in -o requirements/tap-source.lock

$(VENV)/.installed-run: requirements/run.lock pyproject.toml tools/venv.sh
	sh tools/venv.sh run

$(VENV)/.installed-test: requirements/test.lock pyproject.toml tools/venv.sh
	sh tools/venv.sh test

# Without the stamp (nothing could be installed) the tests of SQL Server are skipped, and the next run tries again.
$(VENV)/.installed-debian: tools/debian.sh $(VENV)/.installed-test
	@sh tools/debian.sh

# Likewise for the clients that nobody here wrote.
$(VENV)/.installed-peers: requirements/tap.lock requirements/tap-source.lock tools/peers.sh $(VENV)/.installed-test
	@sh tools/peers.sh

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
