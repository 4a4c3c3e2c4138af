# The two commands: `make demo` computes the gradient of one seismic shot inside a memory budget,
# `make test` builds the package in a fresh virtual environment and runs every test but the slow ones.
#
#   make demo ARGS="--memory '200 MiB' --check"     make test ARGS="-k copy -x"   make test PYTHON=python3.12

PYTHON ?= python3
CXX ?= c++
ARGS ?=
# Processes among which the tests are divided, file by file.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PYTEST = pytest -n $(JOBS) --dist loadfile

PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
SOURCES := pyproject.toml setup.py $(shell find pyrevolve src examples -type f \
    \( -name '*.py' -o -name '*.py[xid]' -o -name '*.pxd' -o -name '*.cpp' -o -name '*.hpp' \
    -o -name 'page.*' \) 2>/dev/null)
CPP := $(shell find src -name '*.cpp' 2>/dev/null)
HPP := $(shell find src -name '*.hpp' 2>/dev/null)
FORMATTED := $(wildcard tests/fuzz/*.cpp tests/fuzz/*.hpp benchmarks/*.cpp)
PYX := $(wildcard pyrevolve/*.pyx pyrevolve/*.pxd)

.PHONY: help demo docs fuzz guard coverage test test-all devito-client sanitize lint format bench dist wheels clean system-tools
.DELETE_ON_ERROR:

help:
	@echo "make demo      the FWI gradient of one shot under a memory budget; ARGS=... for its options"
	@echo "make test      build in a fresh virtual environment and run the tests"
	@echo "make test-all  the same with the slow tests, Devito's own tests, and the core's tests with sanitizers"
	@echo "make lint      style and types of everything;  make format  puts the style right"
	@echo "make bench     the benchmarks that the README quotes; ARGS=... for benchmarks/gradient.py;"
	@echo "               .venv/bin/python benchmarks/schedules.py --fast leaves out what takes minutes"
	@echo "make fuzz      coverage-guided fuzzing (FUZZ_RUNS=..., apt-get install clang);  make coverage  what tests reach"
	@echo "make guard     deterministic counts against benchmarks/counts.csv (apt-get install valgrind)"
	@echo "make docs      the documentation as a site in docs/_build/html"
	@echo "make dist      source distribution and a wheel for this Python in dist/"
	@echo "make wheels    the wheels of a release in wheelhouse/; takes Docker on Linux"
	@echo "make clean     remove everything that the targets above made"

# Say what is missing before pip fails in the middle of a build.
system-tools:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: apt-get install python3, or PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "$(PYTHON) is too old: Python 3.10 or newer is needed; choose one with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig as s; \
	    sys.exit(not os.path.exists(os.path.join(s.get_paths()["include"], "Python.h")))' || \
	    { echo "Python.h not found: apt-get install python3-dev"; exit 1; }
	@command -v $(CXX) >/dev/null || { echo "no C++ compiler: apt-get install g++"; exit 1; }

# --- the demo -------------------------------------------------------------------------------------------------

demo: .venv/installed
	.venv/bin/python -I -m pyrevolve.demo $(ARGS)

.venv/installed: $(SOURCES) | system-tools
	rm -rf build/lib*
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python $(PIP_INSTALL) '.[demo]'
	touch $@

# --- tests ----------------------------------------------------------------------------------------------------

test: .venv-test/fresh
	cd tests && ../.venv-test/bin/$(PYTEST) $(ARGS)
	cd tests && ../.venv-test/bin/pytest --quiet --doctest-modules --pyargs pyrevolve

test-all: .venv-test/fresh
	cd tests && ../.venv-test/bin/$(PYTEST) -m "" $(ARGS)
	cd tests && ../.venv-test/bin/pytest --quiet --doctest-modules --pyargs pyrevolve
	$(MAKE) devito-client
	$(MAKE) sanitize

# Devito's own tests of checkpointing, from its source distribution, with this package as its pyrevolve.
devito-client:
	rm -rf build/devito
	mkdir -p build/devito
	.venv-test/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary devito \
	    --dest build/devito "devito==$$(.venv-test/bin/python -c 'import devito; print(devito.__version__)')"
	tar -xzf build/devito/devito-*.tar.gz -C build/devito --strip-components=1
	cd build/devito && rm -rf devito examples && DEVITO_LOGGING=ERROR ../../.venv-test/bin/pytest \
	    -p no:cacheprovider -q tests/test_checkpointing.py tests/test_gradient.py \
	    -k "test_checkpointing or checkpoint or (gradientFWI and True)"

# A stamp that is never written: the environment is made anew each time. pytest is called as a program and in tests/,
# so that the installed package is tested and not the checkout, also by tests that start interpreters.
.venv-test/fresh: system-tools
	rm -rf .venv-test build/lib*
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python $(PIP_INSTALL) '.[demo,test]'
	cd tests && ../.venv-test/bin/python -c 'import pyrevolve; print("testing", pyrevolve.__file__)'

# The extension with address and undefined-behaviour sanitizers under all tests that need no Devito. The runtimes
# are preloaded because the interpreter is not built with them; leaks are not counted because it never frees all.
sanitize: system-tools
	rm -rf .venv-sanitize build/sanitize
	$(PYTHON) -m venv .venv-sanitize
	PYREVOLVE_SANITIZE=address,undefined .venv-sanitize/bin/python $(PIP_INSTALL) '.[test]'
	ldd .venv-sanitize/lib/python*/site-packages/pyrevolve/crevolve*.so | grep -q libasan
	cd tests && \
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
	    ../.venv-sanitize/bin/$(PYTEST) -p no:cacheprovider --capture=sys -m "not slow and not processes" $(ARGS)

# --- style ----------------------------------------------------------------------------------------------------

LINT := $(CURDIR)/.venv-lint/bin

.venv-lint/installed: pyproject.toml setup.py | system-tools
	rm -rf .venv-lint build/lib*
	$(PYTHON) -m venv .venv-lint
	.venv-lint/bin/python $(PIP_INSTALL) '.[dev]'
	.venv-lint/bin/python -m pip uninstall --quiet --yes pyrevolve
	touch $@

lint: .venv-lint/installed
	$(LINT)/ruff check .
	$(LINT)/ruff format --check .
	$(LINT)/mypy --strict pyrevolve
	PATH="$(LINT):$$PATH" cython-lint $(PYX)
	$(LINT)/clang-format --dry-run --Werror $(CPP) $(HPP) $(FORMATTED)
	$(CXX) -std=c++17 -Isrc/revolve_cpp/include -Wall -Wextra -Wpedantic -Wshadow -Werror -fsyntax-only $(CPP)

format: .venv-lint/installed
	$(LINT)/ruff check --fix .
	$(LINT)/ruff format .
	$(LINT)/clang-format -i $(CPP) $(HPP) $(FORMATTED)

# --- documentation --------------------------------------------------------------------------------------------

docs: .venv-docs/installed
	rm -rf docs/_build docs/api/generated
	.venv-docs/bin/sphinx-build -q -W -n --keep-going docs docs/_build/html
	@echo "docs/_build/html/index.html"

.venv-docs/installed: $(SOURCES) | system-tools
	rm -rf build/lib*
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python $(PIP_INSTALL) '.[docs]'
	touch $@

# --- hardening ------------------------------------------------------------------------------------------------

.venv-hardening/installed: $(SOURCES) | system-tools
	rm -rf .venv-hardening build/lib*
	$(PYTHON) -m venv .venv-hardening
	.venv-hardening/bin/python $(PIP_INSTALL) '.[demo,test,hardening]'
	touch $@

# Coverage-guided fuzzing: of the C++ library with libFuzzer, FUZZ_RUNS inputs in each of JOBS processes, and of the
# planner with Atheris. What is found is written to build/fuzz/findings, and `build/fuzz/target FILE` shows it again. A
# corpus that is there already is gone on with.
FUZZ_CXX ?= clang++
FUZZ_RUNS ?= 100000
FUZZ_PLAN_RUNS ?= 1500
FUZZ_COMPILE := -std=c++17 -O2 -g -D_GLIBCXX_ASSERTIONS -pthread -Isrc/revolve_cpp/include
FUZZ_SANITIZE := -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
FUZZ_CPP := $(wildcard src/revolve_cpp/*.cpp tests/fuzz/*.cpp)
FUZZ_HPP := $(wildcard src/revolve_cpp/include/revolve/*.hpp tests/fuzz/*.hpp)

build/fuzz/%.o: %.cpp $(FUZZ_HPP)
	@mkdir -p $(@D)
	$(FUZZ_CXX) $(FUZZ_COMPILE) $(FUZZ_SANITIZE) -c $< -o $@

build/fuzz/target: $(FUZZ_CPP:%.cpp=build/fuzz/%.o)
	$(FUZZ_CXX) $(FUZZ_SANITIZE) $^ -o $@ -pthread -ldl

fuzz: .venv-hardening/installed
	@command -v $(FUZZ_CXX) >/dev/null || \
	    { echo "$(FUZZ_CXX), which has libFuzzer, was not found: apt-get install clang, or FUZZ_CXX=..."; exit 1; }
	$(MAKE) -j $(JOBS) build/fuzz/target
	mkdir -p build/fuzz/findings
	$(PYTHON) tests/fuzz/seeds.py build/fuzz/corpus
	$(PYTHON) tests/fuzz/seeds.py build/fuzz/plans
	cd build/fuzz && ./target -jobs=$(JOBS) -workers=$(JOBS) -runs=$(FUZZ_RUNS) -max_len=256 -timeout=100 \
	    -rss_limit_mb=4096 -verbosity=0 -print_final_stats=1 -artifact_prefix=findings/ corpus
	.venv-hardening/bin/python tests/fuzz/plans.py -runs=$(FUZZ_PLAN_RUNS) -max_len=512 -timeout=100 -verbosity=0 \
	    -print_final_stats=1 -artifact_prefix=build/fuzz/findings/plan- build/fuzz/plans

# Deterministic counts against benchmarks/counts.csv; ARGS=--update writes that.
guard: .venv-hardening/installed
	@command -v valgrind >/dev/null || { echo "valgrind not found: apt-get install valgrind"; exit 1; }
	.venv-hardening/bin/python benchmarks/counts.py $(ARGS)

# Lines and branches that the tests reach, of the package and of the C++ library, which is compiled for it in
# build/coverage and found there before the installed package. In one process, as its counters are not shared.
COUNTING := --coverage -fprofile-update=atomic -fno-inline
coverage: .venv-hardening/installed
	rm -rf build/coverage
	CFLAGS="$(COUNTING)" CXXFLAGS="$(COUNTING)" LDFLAGS=--coverage \
	    .venv-hardening/bin/python setup.py --quiet build --build-base build/coverage
	cd tests && PYTHONPATH="$$(echo $(CURDIR)/build/coverage/lib*)" \
	    ../.venv-hardening/bin/python -m coverage run --rcfile=../pyproject.toml \
	    --data-file=$(CURDIR)/build/coverage/data -m pytest -p no:cacheprovider $(ARGS)
	.venv-hardening/bin/python -m coverage combine --data-file=build/coverage/data build/coverage/data.*
	.venv-hardening/bin/python -m coverage html --quiet --data-file=build/coverage/data -d build/coverage/python
	mkdir -p build/coverage/cpp
	.venv-hardening/bin/python -m gcovr --root . --filter src/revolve_cpp/ --exclude-throw-branches --merge-lines \
	    --print-summary --html-details build/coverage/cpp/index.html --txt - build/coverage/temp*
	.venv-hardening/bin/python -m coverage report --data-file=build/coverage/data --skip-covered

# --- benchmarks and distributions -----------------------------------------------------------------------------

# They make .venv-reference, with pyrevolve 2.2.8, and .venv-checkpoint-schedules to measure beside.
bench: .venv/installed
	.venv/bin/python benchmarks/machine.py
	.venv/bin/python benchmarks/schedules.py
	.venv/bin/python benchmarks/gradient.py $(ARGS)
	.venv/bin/pip install --quiet --disable-pip-version-check '.[disk,zfp,plot]' 'checkpoint-schedules==1.0.4'
	.venv/bin/python benchmarks/memory_sweep.py
	.venv/bin/python benchmarks/memory_sweep.py --figures
	.venv/bin/python benchmarks/growth.py
	.venv/bin/python benchmarks/growth.py --figures
	.venv/bin/python benchmarks/storage.py $(BENCH_MODEL)

dist: .venv-lint/installed
	rm -rf dist
	$(LINT)/python -m build --outdir dist .

# The wheels of a release for this operating system, in wheelhouse/; on Linux in containers, which takes Docker.
wheels: dist
	$(LINT)/python $(PIP_INSTALL) 'cibuildwheel>=4.3'
	$(LINT)/cibuildwheel --output-dir wheelhouse dist/pyrevolve-*.tar.gz
	PYREVOLVE_STABLE_ABI=1 CIBW_BUILD="cp312-* cp313-* cp314-*" \
	    $(LINT)/cibuildwheel --output-dir wheelhouse dist/pyrevolve-*.tar.gz

clean:
	rm -rf build dist wheelhouse *.egg-info
	rm -rf .venv .venv-test .venv-sanitize .venv-lint .venv-reference .venv-checkpoint-schedules
	rm -rf .venv-hardening .venv-docs docs/_build docs/_figures docs/api/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f pyrevolve/*.so pyrevolve/crevolve.c pyrevolve/crevolve.cpp
	find pyrevolve tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
