"""What tests/conftest.py promises."""

import os
import subprocess
import sys

import torch


def test_tests_and_the_processes_that_they_start_compute_with_one_thread():
    assert torch.get_num_threads() == 1
    assert os.environ["OMP_NUM_THREADS"] == "1"
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS'])"], capture_output=True, text=True
    )
    assert child.stdout == "1\n"
