# The course's commands; `make help` lists them.
# Everything is written below this folder: .venv, lake, lab, _build.

PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null \
	&& command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
AIRFLOW_VENV := .venv-airflow
AIRFLOW_READY := $(AIRFLOW_VENV)/ready
INFRA_VENV := .venv-infra
INFRA_READY := $(INFRA_VENV)/ready
BENCH_READY := $(VENV)/ready-benchmarks
DATA ?= auto
ROWS ?=
QUICK ?=

# One environment: another one's Spark or Java must not get in the way.
unexport SPARK_HOME SPARK_CONF_DIR PYTHONPATH PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON

# Kernels keep their history here, not in your home.
export IPYTHONDIR := $(CURDIR)/_build/ipython

# Three workers: while one waits for a JVM, a browser or a server, two keep both cores busy. The fast
# tests hardly wait, and each worker imports everything first, so two of them are enough.
WORKERS ?= 3
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

# uv leaves compiling to the first import, and where PYTHONDONTWRITEBYTECODE is set to every import:
# half a minute once saves every kernel, worker and task of Airflow a second or two.
COMPILED = --quiet --compile-bytecode

# Two notebooks at a time: one waits for a JVM or a server while the other works. JOBS=1 needs less memory.
JOBS ?= 2
RUN_OPTIONS = --jobs $(JOBS) --data $(DATA) $(if $(ROWS),--rows $(ROWS)) $(if $(filter-out 0,$(QUICK)),--quick)

.DEFAULT_GOAL := help
.PHONY: help environments setup course run export book serve lab airflow doctor test test-fast test-notebooks lint bench lock clean clean-env

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'
	@echo "  DATA=real|synthetic|PATH, ROWS=n, QUICK=1 and JOBS=1 change what 'make course' runs."

$(READY): requirements/course.txt pyproject.toml $(wildcard churnlab/run/spark_conf/*)
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 with venv found. Install one (Debian: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON) (once, about 2 minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -E '^uv==' requirements/course.txt)"
	@$(BIN)/uv pip install $(COMPILED) --python $(BIN)/python -r requirements/course.txt \
		--excludes requirements/course-left-out.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@$(BIN)/churnlab setup
	@touch $(READY)

# Airflow pins what the course does not, so it lives apart. The lock is complete: sync adds nothing.
$(AIRFLOW_READY): $(READY) requirements/airflow.txt
	@echo "Setting up $(AIRFLOW_VENV) (once, about a minute) ..."
	@test -x $(AIRFLOW_VENV)/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(AIRFLOW_VENV)
	@$(BIN)/uv pip sync $(COMPILED) --python $(AIRFLOW_VENV)/bin/python requirements/airflow.txt
	@$(BIN)/churnlab airflow --kernel
	@touch $(AIRFLOW_READY)

# What checks the cloud's side: Terraform's schema, its rules, storage and BigQuery on loopback.
$(INFRA_READY): $(READY) requirements/infra.txt
	@echo "Setting up $(INFRA_VENV) (once, about a minute) ..."
	@test -x $(INFRA_VENV)/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(INFRA_VENV)
	@$(BIN)/uv pip sync --quiet --python $(INFRA_VENV)/bin/python requirements/infra.txt
	@touch $(INFRA_READY)

# What the growth is held against: XGBoost and Polars, for `make bench` alone. Without them it goes on.
$(BENCH_READY): $(READY) requirements/benchmarks.txt
	@echo "Adding what only the benchmarks use (once, about 50 MB) ..."
	@$(BIN)/uv pip install $(COMPILED) --python $(BIN)/python -r requirements/benchmarks.txt \
		&& touch $(BENCH_READY) || echo "It is not installed: the arms that need it are left out."

environments: $(READY) $(AIRFLOW_READY) $(INFRA_READY)

setup: $(READY) ## create the environment from the lock

course: setup $(AIRFLOW_READY) ## run the notebooks, export the scripts, build the book
	@$(BIN)/churnlab export
	@$(BIN)/churnlab run $(RUN_OPTIONS)
	@$(BIN)/churnlab book
	@echo "Read it: make serve"

export: setup ## export the notebooks to scripts_generated/
	@$(BIN)/churnlab export

book: setup ## build the book from the notebooks as they last ran
	@$(BIN)/churnlab book

serve: setup ## serve the book on this machine
	@$(BIN)/churnlab serve

lab: setup $(AIRFLOW_READY) ## open JupyterLab, Spark monitor on, with your own copies in lab/
	@$(BIN)/churnlab lab

airflow: setup $(AIRFLOW_READY) ## start Airflow with the scoring DAG on this machine
	@$(BIN)/churnlab airflow

doctor: setup ## check this machine
	@$(BIN)/churnlab doctor

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check churnlab tests book benchmarks

test: setup $(AIRFLOW_READY) $(INFRA_READY) lint ## everything the CI runs
	@$(BIN)/churnlab export --check
	@$(PYTEST) --durations=40 -p tests.minutes

test-notebooks: setup $(AIRFLOW_READY) ## every notebook from a fresh kernel, on few customers
	@$(PYTEST) --durations=12 tests/notebooks/test_every_notebook.py

test-fast: setup lint ## the inner loop while writing, under a minute and a half
	@$(PYTEST) -n 2 -q -m "not slow"

bench: setup $(BENCH_READY) ## the measured comparisons; ROWS=10000,100000 is the growth alone
	@$(BIN)/python -m benchmarks $(if $(ROWS),--rows $(ROWS))

lock: ## pin the newest versions that requirements/*.in allow
	@$(BIN)/uv pip compile --quiet --universal --no-emit-index-url --python-version 3.11 \
		--excludes requirements/course-left-out.txt requirements/course.in -o requirements/course.txt
	@$(BIN)/uv pip compile --quiet --no-emit-index-url --python-version 3.12 --python-platform linux \
		--constraint requirements/course.txt requirements/function.in -o requirements/function.txt
	@$(BIN)/uv pip compile --quiet --universal --no-emit-index-url --python-version 3.11 --no-annotate \
		--exclude-newer 2026-08-15 --override requirements/airflow-left-out.txt \
		requirements/airflow.in -o requirements/airflow.txt
	@$(BIN)/uv pip compile --quiet --universal --no-emit-index-url --python-version 3.11 --no-annotate \
		--override requirements/infra-left-out.txt requirements/infra.in -o requirements/infra.txt
	@$(BIN)/uv pip compile --quiet --universal --no-emit-index-url --python-version 3.11 \
		--constraint requirements/course.txt requirements/benchmarks.in -o requirements/benchmarks.txt
	@for image in batch:3.11 serving:3.12; do \
		folder=infra/images/$${image%:*}; \
		$(BIN)/uv pip compile --quiet --no-emit-index-url --generate-hashes --python-version $${image#*:} \
			--python-platform linux --constraint requirements/course.txt \
			$$folder/requirements.in -o $$folder/requirements.txt || exit 1; \
	done
	@for lock in airflow infra; do \
		grep -v "sys_platform == 'never'" requirements/$$lock.txt > requirements/$$lock.tmp; \
		mv requirements/$$lock.tmp requirements/$$lock.txt; \
	done

clean: ## remove what the course wrote (not the environment)
	rm -rf _build lake lab spark-warehouse metastore_db derby.log .pytest_cache .ruff_cache .hypothesis

clean-env: ## remove the environment
	rm -rf .venv .venv-*
