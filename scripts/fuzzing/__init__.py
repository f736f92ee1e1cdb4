"""Fuzzing of the package's readers: what `scripts/fuzz_readers.py` runs."""
