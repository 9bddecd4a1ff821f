"""A few trials of `python -m faults`: failing disks and random command lines."""

import re

import pytest

from tests.conftest import Script


@pytest.mark.parametrize(
    ("part", "title", "num_trials"),
    [("disk", "k-th open, write, fsync or rename fails", 2), ("commands", "random command lines", 1)],
)
def test_the_package_passes_trials_of_the_fault_injection(
    faults_script: Script, part: str, title: str, num_trials: int
) -> None:
    result = faults_script("--part", part, "--trials", num_trials)
    assert result.returncode == 0, result.stderr
    (row,) = re.findall(rf"^\| {title}: .* \| (\d+) \| (\d+) \|$", result.stdout, re.MULTILINE)
    assert row == (str(num_trials), str(num_trials))
