#!/usr/bin/env python
"""Trains a model: `ifc-hf train` as a file that torchrun and accelerate launch can start in several processes."""

import sys

from ifc_hf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
