"""A few trials of `python -m faults`: failing disks."""

import re

from tests.conftest import Script


def test_the_package_passes_trials_of_the_fault_injection(faults_script: Script) -> None:
    result = faults_script("--part", "disk", "--trials", 2)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^\| k-th open, write, fsync or rename fails: .* \| 2 \| 2 \|$", result.stdout, re.MULTILINE)
