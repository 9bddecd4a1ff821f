"""A small dose of the fault programme; `python scripts/faults.py` has the whole one."""

import errno
import re
import signal
from pathlib import Path

import pytest

from faults.concurrency import share
from faults.corruption import damage_files, make_probes
from faults.disk import fail_every_operation
from faults.random_cli import try_command
from faults.signals import stop
from faults.workplace import Trial, Workplace
from tests.conftest import ROOT, Script

posix = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="sends POSIX signals")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("workplace"), ROOT / "scripts" / "train.py")


def problems(trials: list[Trial]) -> list[Trial]:
    assert trials
    return [trial for trial in trials if trial.problem]


@posix
def test_a_killed_run_continues_to_the_bit(workplace: Workplace) -> None:
    assert not problems([stop(workplace, 3, (signal.SIGKILL,))])


@posix
def test_a_run_that_is_asked_to_end_ends_soon_and_continues_to_the_bit(workplace: Workplace) -> None:
    assert not problems([stop(workplace, 1, (signal.SIGTERM, signal.SIGINT))])


@posix
def test_of_two_runs_in_one_directory_the_second_is_refused(workplace: Workplace) -> None:
    assert not problems([share(workplace, 1)])


def test_a_failing_disk_costs_no_more_than_it_has_to(workplace: Workplace, tmp_path: Path) -> None:
    images = workplace.folder / "tiny.npy"
    trials = list(fail_every_operation(tmp_path, images, epochs=1, errors=[errno.ENOSPC], every=3))
    assert not problems(trials)
    assert {re.sub(r"\d+", "", trial.what) for trial in trials} == {
        f"ENOSPC at {operation} " for operation in ("open", "write", "fsync", "replace")
    }


def test_no_damaged_file_is_loaded_silently(workplace: Workplace, tmp_path: Path) -> None:
    workplace.reference("linear")
    probes = make_probes(tmp_path, workplace.folder / "reference-linear", None)
    assert not problems(list(damage_files(probes, flips=10, truncations=4, seed=0)))


def test_no_damaged_mnist_is_loaded_silently(workplace: Workplace, mnist_files: Path, tmp_path: Path) -> None:
    workplace.reference("linear")
    probes = make_probes(tmp_path, workplace.folder / "reference-linear", mnist_files)
    of_mnist = {name: probe for name, probe in probes.items() if "official" in name or "prepared" in name}
    assert len(of_mnist) == 4
    assert not problems(list(damage_files(of_mnist, flips=8, truncations=4, seed=0)))


@pytest.mark.parametrize("seed", range(5))
def test_any_command_line_ends_well(seed: int, workplace: Workplace) -> None:
    assert not problems([try_command(workplace, seed)])


def test_the_script_prints_a_table_of_what_it_did(faults_script: Script) -> None:
    result = faults_script("--part", "commands", "--commands", 2, "--seed", 3)
    assert result.returncode == 0, result.stderr
    assert re.search(r"\| random command lines: exit 0 or 2, no traceback \| 2 \| 2 \| \d+ \|", result.stdout)
    refused = faults_script("--kills", 0)
    assert refused.returncode == 2
    assert refused.stderr == "error: --kills must be at least 1, not 0.\n"
