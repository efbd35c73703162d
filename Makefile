# The checkout's own environment is .venv; nothing is installed outside it, and no command needs root.
PYTHON ?= python3
BIN := .venv/bin
# More arguments for pytest: make test ARGS="-k bundle -x"
ARGS ?=

COUNT ?= 10000
SEED ?= 0

.PHONY: help demo test test-all fuzz wording setup lint format lock clean

help:
	@echo "make demo      set up, then export the embedded model for this machine and read a picture with the bundle"
	@echo "make test      set up, then run the tests (ARGS=... goes to pytest)"
	@echo "make test-all  the same with the tests that are marked nightly"
	@echo "make fuzz      mutated inputs and faults of the machine, by chance (COUNT=10000 SEED=0)"
	@echo "make wording   write tests/fixtures/wording.txt again, after a message was reworded"
	@echo "make setup     make or update .venv (PYTHON=python3.11 chooses the interpreter)"
	@echo "make lint      ruff and mypy"
	@echo "make format    let ruff rewrite the files"
	@echo "make lock      resolve the locked versions again"
	@echo "make clean     remove .venv, out/ and the caches of the tools"

setup:
	@$(PYTHON) .ci/setup.py

demo: setup
	$(BIN)/edgekit export digits --target host --output out/digits --force
	$(BIN)/edgekit run out/digits edgekit/embedded/digits/data/seven.png

# First the tests that share the machine, then, one by one, those that are marked `alone`; the second run is left out where
# the first was interrupted (2, also by -x in a worker). 5 says that nothing was chosen.
test test-all:
	@$(PYTHON) .ci/setup.py --tests
	@$(BIN)/python -m pytest --part together -n auto --dist loadfile --no-loadscope-reorder $(NIGHTLY) $(ARGS); first=$$?; \
	[ $$first -eq 2 ] && exit 2; \
	$(BIN)/python -m pytest --part alone $(NIGHTLY) $(ARGS) -n 0; second=$$?; \
	echo "exit codes: together $$first, alone $$second"; \
	[ $$first -eq 5 ] && exit $$second; [ $$first -ne 0 ] && exit $$first; [ $$second -eq 5 ] || exit $$second

test-all: NIGHTLY := --nightly

fuzz:
	@$(PYTHON) .ci/setup.py --tests
	$(BIN)/python -m tests.fuzz --count $(COUNT) --seed $(SEED) $(ARGS)

wording:
	@$(PYTHON) .ci/setup.py --tests
	@$(BIN)/python -m pytest -q -n0 --rewrite-wording $(ARGS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy plugins/*/edgekit_*

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: setup
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/python .ci/lock.py

clean:
	rm -rf .venv out dist .pytest_cache .mypy_cache .ruff_cache
	find edgekit plugins tests -name __pycache__ -type d -prune -exec rm -rf {} +
