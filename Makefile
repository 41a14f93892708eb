# `make demo` and `make test` set themselves up: a virtual environment in .venv, first light (what reading
# needs), then full (torch and the tools of development). What is there already is used again.

PYTHON ?= python3
VENV ?= .venv
# One version, so that the numbers in the docs can be compared. On Linux pip may choose a build with several GB
# of CUDA libraries; TORCH_INDEX=https://download.pytorch.org/whl/cpu asks for the CPU build.
TORCH ?= torch==2.13.0
TORCH_INDEX ?=

# A file of versions to keep to; none: the newest. CI has one.
CONSTRAINTS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
PORT ?= 8000
ARTICLE := examples/lighthouse.txt

.PHONY: help demo demo-web test test-fast test-benchmarks test-cpus test-random soak test-light coverage fuzz shape check format wheel sbom oldest gpu rivals bench-check docs pictures clean

help:
	@echo "make demo        answer from the shipped bundle, then export the checkpoint and race PyTorch"
	@echo "make demo-web    the page in a browser: starts the server and prints its address (PORT=8000)"
	@echo "make test        the whole test suite: about 15 minutes on 2 cores"
	@echo "make test-fast   the core of it, in under 90 s: no exports, training, servers or browser"
	@echo "make test-benchmarks  the tests of the scripts in benchmarks/ alone"
	@echo "make test-cpus   the tests that depend on the CPU, as on an old one and on a new one"
	@echo "make test-random the whole suite in another order each time; SEED=1 repeats one"
	@echo "make test-light  the tests that need no torch, in an environment without it"
	@echo "make soak        the tests that take minutes: many threads and tasks, many times"
	@echo "make coverage    the whole suite, and how much of each file it runs"
	@echo "make fuzz        changed inputs for everything that reads them; SECONDS=3600, SEED=1"
	@echo "make shape       the package in figures: files, lines, imports between rooms, what is too long"
	@echo "make check       format, lint, types, spelling"
	@echo "make docs        the site of the docs, in build/docs/html; make pictures draws its pictures again"
	@echo "make sbom        the wheel, and what it runs with, as a CycloneDX file"
	@echo "make oldest      the built wheel with the oldest versions that it allows"
	@echo "make rivals      everybody on the same questions, in under an hour; QUICK=1: in minutes"
	@echo "make bench-check whether qa-onnx became slower beside the same rivals"
	@echo "make gpu         on a machine with an NVIDIA GPU: its tests, parity and speed"
	@echo "make clean       remove what these made"

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    f"qa-onnx needs Python 3.11 or newer, this is {sys.version.split()[0]}: make PYTHON=python3.11 ...")'
	@echo "== making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip
	@touch $@

$(VENV)/.light: $(VENV)/.made pyproject.toml
	@echo "== installing qa-onnx[cpu]: numpy, tokenizers, ONNX Runtime and the command line"
	@$(PIP) --editable '.[cpu]'
	@touch $@

$(VENV)/.full: $(VENV)/.light
	@echo "== installing torch, transformers, optimum and the tools of development"
	@$(PIP) $(TORCH) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	@$(PIP) --editable '.[all]' --group dev --group docs
	@touch $@

demo: $(VENV)/.light
	@echo "== asking the default bundle about $(ARTICLE)"
	$(BIN)/qa-onnx ask -q "Who designed the tower?" -c $(ARTICLE)
	$(BIN)/qa-onnx ask -q "What was the Concordia carrying?" -c $(ARTICLE)
	@$(MAKE) --no-print-directory $(VENV)/.full
	@echo "== exporting models/minilm-squad to int8, as the default bundle was made"
	$(BIN)/qa-onnx export models/minilm-squad --to build/demo --precision int8
	$(BIN)/qa-onnx ask -b build/demo -q "How far could the light be seen?" -c $(ARTICLE)
	@echo "== the same questions, the same windows: PyTorch and the new bundle take turns"
	$(BIN)/qa-onnx bench --quick --scenarios offline,single-stream -b build/demo --against models/minilm-squad

$(VENV)/.serve: $(VENV)/.light
	@echo "== installing the server: FastAPI, uvicorn, prometheus-client"
	@$(PIP) --editable '.[cpu,serve]'
	@touch $@

demo-web: $(VENV)/.serve
	@echo "== a page to ask at, and an API, at the address below; Ctrl-C ends it"
	@exec $(BIN)/qa-onnx serve --port $(PORT)

# A file's tests share models that take time to make, so each file stays in one process.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile

test: $(VENV)/.full
	@echo "== running the whole test suite: about 15 minutes on 2 cores (make test-fast: its core)"
	$(PYTEST)

test-fast: $(VENV)/.full
	@echo "== running the core of the test suite: under 90 s on 2 cores"
	$(PYTEST) -m "not slow and not export and not soak" --ignore tests/benchmarks

test-benchmarks: $(VENV)/.full
	@echo "== running the tests of the scripts in benchmarks/: about 4 minutes"
	$(PYTEST) tests/benchmarks

# What qa-onnx reads of the CPU is set from outside, since the CPU here has one set of instructions and no other.
OLD_CPU := avx2
NEW_CPU := avx2,avx512f,avx512_vnni,avx_vnni,amx_int8,avx512_bf16,amx_bf16

# A setting that is this CPU's own is left out: `make test` runs that.
test-cpus: $(VENV)/.full
	@own=$$($(BIN)/python -c 'from qa_onnx.machine import cpu; print(",".join(cpu.instruction_sets()))'); \
	for sets in $(OLD_CPU) $(NEW_CPU); do \
	    if [ "$$sets" = "$$own" ]; then echo "== this CPU has $$sets, which make test runs with"; continue; fi; \
	    echo "== running what depends on the CPU, as if it had $$sets"; \
	    QA_ONNX_INSTRUCTION_SETS=$$sets $(PYTEST) -m "cpu and not slow and not soak" || exit 1; \
	done

SEED ?= $(shell date +%s)

test-random: $(VENV)/.full
	@echo "== running the whole test suite in the order of SEED=$(SEED)"
	$(PYTEST) --random-order --random-order-seed=$(SEED)

# The long form of tests that the suite runs in short.
soak: $(VENV)/.full
	$(BIN)/python -m pytest -m soak

# Without torch: tests of export and training skip, and say so.
test-light:
	@$(MAKE) --no-print-directory VENV=$(VENV)-light $(VENV)-light/.light
	@$(VENV)-light/bin/python -m pip install --quiet --group dev
	$(VENV)-light/bin/python -m pytest

# Without what other processes run: servers, commands, workers.
coverage: $(VENV)/.full
	$(PYTEST) --cov=qa_onnx --cov-report=term

SECONDS ?= 600

fuzz: $(VENV)/.full
	@echo "== fuzzing for $(SECONDS) seconds; findings go to build/fuzz"
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --seed $(SEED)

shape: $(VENV)/.full
	@$(BIN)/python -m tests.shape

check: $(VENV)/.full
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/pre-commit validate-config
	$(BIN)/reuse lint --quiet

# Strictly and offline: each warning, lost link and file from elsewhere is an error.
docs: $(VENV)/.full
	@rm -rf build/docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --doctree-dir build/docs/doctrees docs build/docs/html
	$(BIN)/python docs/site/check_site.py build/docs/html
	@echo "== build/docs/html/index.html"

# What the site has of the default model: pictures, and the output on how-it-works.md as a notebook.
pictures: $(VENV)/.full
	$(BIN)/python docs/site/pictures.py
	$(BIN)/python docs/site/page_notebook.py

format: $(VENV)/.full
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel: $(VENV)/.full
	@rm -rf dist
	$(BIN)/python -m build --installer pip --outdir dist .

# Its own environment, with every lower bound of pyproject.toml: the bundle must load and give the same logits.
sbom: wheel
	@echo "== what the wheel runs with, and the files of its bundle: dist/qa-onnx.cdx.json (CycloneDX)"
	@rm -rf $(VENV)-sbom build/sbom
	@$(PYTHON) -m venv build/sbom
	@build/sbom/bin/python -m pip install --quiet --disable-pip-version-check "$$(ls dist/qa_onnx-*.whl)[cpu]"
	@$(PYTHON) -m venv $(VENV)-sbom
	@$(VENV)-sbom/bin/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom==7.5.0'
	@$(VENV)-sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type library --output-reproducible \
	    --output-file build/packages.cdx.json build/sbom/bin/python
	@$(VENV)-sbom/bin/python .ci/sbom.py build/packages.cdx.json exported/minilm-squad >dist/qa-onnx.cdx.json
	@rm -rf build/sbom $(VENV)-sbom

oldest: wheel
	@echo "== installing the wheel with the oldest versions that it allows"
	@rm -rf $(VENV)-oldest
	@$(PYTHON) -m venv $(VENV)-oldest
	@$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check dist/qa_onnx-*.whl \
	    $$($(BIN)/python .ci/lower_bounds.py)
	$(VENV)-oldest/bin/qa-onnx inspect --verify
	$(VENV)-oldest/bin/qa-onnx ask -q "Who designed the tower?" -c $(ARTICLE)

# Its own environment, since the two wheels of ONNX Runtime exclude each other. TENSORRT= leaves TensorRT out.
TENSORRT ?= tensorrt-cu13==10.*

$(VENV)-gpu/.made: pyproject.toml
	@echo "== installing qa-onnx[gpu,export,bench] and the tools of development in $(VENV)-gpu"
	@$(PYTHON) -m venv $(VENV)-gpu
	@$(VENV)-gpu/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(VENV)-gpu/bin/python -m pip install --quiet $(TORCH) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	@$(VENV)-gpu/bin/python -m pip install --quiet --editable '.[gpu,export,bench]' --group dev $(if $(TENSORRT),'$(TENSORRT)')
	@touch $@

gpu: $(VENV)-gpu/.made
	$(VENV)-gpu/bin/python benchmarks/gpu_check.py

# Each rival gets an environment of its own, in build/rivals. What is done already is not done again.
RIVALS := benchmarks/rivals.py $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX))

rivals: $(VENV)/.full
	$(BIN)/python $(RIVALS) $(if $(QUICK),--quick)

bench-check: $(VENV)/.full
	$(BIN)/python $(RIVALS) --quick --only minilm-squad --fresh --out build/rivals/check
	$(BIN)/python benchmarks/bench_check.py build/rivals/check/results.json benchmarks/results/quick/results.json

clean:
	rm -rf $(VENV) $(VENV)-light $(VENV)-oldest $(VENV)-gpu build dist
