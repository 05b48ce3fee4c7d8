# The verbs of this project. `make demo` and `make test` are all a newcomer needs.
.PHONY: help setup demo test lint bench lock clean
.DEFAULT_GOAL := help
PYTHON ?= python3
PY := .venv/bin/python

help:    ## what there is
	@sed -n 's/^\([a-z]*\): *\(.*\)## \(.*\)/  make \1\t\3/p' $(MAKEFILE_LIST)

setup:   ## the environment in .venv, at the locked versions
	@$(PYTHON) bootstrap.py

demo: setup  ## the whole product on this machine: a real Asterisk, real calls, a CRM, a browser page
	@.venv/bin/asterisk-bridge demo

test: setup lint  ## every check and test, against the same real parts
	@$(PY) -m lab install
	@$(PY) -m pytest -n 2 --dist loadfile || { \
		echo "Once more, alone: real phones keep real time, which a busy machine may not. What fails again has failed."; \
		$(PY) -m pytest --last-failed --last-failed-no-failures none; }

lint: setup  ## style, types, layers
	@.venv/bin/ruff check -q .
	@.venv/bin/ruff format -q --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache > .lint-imports.log || { cat .lint-imports.log; exit 1; }

bench: setup  ## the benchmarks, each beside its peer
	@for b in bench/*.py; do echo "== $$b"; $(PY) $$b || exit 1; done

lock: setup  ## the locked versions, anew (needs the network)
	@.tools/bin/uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-annotate --extra dev --python-version 3.11 pyproject.toml -o requirements.lock

clean:   ## everything this made, but the demo's and the lab's caches
	@rm -rf .venv .tools .mypy_cache .ruff_cache .import_linter_cache .lint-imports.log .pytest_cache build *.egg-info
