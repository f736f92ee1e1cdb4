"""The console script `ifc-hf`: `main.py`, and one module per command."""
