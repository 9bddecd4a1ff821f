"""The command line without a process: arguments, errors, recipes, help."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ae_jax.cli import choose_command, parse_training
from ae_jax.config import GROUPS, Interval, TrainConfig, fast
from ae_jax.system.invocation import invocation
from tests.conftest import ROOT, Script
from tests.support.bad_array_files import bad_array_files
from tests.support.commands import bad_input

pytestmark = pytest.mark.usefixtures("environment")
RECIPES = {"tutorial": TrainConfig, "fast": fast}

BAD_ARGUMENTS = {
    "arch": (["--arch", "resnet"], "argument --arch: invalid choice: 'resnet'"),
    "dataset": (["--dataset", "cifar"], "unknown dataset 'cifar'; choose auto, mnist"),
    "no such flag": (["--epoch", "3"], "unrecognized arguments: --epoch 3"),
    "no epochs": (["--epochs", "0"], "--epochs must be at least 1, not 0"),
    "negative epochs": (["--epochs", "-1"], "--epochs must be at least 1, not -1"),
    "epochs in words": (["--epochs", "ten"], "argument --epochs: invalid int value: 'ten'"),
    "no batch": (["--batch-size", "0"], "--batch-size must be at least 1, not 0"),
    "latent dimension": (["--latent-dim", "785"], "--latent-dim must be between 1 and 784, not 785"),
    "noise": (["--noise", "-1"], "--noise must be between 0 and 10, not -1.0"),
    "no rate": (["--learning-rate", "0"], "--learning-rate must be a finite number above 0, not 0.0"),
    "negative rate": (["--learning-rate", "-0.001"], "--learning-rate must be a finite number above 0, not -0.001"),
    "infinite rate": (["--learning-rate", "inf"], "--learning-rate must be a finite number above 0, not inf"),
    "rate that is no number": (["--learning-rate", "nan"], "--learning-rate must be a finite number above 0, not nan"),
    "rate beyond float32": (["--learning-rate", "1e39"], "--learning-rate must be a finite number above 0, not 1e+39"),
    "negative decay": (["--weight-decay", "-1"], "--weight-decay must be a finite number, 0 or above, not -1.0"),
    "schedule": (["--schedule", "stepwise"], "argument --schedule: invalid choice: 'stepwise'"),
    "steps per epoch": (["--steps-per-epoch", "0"], "--steps-per-epoch must be at least 1, not 0"),
    "warm-up": (["--warmup", "1.5"], "--warmup must be between 0 and 1, not 1.5"),
    "beta1": (["--beta1", "0.99999999"], "--beta1 must be 0 or above and, rounded to float32, below 1, not 0.99999999"),
    "beta2": (["--beta2", "-0.1"], "--beta2 must be 0 or above and, rounded to float32, below 1, not -0.1"),
    "recipe": (["--recipe", "slow"], "argument --recipe: invalid choice: 'slow'"),
    "recipe's setting": (["--recipe", "fast", "--epochs", "0"], "--epochs must be at least 1, not 0"),
    "no devices": (["--devices", "0"], "--devices must be auto or a number, 1 or more, not 0"),
    "devices beyond counting": (["--devices", "9" * 5000], "--devices must be auto or a number, 1 or more, not 999"),
    "devices in words": (["--devices", "two"], "--devices must be auto or a number, 1 or more, not two"),
    "keep none": (["--keep", "0"], "--keep must be at least 1, not 0"),
    "figures": (["--figure-every", "-1"], "--figure-every must be at least 0, not -1"),
    "checkpoints": (["--checkpoint-every", "3 steps"], "--checkpoint-every must be a number, or as 200steps, not 3 st"),
    "no run to resume": (["--resume"], "runs/conv holds no run to resume; "),
    "no run there": (["--resume", "--run-dir", "x"], "x holds no run to resume; leave out --resume to start one"),
    "devices beyond a batch": (
        ["--dataset", "own.npy", "--devices", "3", "--batch-size", "2"],
        "--devices 3 cannot share a batch of 2; make --batch-size larger",
    ),
    "more devices than there are": (["--dataset", "own.npy", "--devices", "9"], "--devices 9: JAX has "),
    "seed": (["--seed", "-1"], "--seed must be between 0 and 2^32 - 1, not -1"),
    "run folder under a file": (["--run-dir", "file/run", "--dataset", "own.npy"], "file/run is not a directory; "),
    "run folder is a file": (["--run-dir", "file"], "file is not a directory; "),
    "a part of the processes": (["--coordinator", "localhost:1234"], "go together: give all three, or none"),
    "no port": (
        ["--coordinator", "localhost", "--num-processes", "1", "--process-id", "0"],
        "--coordinator must be HOST:PORT, not localhost",
    ),
    "process": (
        ["--coordinator", "localhost:1", "--num-processes", "2", "--process-id", "2"],
        "--process-id must be from 0 to below --num-processes, not 2",
    ),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_bad_arguments_are_a_one_line_error_and_leave_nothing_behind(
    case: str, own_images: Path, tmp_path: Path
) -> None:
    arguments, message = BAD_ARGUMENTS[case]
    (tmp_path / "file").touch()
    before = contents(tmp_path)
    error = bad_input("train.py", *arguments)
    assert message in error
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert contents(tmp_path) == before
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["shape", "pickled", "truncated.npz", "missing"])
def test_bad_array_files_are_a_one_line_error_and_leave_nothing_behind(name: str, tmp_path: Path) -> None:
    path, message = bad_array_files(tmp_path)[name]
    error = bad_input("train.py", "--dataset", path)
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_help_has_one_line_per_flag_with_its_default_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse_training(RECIPES, "", ["--help"])
    assert end.value.code == 0
    _, *groups = re.split(r"^([a-z ]+):\n", capsys.readouterr().out, flags=re.MULTILINE)
    assert groups[::2] == ["options", *GROUPS]
    flags = {}
    for text in groups[3::2]:
        lines = text.strip("\n").splitlines()
        found = dict(re.findall(r"^  --([a-z0-9-]+) +(.*)$", text, re.MULTILINE))
        assert len(found) == len(lines)
        flags |= found
    fields = {field.name.replace("_", "-"): field.default for field in dataclasses.fields(TrainConfig)}
    fields["recipe"] = "tutorial"
    assert flags.pop("resume")
    assert flags.keys() == fields.keys()
    for name, default in fields.items():
        assert f"({default})" in flags[name] or (default is None and "default" in flags[name]) or default is False
        assert flags[name].strip()


@pytest.mark.parametrize("arch", ["conv", "linear"])
def test_a_recipe_gives_the_defaults_and_flags_override_it(arch: str) -> None:
    assert parse_training(RECIPES, "", ["--arch", arch]).config == TrainConfig(arch=arch)
    assert parse_training(RECIPES, "", ["--arch", arch, "--recipe", "fast"]).config == fast(arch) != TrainConfig(arch)
    asked = parse_training(RECIPES, "", ["--arch", arch, "--recipe", "fast", "--epochs", "7", "--seed", "3"])
    assert asked.config == dataclasses.replace(fast(arch), epochs=7, seed=3)
    assert parse_training(RECIPES, "", ["--arch", arch]).given == {"arch": arch}  # a resumed run has to agree with it
    assert asked.given | {"epochs": 7, "seed": 3, "schedule": "linear", "beta2": 0.95} == asked.given


@pytest.mark.parametrize(
    "config", [TrainConfig(), TrainConfig("linear", devices=2, checkpoint_every=Interval(200, "steps"))]
)
def test_settings_pass_through_json_unchanged(config: TrainConfig) -> None:
    settings = config.as_json()
    assert TrainConfig(**settings) == config
    assert settings["devices"] == str(config.devices)  # text, as on the command line
    assert settings["checkpoint_every"] == ("200steps" if config.devices == 2 else "1")


@pytest.mark.parametrize(
    ("body", "code", "errors"),
    [
        ("pass", 0, ""),
        ("raise InputError('bad; mend it.')", 2, "error: bad; mend it.\n"),
        ("raise RunError('failed; start again.')", 1, "error: failed; start again.\n"),
        ("raise OSError('disk full')", 1, "error: disk full.\n"),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", 143, "Terminated.\n"),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", 130, "Interrupted.\n"),
    ],
)
def test_the_outcome_of_a_command_is_an_exit_code_and_one_line(body: str, code: int, errors: str) -> None:
    program = (
        "import os, signal, time\n"
        "from ae_jax.cli import run_command\n"
        "from ae_jax.errors import InputError, RunError\n"
        f"def main():\n    print('started'); {body}\n"
        "run_command(main)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (code, "started\n", errors)


def test_ae_jax_lists_the_commands_of_the_scripts_and_calls_them(run_script: Script) -> None:
    ae_jax_command = [sys.executable, "-m", "ae_jax"]
    listed = subprocess.run([*ae_jax_command, "--help"], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^  (\w+) +[A-Z].*\.$", listed, re.MULTILINE)
    assert {*names, "benchmark", "faults", "pretrain"} == {path.stem for path in (ROOT / "scripts").glob("*.py")}
    for arguments in (["--help"], ["none"]):
        by_script = run_script("evaluate.py", *arguments)
        result = subprocess.run([*ae_jax_command, "evaluate", *arguments], capture_output=True, text=True, check=False)
        assert result.returncode == by_script.returncode
        assert result.stdout.partition("\n\n")[2] == by_script.stdout.partition("\n\n")[2]  # after the usage
        assert result.stdout.startswith("usage: ae-jax evaluate [-h]" if result.stdout else "")
        assert result.stderr == by_script.stderr


@pytest.mark.parametrize("name", [[], ["none"]])
def test_a_missing_or_unknown_command_is_refused_with_the_known_ones(
    name: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ae-jax", *name])
    with pytest.raises(SystemExit) as end:
        choose_command({"train": "Train.", "export": "Export."})
    assert end.value.code == 2
    assert re.fullmatch(r"error: .*COMMAND.*\. Try --help\.\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("scripts/train.py", "python scripts/sweep.py"),
        ("my clone/scripts/train.py", "python 'my clone/scripts/sweep.py'"),
        ("/usr/bin/ae-jax train", "ae-jax sweep"),
        ("research.py", "ae-jax sweep"),
        ("", "ae-jax sweep"),
    ],
)
def test_hints_call_commands_as_the_process_was_called(
    program: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    assert invocation("sweep") == expected
