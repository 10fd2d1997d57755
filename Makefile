# demo . test . lint . bench . peers . demo-model . wheel
# TORCH_INDEX=URL takes torch from another package index, for instance one with CPU-only builds.
TORCH_INDEX ?=
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find rust benches -name '*.rs' -o -name Cargo.toml)

.PHONY: demo test lint bench peers demo-model wheel
demo: $(READY)
	$(BIN)/emo demo -o emo-demo
$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "needs python >= 3.11: make PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "this Python lacks venv: install it (python3-venv) or make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
$(READY): $(BIN)/uv $(SOURCES) tools/build_backend.py
	$(if $(TORCH_INDEX),$(BIN)/uv pip install --quiet --python $(BIN)/python --index-url $(TORCH_INDEX) torch)
	$(BIN)/uv pip install --quiet --python $(BIN)/python 'maturin>=1.9,<2'
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --group dev -e '.[all]'
	@touch $@
lint: $(READY)
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy && $(BIN)/python -m mypy.stubtest emo._core
	$(BIN)/lint-imports --no-cache
test: lint
	cargo test --quiet --workspace
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2
bench:
	cargo bench -p emo-benches
peers: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group peers
	$(BIN)/python benches/peers/collect.py
demo-model: $(READY)
	$(BIN)/python tools/demo_model/train.py && $(BIN)/python tools/demo_model/card.py
wheel: $(BIN)/uv
	$(BIN)/uv build --python $(BIN)/python --wheel --out-dir dist .
