"""Generated flips and truncations of the user's own files; `python scripts/faults.py --part files` tries 2,000."""

from pathlib import Path

import pytest

from faults.own_file_trials import corrupt_own_file
from faults.own_files import own_files, torch_files


@pytest.mark.parametrize("kind", own_files())
def test_corrupt_files_are_refused_in_one_line_or_read_as_what_they_hold(kind: str, tmp_path: Path) -> None:
    trials = list(corrupt_own_file(own_files()[kind], 40, seed=0, folder=tmp_path))
    assert len(trials) == 40
    assert [trial for trial in trials if trial.problem] == []


@pytest.mark.parametrize("kind", [".pt", ".pt with valid checksums"])
def test_corrupt_torch_files_are_refused_in_one_line_or_read_as_what_they_hold(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    trials = list(corrupt_own_file(torch_files()[kind], 20, seed=0, folder=tmp_path))
    assert [trial for trial in trials if trial.problem] == []
