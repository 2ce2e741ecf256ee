# Everything starts here: `make help` lists it. Only Python 3.11 or newer and a package registry are needed.

PYTHON ?= python3
ASK ?= How would you build the tallest building ever?
ARGS ?=
SECONDS ?= 3600
COUNT ?= 200
KILLS ?= 1000

bin := .venv/bin
# The first Python that is new enough makes .venv; what is installed already is not installed again.
candidates := $(PYTHON) python3.13 python3.14 python3.12 python3.11
new_enough := import sys; sys.exit(sys.version_info < (3, 11))
define install
@for python in $(candidates); do \
	if "$$python" -c '$(new_enough)' >/dev/null 2>&1; then exec "$$python" requirements/install.py $(1); fi; \
done; \
echo "Infron needs Python 3.11 or newer, and none was found; name it like this: make run PYTHON=/path/to/python3" >&2; exit 1
endef
compile = $(bin)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command 'make lock'

.PHONY: help run test check fuzz kill sigterm bench lock clean
.DEFAULT_GOAL := help

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: ## Start the gateway with a real model behind it, and ask it a first question (ARGS="--port 8081", ASK="…")
	$(call install,base local)
	@exec $(bin)/infron serve --ask "$(ASK)" $(ARGS)

test: check ## Run every check and every test (ARGS="tests/wires", or ARGS="-m 'not heavy'" for the quick ones)
	@$(bin)/python -m pytest --numprocesses auto --dist worksteal --durations=5 $(ARGS)

check: ## Run the checks alone: ruff and mypy
	$(call install,base local dev)
	@$(bin)/ruff check .
	@$(bin)/mypy src requirements/install.py

fuzz: ## Spoil what the wires read, for SECONDS (an hour), and keep what breaks a promise in fuzz-broken/
	$(call install,base local dev)
	@PYTHONPATH=tests nice $(bin)/python -m fuzz --seconds $(SECONDS)

kill: ## Kill the gateway KILLS times (1,000) under load, and see that its ledger is whole
	$(call install,base local dev)
	@nice $(bin)/python tests/kill.py --kills $(KILLS)

sigterm: ## Signal the gateway COUNT times (200) at random moments of its start, run and end
	$(call install,base local dev)
	@nice $(bin)/python tests/sigterm.py --count $(COUNT)

bench: ## Measure everything that bench/README.md publishes
	$(call install,base local dev)
	@$(bin)/python bench/run.py

lock: ## Renew the hash-pinned locks in requirements/
	$(call install,base lock)
	@$(compile) pyproject.toml requirements/base.in -o requirements/base.txt
	@$(compile) --no-deps requirements/local.in -o requirements/local.txt
	@$(compile) requirements/dev.in -o requirements/dev.txt
	@$(compile) requirements/clients.in -o requirements/clients.txt
	@$(compile) requirements/clients-apart.in -o requirements/clients-apart.txt
	@$(compile) requirements/lock.in -o requirements/lock.txt

clean: ## Remove what the commands above have made
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis dist bench/build fuzz-broken
	@find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
