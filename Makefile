# Needs Python 3.11 or later and make; everything else is set up here, on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
JOBS ?= 2
# One more than cores: browser tests wait more than they work; with two more they hold each other up.
TEST_JOBS ?= 3
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Whoever has `user = true` in pip's configuration could install nothing into the environment.
export PIP_USER := 0
# Where no Node is installed, `make node` puts one there.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: book test widgets posters pdf serve independent bench clean test-hosted test-versions repository lint chromium node setup

book: $(READY)
	$(BIN)/python -m dgm_book build --jobs $(JOBS)

# Trains at smoke size with an empty results folder, so that the training code really runs.
test: lint book chromium
	rm -rf _build/test/results
	DGM_RESULTS="$(CURDIR)/_build/test/results" $(BIN)/python -m dgm_book build --execute-only \
	  --profile smoke --output _build/test --jobs $(JOBS)
	$(BIN)/python -m pytest -m timing --benchmark-disable tests/browser
	DGM_RESULTS="$(CURDIR)/_build/test/results" OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 \
	  $(BIN)/python -m pytest -m "not timing" -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder --benchmark-disable \
	  --nbval-lax --nbval-current-env --ignore tests/independent tests _build/test/src/notebooks

# The widgets' bundles, anew from their sources. The book takes those committed and needs no Node.
widgets: node_modules
	npm run --silent build

node_modules: package-lock.json | node
	npm ci --silent --ignore-scripts
	touch $@

node:
	@command -v npm >/dev/null || { $(MAKE) setup && .ci/node $(BIN)/python; }

# Pictures of the widgets in the built book, for PDFs and pages without JavaScript.
posters: book chromium
	$(BIN)/python tests/tools/posters.py _build/html

# The whole book as one file, offered on its first page; printed by Chromium.
pdf: book chromium
	$(BIN)/python tests/tools/book_pdf.py _build/html

serve: book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

# Each chapter's main number by code that shares nothing with lib/, from data in DGM_DATA.
independent: $(READY)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest --timeout 1200 tests/independent

bench: $(READY)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest tests/bench --benchmark-only

test-hosted: book
	$(BIN)/python tests/tools/hosted.py

# The library's tests on the oldest and the newest Python and packages; downloads several gigabytes.
LOWEST ?= python3.10
NEWEST ?= python3.13
test-versions: $(READY)
	$(BIN)/python tests/tools/versions.py --lowest $(LOWEST) --newest $(NEWEST)

# Puts the repository's address from pyproject.toml into the notebooks' first cells.
repository: $(READY)
	$(BIN)/python -m dgm_book build --write-repository

lint: $(READY) node_modules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright --project pyproject.toml
	$(BIN)/zizmor --offline --quiet .github/workflows
	npm run --silent lint

chromium: $(READY)
	.ci/chromium $(BIN)/python

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf _build .pytest_cache .ruff_cache .benchmarks
