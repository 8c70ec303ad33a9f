# Every target sets up .venv by itself: a machine needs only Python 3.11 or 3.12, and make.
PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
LOCK   ?= requirements.lock
OUT    ?= runs
SEEDS  ?=
FRAMES ?=
ARGS   ?=

STUDIES := gridworld reward-maps gridworld-extrapolation dropout-ablation worker-ratio-ablation fidelity \
	half-cheetah-velocity ant-direction ant-goal workers \
	moss-parametric moss-ood moss-nonstationary moss-multitask moss-ablation ppo-minibatches varibad-weight

.DEFAULT_GOAL := help
.PHONY: help setup quickstart $(STUDIES) test test-all test-faults mutants lint docs docs-check lock bench bench-gpu clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-24s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv from the hashed lock

$(STAMP): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else f"jaxmeta needs Python 3.11 or 3.12, but $(PYTHON) is {v[0]}.{v[1]}: try make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r $(LOCK)
	$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

quickstart: $(STAMP) ## RL2, variBAD and LDM on the gridworld in about 12 minutes on 2 cores, with the report
	$(PY) -m experiments study quickstart --out $(OUT)/quickstart $(ARGS)

$(STUDIES): $(STAMP)
	$(PY) -m experiments study $@ --out $(OUT)/$@ $(if $(SEEDS),--seeds $(SEEDS)) $(if $(FRAMES),--frames $(FRAMES)) $(ARGS)
gridworld: ## the paper's gridworld study: SEEDS=8 FRAMES=100_000_000 OUT=runs
reward-maps: ## Figure 4: what LDM imagines, by the decoder's dropout
gridworld-extrapolation: ## Figures 5 and 6: goals between and outside the training goals, by beta
dropout-ablation: ## test goals by the decoder's dropout
worker-ratio-ablation: ## test goals by the number of mixture workers
fidelity: ## which of LDM's settings decide how many test goals it reaches
half-cheetah-velocity: ## Figures 7 and 8d: all methods on the half-cheetah, 8 seeds of 50M frames
ant-direction: ## Figures 7 and 8b: all methods on the Ant's directions, 8 seeds of 200M frames
workers: ## RL2 and LDM with 16 to 4,096 workers, for a GPU
moss-parametric: ## MoSS, variBAD by SAC and by PPO, RL2 on velocities: 4 seeds of 3M frames
moss-ood: ## MoSS and LDM where test velocities lie between the training ones
moss-nonstationary: ## MoSS where velocities change within an episode
moss-multitask: ## MoSS with four components and with one on tasks of seven kinds
moss-ablation: ## MoSS without one of its parts
ppo-minibatches: ## whether PPO's minibatches of trials learn as well as those of steps
varibad-weight: ## variBAD on the gridworld with the published ELBO, and with a 120th of it
ant-goal: ## Figures 7 and 8c: all methods on the Ant's goals, 8 seeds of 200M frames

# A core for each of two workers, who begin with half of the files each: a file's tests share programs.
PYTEST := $(PY) -m pytest -n 2 --dist worksteal

test: $(STAMP) ## lint, types, the site's warnings, and the tests that CI runs
	$(MAKE) --no-print-directory lint $(if $(ARGS),,docs-check)
	$(PYTEST) $(ARGS)

test-all: $(STAMP) ## the same with the slow tests and the mutants
	$(MAKE) --no-print-directory lint $(if $(ARGS),,docs-check)
	$(PYTEST) -m "" $(ARGS)
	$(MAKE) --no-print-directory mutants

test-faults: $(STAMP) ## kill, damage, fill and poison runs: what was tried, survived, lost
	$(PY) -m pytest -m fault $(ARGS)

mutants: $(STAMP) ## break the code in each of the known ways: a test must notice every one
	$(PY) -m tests.mutants $(ARGS)

lint: $(STAMP) ## ruff (lint and format) and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(VENV)/.docs ## the site, in docs/_build/html; a warning is an error
	$(PY) -m sphinx -q -W --keep-going -d docs/_build/doctrees docs docs/_build/html
	@echo docs/_build/html/index.html

docs-check: $(VENV)/.docs ## read all pages and docstrings, write no site; a warning is an error
	$(PY) -m sphinx -b dummy -E -q -W --keep-going docs docs/_build/dummy

$(VENV)/.docs: $(STAMP) requirements-docs.lock
	$(PY) -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements-docs.lock
	@touch $@

bench: $(STAMP) ## our targets for speed; frames/s, memory, compiling per method; physics beside C
	$(PY) -m experiments bench targets --out $(OUT)/bench.jsonl $(ARGS)
	$(PY) -m experiments bench training --out $(OUT)/bench-training.jsonl $(ARGS)
	$(PY) -m experiments bench physics --workers 16 128 --out $(OUT)/bench-physics.jsonl $(ARGS)

GPU_WORKERS := 16 256 1024 4096
bench-gpu: $(STAMP) ## the same on a GPU, minutes (LOCK=requirements-cuda.lock brings JAX for it)
	$(PY) -m experiments bench gpu --workers $(GPU_WORKERS) --out $(OUT)/bench-gpu.jsonl $(ARGS)
	$(PY) -m experiments bench physics --workers 1024 4096 16384 --engines mjx --out $(OUT)/bench-gpu-physics.jsonl $(ARGS)

COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes -q \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header
lock: ## refresh the locks (needs uv; nobody else does)
	$(COMPILE) --extra dev -o requirements.lock
	$(COMPILE) --extra dev --extra cuda -c requirements.lock -o requirements-cuda.lock
	$(COMPILE) --extra docs -c requirements.lock -o requirements-docs.lock

clean: ## remove .venv, caches and the site; runs are never touched
	rm -rf $(VENV) docs/_build .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find jaxmeta envs experiments tests -name __pycache__ -type d -prune -exec rm -rf {} +
