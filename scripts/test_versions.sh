#!/usr/bin/env bash
# The core of the fast tests with other versions than those of constraints.txt, in an environment of its own.
#
#   scripts/test_versions.sh lowest 3.10    every lower bound of setup.cfg
#   scripts/test_versions.sh newest 3.13    what the package index has now
#   scripts/test_versions.sh pinned 3.12    constraints.txt
#
# Further arguments go to pytest. Needs uv (pip install uv), which resolves to lower bounds; "$VENVS" says where the
# environments go (default: a folder for temporary files).
set -euo pipefail
cd "$(dirname "$0")/.."
versions=${1:?lowest, newest or pinned}
python=${2:?a version of Python, such as 3.10}
shift 2
case $versions in
  lowest) options=(--resolution lowest-direct) ;;
  newest) options=(--upgrade) ;;
  pinned) options=(--constraint constraints.txt) ;;
  *) echo "expected lowest, newest or pinned, got $versions" >&2; exit 2 ;;
esac
venv=${VENVS:-${TMPDIR:-/tmp}/ifc_hf_versions}/$versions-$python
[ -x "$venv/bin/python" ] || uv venv --quiet --python "$python" "$venv"
uv pip install --quiet --python "$venv/bin/python" "${options[@]}" --editable ".[draw,eval,test,train]"
source "$venv/bin/activate"
export OMP_NUM_THREADS=1

python - <<'END'
from importlib.metadata import version
from platform import python_version
names = ("torch", "transformers", "huggingface_hub", "datasets", "accelerate", "numpy", "pillow", "scipy", "av")
print("python", python_version(), *(f"{name} {version(name)}" for name in names))
END
exec python -m pytest -q -n 0 "$@" tests/test_import.py tests/test_files.py tests/cli/test_cli.py \
  tests/data/test_{coco,values,ytvis}.py tests/evaluation/test_ytvis_map.py tests/training/test_arguments.py \
  tests/model/test_{image_processing,loss,masks,modeling,pipeline,post_processing,rle,tracking,tracks,video_files,video_segmenter}.py
