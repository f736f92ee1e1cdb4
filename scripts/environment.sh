# Sourced with `extras` set (what of setup.cfg to install) and `requirements` (a file of more, if any): makes the virtual environment "$VENV" (default .venv) or
# brings it up to date, and activates it.
venv="${VENV:-.venv}"
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
source "$venv/bin/activate"

# Installing takes minutes even when there is nothing to do, so it happens only after a change of what to install.
wanted=$(printf '%s\n' "$extras"; cat setup.cfg constraints.txt ${requirements:+"$requirements"})
if [ ! -f "$venv/installed" ] || [ "$wanted" != "$(cat "$venv/installed")" ]; then
  echo "Installing into $venv; the first time this takes minutes."
  # Without compiling: Python compiles what is used when it is used.
  pip install --quiet --no-compile --constraint constraints.txt --editable ".[$extras]" \
    ${requirements:+--requirement "$requirements"}
  printf '%s\n' "$wanted" > "$venv/installed"
fi
