"""Commands that are killed, interrupted and starved of disk at random moments; see scripts/inject_faults.py."""
