# make build | demo | test | lint | bench | docs | clean
# Everything is installed into .venv; nothing outside the repository is touched.
# make build WITHOUT=pybullet: chips, learners and benchmarks alone, no simulated world, no demo.

PYTHON ?= python3
OUT ?= results/demo
# Many tests wait for processes, more than they compute: more workers than cores.
TEST_WORKERS ?= 4
# Requirements to leave out, by name.
WITHOUT ?=
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find memristor_bdnn msg srv action launch config cmake -type f -not -name '*.pyc' 2>/dev/null) \
           CMakeLists.txt package.xml setup.py
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: build demo test lint bench docs clean tools

build: $(VENV)/.built

demo: $(VENV)/.built
	$(BIN)/memristor-bdnn demo --out $(OUT) $(DEMO_ARGS)

test: $(VENV)/.built $(VENV)/.interfaces
	$(BIN)/python -m pytest test -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(TEST_ARGS)

lint: $(VENV)/.dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.built
	bench/run.sh

# Neither ROS nor torch is needed for the pages.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

clean:
	rm -rf build dist docs/generated *.egg-info .pytest_cache .mypy_cache .ruff_cache

tools:
	@command -v $(PYTHON) >/dev/null || { echo "missing: $(PYTHON) (Python 3.10 or newer)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is too old: Python 3.10 or newer is needed"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "missing: Python's venv module (Debian: apt install python3-venv)"; exit 1; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || { echo "missing: a C++ compiler (Debian: apt install g++)"; exit 1; }

$(VENV)/bin/python: | tools
	$(PYTHON) -m venv $(VENV)

$(VENV)/.dependencies: requirements.txt constraints.txt | $(VENV)/bin/python
	@echo "installing dependencies into $(VENV) (a few minutes the first time)"
	@PYTHON=$(BIN)/python WITHOUT="$(WITHOUT)" cmake/dependencies.sh
	@touch $@

$(VENV)/.docs: docs/requirements.txt constraints.txt | $(VENV)/bin/python
	@echo "installing what builds the pages into $(VENV)"
	$(BIN)/python -m pip install -q -r docs/requirements.txt -c constraints.txt
	@touch $@

# Message packages that only tests need; where they cannot be built, the tests that need them say so and are skipped.
$(VENV)/.interfaces: $(VENV)/.dependencies test/moveit_interfaces.py CMakeLists.txt $(shell find test/interfaces cmake -type f)
	@echo "building message packages for the tests (a minute or two, once)"
	@$(BIN)/python test/moveit_interfaces.py || echo "they cannot be built here"
	@touch $@

$(VENV)/.built: $(VENV)/.dependencies $(SOURCES)
	@echo "building ROS 2 interfaces and installing the package"
	$(BIN)/python -m pip install -q --no-build-isolation --no-deps --force-reinstall .
	@touch $@
