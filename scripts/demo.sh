#!/usr/bin/env bash
# The main job from a fresh clone: makes .venv-demo (once), finds and draws the rabbit in the sample clip.
#
#   scripts/demo.sh [arguments of `ifc-hf demo`]
#
# Ends with the paths of the tracks and of the drawn video.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV="${VENV:-.venv-demo}"
extras=draw
source scripts/environment.sh
exec ifc-hf demo --output outputs/demo "$@"
