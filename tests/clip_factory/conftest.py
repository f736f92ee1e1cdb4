"""Makes `clip_factory` importable, as it is to the scripts beside it."""

import sys

from paths import SCRIPTS

# At the end: scripts/evaluate.py has the name of a library.
sys.path.append(str(SCRIPTS))
