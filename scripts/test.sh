#!/usr/bin/env bash
# Every check from a fresh clone: makes .venv (once), then style, types, import rules and tests.
#
#   scripts/test.sh [pytest arguments]    the fast tests
#   CI=true scripts/test.sh               also the slow ones and the official test suite of Transformers
#   scripts/test.sh -m slow tests/docs    every command of the README and docs/, and the notebook
set -euo pipefail
cd "$(dirname "$0")/.."
extras=app,browser,dev,draw,eval,export,notebook,openvino,serve,train
requirements=scripts/clip_factory/requirements.txt
source scripts/environment.sh

ruff check .
ruff format --check .
mypy
mypy scripts/clip_factory
lint-imports
mlinter --no-progress src/ifc_hf/model

if [ "${CI:-}" = true ]; then
  # Two runs: each folder has a conftest of its own.
  pytest -n 2 -m "not gpu" tests/conformance
  exec pytest -n 2 -m "not gpu" "$@"
fi
exec pytest -n 2 "$@"
