#!/usr/bin/env python
"""Convert a checkpoint of the authors' implementation: scripts/convert_original.py CHECKPOINT OUTPUT_DIR.

The same as `ifc-hf convert`.
"""

import sys

from ifc_hf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
