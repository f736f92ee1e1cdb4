#!/usr/bin/env bash
# Builds the wheel, installs it with all that it depends on into an empty environment, and runs the demo there, in a
# folder from which the repository is not found. Takes minutes, most of them for PyTorch.
#
#   scripts/check_wheel.sh [python]     python: a Python with `build`; default: python3
set -euo pipefail
unset PYTHONPATH  # pip would take a package that lies there for installed
repository="$(cd "$(dirname "$0")/.." && pwd)"
python="${1:-python3}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

"$python" -m build --outdir "$work/dist" "$repository"
"$python" -m venv "$work/environment"
"$work/environment/bin/pip" install --quiet --constraint "$repository/constraints.txt" "$(echo "$work"/dist/*.whl)[draw]"
cd "$work"
"$work/environment/bin/ifc-hf" demo --output "$work/demo"
test -s "$work/demo/bunny/drawn.mp4"
echo "The wheel works: $(ls "$work/dist")"
