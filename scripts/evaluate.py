#!/usr/bin/env python
"""Scores a model: `ifc-hf evaluate` as a file that torchrun and accelerate launch can start in several processes."""

import sys

from ifc_hf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
