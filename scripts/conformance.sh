#!/usr/bin/env bash
# The official test suite of the installed Transformers version against this package; arguments go to pytest.
# What is skipped or overridden, and why: tests/conformance/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."
extras=dev,draw,eval,train
source scripts/environment.sh

exec pytest -n 2 -m "not gpu" tests/conformance "$@"
