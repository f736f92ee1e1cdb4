#!/usr/bin/env bash
# The main job from a fresh clone: makes .venv-demo (once), finds and draws the rabbit in the sample clip.
#
#   scripts/demo.sh [arguments of `ifc-hf demo`]
#
# Ends with the paths of the tracks and of the drawn video.
set -euo pipefail
cd "$(dirname "$0")/.."

venv="${VENV:-.venv-demo}"
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
wanted=$(cat setup.cfg constraints.txt)
if [ ! -f "$venv/installed" ] || [ "$wanted" != "$(cat "$venv/installed")" ]; then
  echo "Installing into $venv; the first time this takes minutes."
  "$venv/bin/pip" install --quiet --constraint constraints.txt --editable ".[draw]"
  printf '%s\n' "$wanted" > "$venv/installed"
fi
exec "$venv/bin/ifc-hf" demo --output outputs/demo "$@"
