# The book and its proof. `make help` lists what there is.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HTML := _build/html

# Linux wheels of PyTorch from PyPI bring some GB of CUDA. Without an NVIDIA driver, take PyTorch's
# own CPU wheel. Say TORCH=cpu or TORCH=cuda to choose yourself, once: a .venv keeps its kind.
# Elsewhere there is one wheel.
ifeq ($(shell uname -s),Linux)
TORCH ?= $(or $(patsubst $(VENV)/.torch-%,%,$(wildcard $(VENV)/.torch-*)),$(if $(shell command -v nvidia-smi),cuda,cpu))
else
TORCH := default
endif
ifeq ($(filter $(TORCH),cpu cuda default),)
$(error TORCH is "$(TORCH)"; allowed are cpu and cuda)
endif
TORCH_INDEX := $(if $(filter cpu,$(TORCH)),--retries 1 --extra-index-url https://download.pytorch.org/whl/cpu)

PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.torch-$(TORCH)
TESTABLE := $(VENV)/.testable

.DEFAULT_GOAL := book
.DELETE_ON_ERROR:
.PHONY: help book test pages notebooks subjects pictures serve bench lint clean

help: ## say what each target does
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# Torch comes first, by itself, so that the other packages find it installed and draw nothing more.
# A .venv that was made with the other kind of torch has no $(INSTALLED), and gets this kind.
$(INSTALLED): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is \
	needed, and $(PYTHON) is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12")'
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	kind=$$(test -e $@ || echo --force-reinstall); \
	$(PIP) install --no-deps $$kind $(TORCH_INDEX) "$$(grep '^torch==' constraints.txt)"
	$(PIP) install -c constraints.txt -e '.[brain,train,book]'
	rm -f $(VENV)/.torch-*
	touch $@

$(TESTABLE): $(INSTALLED)
	$(PIP) install -c constraints.txt -e '.[brain,train,book,test]'
	touch $@

# Sphinx keeps what it read, and would not tell a page's warning a second time: it starts anew.
book: $(INSTALLED) ## build the book (the default), with warnings as failures
	rm -rf $(HTML) _build/.doctrees
	$(BIN)/jupyter-book build . -W -n --keep-going
	$(BIN)/python tools/check_pages.py $(HTML)
	@echo "The book is at file://$(CURDIR)/$(HTML)/index.html"

# Two at once with a thread each are through sooner than one at a time with two: the tensors are small.
test: $(TESTABLE) subjects ## prove the package and every chapter
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --nbval book

pages: $(TESTABLE) ## look at the built book in a browser, with the network off
	@test -f $(HTML)/index.html || { echo "There is no book yet: make book"; exit 1; }
	$(BIN)/python -m pytest -m pages tests/pages

notebooks: $(TESTABLE) subjects ## run again the chapters whose code changed
	$(BIN)/python tools/notebooks.py $(CHAPTERS)

# What is there is kept, so that this takes a second from then on.
subjects: $(INSTALLED) ## simulate the book's four subjects, in data/nsd
	$(BIN)/minisd nsd simulate data/nsd

pictures: $(INSTALLED) ## draw the pictures of the welcome page again
	$(BIN)/python tools/welcome_pictures.py

serve: ## show the built book at http://127.0.0.1:8000
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory $(HTML) 8000

bench: $(TESTABLE) ## measure what needs no folder and no hour; benchmarks/README.md tells of the others
	set -e; for name in import_time parity scenes speed startup; do $(BIN)/python benchmarks/$$name.py; done

lint: $(TESTABLE) ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean: ## remove what the build made; .venv stays
	rm -rf _build
