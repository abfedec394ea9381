# make demo | starter | docs | test | check | licences | constraints     Everything happens in .venv, which is made on first use.
PYTHON ?= python3
VENV ?= .venv
DEVICE ?= auto
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cksum < pyproject.toml | cut -d' ' -f1)

.PHONY: demo starter docs test check licences constraints install
install: $(STAMP)
$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@rm -f $(VENV)/.installed-* && touch $@

demo: install
	$(BIN)/polyscene demo

starter: install # two hours on two cores; DEVICE=cuda where there is one
	$(BIN)/python experiments/starter/run --device $(DEVICE)

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test: install
	$(BIN)/python -m pytest -n 2

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

licences: install # of all that comes with the package; fails on what is copyleft or forbids commercial use
	$(BIN)/python .ci/licences.py

constraints: install # the versions that are installed here
	$(BIN)/python .ci/licences.py --constraints constraints.txt
