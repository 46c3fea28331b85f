# make run   build .venv, materialize every sample asset, print what came of it
# make test  the tests, in two processes (ten minutes)
# make test-fast   those that start no JVM: what to run while working
# make test-slow   those that start whole processes and kill them (twenty minutes)
# make test-cluster   those that run on clusters of several hosts, which are namespaces of this one (as root; else on loopback)
# make test-gpu       those that compute on an NVIDIA GPU
# make spark-server   a Spark Connect server on this machine, for several runs at a time (PORT=15002)
# make test-ui, test-production   those of the slow ones that drive a browser, or start PostgreSQL and a proxy
# make screenshots   write docs/images from the sample project's UI
# make dev   Dagster's UI on this machine: http://127.0.0.1:3000
# make lint  ruff, mypy, import-linter
# make docs  write the tables of docs/reference.md from the declarations, and build the documentation site
# make graph  write the sample graph's snapshot, tests/orchestration/sample_graph.json
# make fuzz  drawn tables, tasks and histories against a reference: MINUTES=30, or SEED=7 for one round again
# make soak  200 refreshes of one table with changes and faults: rows exact, memory and processes flat (a quarter of an hour)
# make bench-score, bench-predict (and other bench-*)   figures, side by side with their ceilings (minutes; BENCH=options)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := run
.PHONY: run test test-fast test-slow test-cluster test-gpu test-ui test-production screenshots fuzz soak dev spark-server docs graph lint clean bench-score bench-predict bench-plan bench-memory bench-score-memory bench-encodings bench-durability bench-gpu bench-models bench-shapes bench-startup

PORT ?= 3000
MINUTES ?= 30
BIN := .venv/bin
# Tests that use a Spark session all run in one of the two, so there is one session.
TWO_PROCESSES := --numprocesses 2 --dist loadgroup
# Stamped with the lock, the declared entry points and the interpreter: the environment is made again when one changes.
READY := .venv/.ready

run: $(READY)
	@$(BIN)/python -m sparktorch_assets.orchestration.commands.run sparktorch_assets.definitions

test: $(READY)
	@$(BIN)/python -m pytest $(TWO_PROCESSES) -m "not slow and not cluster and not gpu"

test-fast: $(READY)
	@$(BIN)/python -m pytest -q $(TWO_PROCESSES) -m "not slow and not jvm and not cluster and not gpu"

test-slow: $(READY)
	@$(BIN)/python -m pytest $(TWO_PROCESSES) -m "slow and not cluster and not gpu"

test-cluster: $(READY)
	@$(BIN)/python -m pytest -m "cluster and not gpu"

test-gpu: $(READY)
	@$(BIN)/python -m pytest -m gpu

test-ui: $(READY)
	@$(BIN)/python -m pytest -m browser

test-production: $(READY)
	@$(BIN)/python -m pytest -m postgres

screenshots: $(READY)
	@$(BIN)/python tests/ui/screenshots.py

fuzz: $(READY)
	@$(BIN)/python tests/reference/fuzz.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

soak: $(READY)
	@$(BIN)/python tests/reference/soak.py

spark-server: $(READY)
	@$(BIN)/python -m sparktorch_assets.spark.session.server $(if $(filter command line,$(origin PORT)),--port $(PORT))

dev: $(READY)
	@$(BIN)/python -m sparktorch_assets.orchestration.commands.dev --port $(PORT)

docs: $(READY)
	@$(BIN)/python docs/write_reference.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "The documentation is in site/: open site/index.html, or run $(BIN)/mkdocs serve, which has a search"

graph: $(READY)
	@$(BIN)/python tests/orchestration/sample_graph.py

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy tests/user_program.py
	@$(BIN)/lint-imports

bench-score: $(READY)
	@$(BIN)/python benchmarks/bench_score.py $(BENCH)

bench-predict: $(READY)
	@$(BIN)/python benchmarks/bench_predict.py --with-spark $(BENCH)

bench-plan: $(READY)
	@$(BIN)/python benchmarks/bench_plan.py $(BENCH)

bench-score-memory: $(READY)
	@$(BIN)/python benchmarks/bench_score_memory.py $(BENCH)

bench-encodings: $(READY)
	@$(BIN)/python benchmarks/bench_encodings.py

bench-durability: $(READY)
	@$(BIN)/python benchmarks/bench_durability.py $(BENCH)

bench-models: $(READY)
	@$(BIN)/python benchmarks/bench_models.py $(BENCH)

bench-shapes: $(READY)
	@$(BIN)/python benchmarks/bench_shapes.py $(BENCH)

bench-startup: $(READY)
	@$(BIN)/python benchmarks/bench_startup.py $(BENCH)

bench-gpu: $(READY)
	@$(BIN)/python benchmarks/bench_gpu.py $(BENCH)

bench-memory: $(READY)
	@$(BIN)/python benchmarks/bench_memory.py $(BENCH)

clean:
	rm -rf data/lake .dagster

$(READY): requirements.lock pyproject.toml
	@for python in "$${PYTHON:-}" python3 python3.13 python3.12 python3.11; do \
	  if [ -n "$$python" ] && "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	  echo "error: no Python 3.11, 3.12 or 3.13 here; install one, or name it: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; \
	fi; \
	echo "Installing into .venv (once; a few minutes) ..."; \
	test -x $(BIN)/python || "$$found" -m venv .venv; \
	pip() { $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet "$$@"; }; \
	pip install -r requirements.lock; \
	pip install --no-deps --no-build-isolation --editable .; \
	touch $(READY)
