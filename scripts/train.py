#!/usr/bin/env python
"""Trains a model: the same as `ifc-hf train`, as a file that torchrun and accelerate launch can start."""

import argparse
import sys

from ifc_hf.cli.train import add_arguments, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    sys.exit(run(parser.parse_args()))
