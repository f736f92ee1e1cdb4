# Sourced by the scripts that need the development environment: makes .venv, or brings it up to date, and activates it.
venv="${VENV:-.venv}"
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
source "$venv/bin/activate"

# Without the extra hota, which brings a second build of OpenCV. Installing takes minutes even when there is nothing to do, so it happens only after a change of what to install.
# --no-compile: Python compiles the few modules that get imported when they are.
wanted=$(cat setup.cfg constraints.txt)
if [ ! -f "$venv/installed" ] || [ "$wanted" != "$(cat "$venv/installed")" ]; then
  pip install --quiet --no-compile --constraint constraints.txt --editable ".[dev,draw,eval,train]"
  printf '%s\n' "$wanted" > "$venv/installed"
fi
