# Every task of the project. Needs make and Python 3.11 or later; everything else goes into .venv.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test nodes chaos check format train-demo evaluate-phantoms bench-study bench-receive bench-deidentify bench-queue bench-segment soak-receive soak-hosts fuzz-receive peers constraints clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --root-user-action ignore -c constraints.txt
FUZZ_S ?= 600
REAL_SERIES ?= ../shared/data/lung-pet-ct-dx
PYTEST_ARGS ?= -n auto --dist loadgroup

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

demo: $(VENV)/.runtime ## Start a node and a stand-in PACS, push a synthetic chest CT, show what comes back
	$(BIN)/python -m covnode demo --out demo-out

test: $(VENV)/.dev peers ## Run the tests of modules, ports and gates (as root it installs PostgreSQL and other peers from Debian)
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest $(PYTEST_ARGS) -m "not chaos" --ignore tests/path --ignore tests/peer

nodes: $(VENV)/.dev peers ## Push series through whole nodes, and have DCMTK, Orthanc and validators talk to them
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest $(PYTEST_ARGS) -m "not chaos" tests/path tests/peer

chaos: $(VENV)/.dev peers ## Kill processes, fill disks and stop databases in the middle of work: nothing is lost or sent twice
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest $(PYTEST_ARGS) -m "chaos and not alone"
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -m alone
	$(BIN)/python -m covnode chaos --quick

check: $(VENV)/.dev ## Run the static gates: lint, format, types, floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## Format the code and apply the safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train-demo: $(VENV)/.runtime ## Train the demonstration networks on phantoms, from nothing, and write them to models/ (under an hour)
	$(BIN)/python -m covnode train --phantoms --out models

evaluate-phantoms: $(VENV)/.runtime ## Measure the shipped models on fresh phantoms, a line a goal (under 25 minutes on two cores)
	$(BIN)/python benchmarks/evaluate_phantoms.py

bench-study: build/r231-phantoms.pth ## Measure a study of 300 slices from the last C-STORE to the PACS, stage by stage
	$(BIN)/python benchmarks/study.py --weights $<

bench-receive: $(VENV)/.runtime ## Measure the receiver side by side with DCMTK's storescp and Orthanc: instances a second
	@tests/install_peers.sh eatmydata:eatmydata
	$(BIN)/python benchmarks/receive.py

bench-deidentify: $(VENV)/.bench ## Measure the de-identification side by side with dicom-anonymizer and dicognito: instances a second
	$(BIN)/python benchmarks/deidentify.py

bench-queue: $(VENV)/.runtime ## Measure what the queue costs a job, with few rows and with a million, on SQLite and PostgreSQL
	@tests/install_peers.sh
	$(BIN)/python benchmarks/job_queue.py

bench-segment: build/r231-phantoms.pth ## Measure the lungs of 300 slices side by side with lungmask's own inference
	$(BIN)/python benchmarks/segment.py --weights $< --real $(REAL_SERIES)

build/r231-phantoms.pth: covnode/learn/train_lungs.py | $(VENV)/.runtime
	@echo "Training weights of R231's size on phantoms for the benchmarks (some ten minutes)"
	$(BIN)/python -m covnode.learn.train_lungs --out $@

soak-receive: $(VENV)/.runtime ## Push 20,000 instances over 200 associations, a tenth of them broken, and look for what is lost or leaks
	$(BIN)/python benchmarks/soak_receive.py

soak-hosts: $(VENV)/.dev peers ## Push 200 series to two hosts (as root: in networks of their own), once in peace and once with one host killed
	@test "$$(id -u)" -ne 0 || tests/install_peers.sh ip:iproute2
	OMP_NUM_THREADS=1 COVNODE_TEST_SERIES=200 $(BIN)/python -m pytest -s tests/path/test_hosts.py -k "own_or_the or each_series_once or loses_nothing"

fuzz-receive: $(VENV)/.dev ## Throw broken PDUs and data sets at the receiver for ten minutes (FUZZ_S=600): no hang, leak or crash
	$(BIN)/python tests/fuzz/fuzz_receive.py --seconds $(FUZZ_S)

peers: ## Check that the programs which the tests talk to are installed; as root, install what lacks
	@tests/install_peers.sh

constraints: ## Resolve every dependency anew and write constraints.txt
	PYTHON=$(PYTHON) sh tests/lock.sh constraints.txt

clean: ## Remove what the other targets made, .venv included
	rm -rf $(VENV) demo-out dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- The environment, made once: a stamp is older than its inputs only when they changed -------------------------

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "covnode needs Python 3.11 or later; choose one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "No virtual environment could be made; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.runtime: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing the locked packages into $(VENV) (some minutes the first time)"
	@$(PIP) hatchling
	@$(PIP) --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "Installing the locked tools and test packages into $(VENV)"
	@$(PIP) --no-build-isolation -e '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.runtime
	@echo "Installing the locked tools of the benchmarks into $(VENV)"
	@$(PIP) --no-build-isolation -e '.[bench]'
	@touch $@
