# All the set-up there is: `make demo`, `make demo-rag` and `make test`. ONCE=1 ends a demo after its answers.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: demo demo-rag test lint integration test-vllm clean
.DEFAULT_GOAL := demo

# Everything the checkout needs, at the pinned versions, in a virtual environment of its own.
$(VENV)/.installed: pyproject.toml constraints-dev.txt
	$(PYTHON) -c 'import sys; sys.exit("kaito needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints-dev.txt -e '.[bench,inference,rag,rag-milvus,rag-minilm,rag-pgvector,rag-qdrant,tuning,dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/kaito demo $(if $(ONCE),--once)

# A model server and a retrieval service that has indexed docs/: an answer with its sources.
demo-rag: $(VENV)/.installed
	$(BIN)/kaito demo --file examples/rag/quickstart.yaml $(if $(ONCE),--once)

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

integration: $(VENV)/.installed
	$(BIN)/python -m pytest -m real_apiserver $(ARGS)

# The vLLM engine on a CPU, in an environment of its own (3.5 GB, about 2 minutes once): beside vLLM's own server, and under
# the suite that every engine passes.
test-vllm: $(VENV)/.installed
	python=$$(tests/vllm/environment.sh) && KAITO_VLLM_PYTHON=$$python $(BIN)/python -m pytest tests/vllm $(ARGS) && \
	VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind $$python -m pytest -p no:cacheprovider --timeout 400 -k vllm tests/contract/engine $(ARGS)

clean:
	rm -rf $(VENV) .kaito .pytest_cache .mypy_cache .ruff_cache
