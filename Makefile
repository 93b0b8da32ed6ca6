# Each target does its own set-up: a virtual environment with the exact versions of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed

# make demo: where the simulated flights and the runs go; QUICK=1 is a smoke test in two short epochs.
DATA ?= data/simulated
OUT ?= runs
QUICK ?=
SIMULATE = --flights 24 --frames 20
OVERRIDES = "--data.source.init_args.root=$(DATA)"
ifneq ($(QUICK),)
SIMULATE = --flights 6 --frames 6
OVERRIDES += , "--trainer.max_epochs=2", "--data.batches_per_epoch=10"
endif

.PHONY: demo test test-all lint docs bench clean

demo: $(INSTALLED)  ## simulate flights, fit and test both arms, print one table, draw figures
	test -d $(DATA) || $(BIN)/dml simulate --out $(DATA) $(SIMULATE)
	$(BIN)/dml compare --config configs/experiment/demo.yaml --out $(OUT) --overrides '[$(OVERRIDES)]'

# make test: processes at once, of one thread each; a file's tests share fixtures and stay together.
PROCESSES ?= 2
TEST = OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest \
  --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder
test: $(INSTALLED)  ## every test but long forms of others; ARGS="-m 'not (slow or long)'" leaves out what takes 20 s
	$(TEST) -m 'not long' $(ARGS)

test-all: $(INSTALLED)  ## every test, the long forms too
	$(TEST) $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED)  ## the site in build/site; a warning such as a dead link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# make bench: by default each is small and writes nothing; large settings are arguments of the script. One that fails
# does not stop the others. `make bench ONLY=retrieval` runs one. Left out, because they download tools of others with all
# that these need: foreign_files (2 GB) and count_width (300 MB): `make bench ONLY=foreign_files`.
BENCHMARKS = $(filter-out measure short_runs truth count_width foreign_files, $(basename $(notdir $(sort $(wildcard benchmarks/*.py)))))
ONLY ?= $(BENCHMARKS)
bench: $(INSTALLED)  ## every benchmark in its small form, side by side with its peer; about 15 minutes
	@failed=; for name in $(ONLY); do \
	  echo "== python benchmarks/$$name.py"; \
	  OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python benchmarks/$$name.py || failed="$$failed $$name"; \
	done; test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("dml_lightning needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
