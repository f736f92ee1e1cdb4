#!/usr/bin/env python
"""Convert a checkpoint of the authors' implementation: scripts/convert_original.py CHECKPOINT OUTPUT_DIR."""

import argparse
import sys

from ifc_hf.cli.convert import add_arguments, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    sys.exit(run(parser.parse_args()))
