"""The command line: arguments, errors, recipes, help, exit codes."""

import dataclasses
import inspect
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ae_jax.cli import parse, with_flags
from ae_jax.commands import COMMANDS
from ae_jax.config import GROUPS, SweepConfig, TrainConfig, fast
from ae_jax.errors import InputError
from tests.conftest import ROOT
from tests.support.commands import bad_input

pytestmark = pytest.mark.usefixtures("environment")

REFUSED = {
    "train --arch resnet": "--arch must be conv, linear or conv-pool, not 'resnet'.",
    "train --epoch 3": "unrecognized argument --epoch; did you mean --epochs? Try --help.",
    "train --epochs": "argument --epochs: expected one argument. Try --help.",
    "train --epochs 0": "--epochs must be at least 1, not 0.",
    "train --epochs ten": "--epochs must be a whole number, not 'ten'.",
    "train --latent-dim 785": "--latent-dim must be at most 784, not 785.",
    "train --learning-rate 0": "--learning-rate must be above 0, not 0.0.",
    "train --learning-rate inf": "--learning-rate must be at most 3.4e+38, not inf.",
    "train --learning-rate nan": "--learning-rate must be above 0, not nan.",
    "train --beta1 1": "--beta1 must be at most 0.9999999, not 1.0.",
    "train --recipe slow": "--recipe must be tutorial or fast, not 'slow'.",
    "train --recipe fast --epochs 0": "--epochs must be at least 1, not 0.",
    "train --devices 0": "--devices must be at least 1, not 0.",
    "train --devices two": "--devices must be a whole number or auto, not 'two'.",
    "train --checkpoint-every 200steps": "--checkpoint-every must be a whole number, not '200steps'.",
    "sweep --resume": "unrecognized argument --resume. Try --help.",
    "train now": "unrecognized argument now. Try --help.",
    "trian --arch conv": "there is no command trian; did you mean train? Try --help.",
    "none": "there is no command none. Try --help.",
    "sweep --learning-rate 1e-3 -1": "--learning-rate must be above 0, not -1.0.",
    "sweep --weight-decay 0 0": "--weight-decay must be one or more different numbers, not (0.0, 0.0).",
    "sweep --seeds 5001 --weight-decay 0 1": "--seeds must make at most 10,000 members, not 10,002.",
    "evaluate": "the following arguments are required: RUN. Try --help.",
    "convert torch a b": "DIRECTION must be to-torch or from-torch, not 'torch'.",
}


@pytest.mark.parametrize("command", REFUSED)
def test_a_bad_argument_is_refused_with_what_it_must_be(command: str) -> None:
    assert bad_input(*command.split()) == f"error: {REFUSED[command]}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "cifar"], "unknown dataset 'cifar'; choose "),
        (["--resume"], "runs/conv holds no run to resume; "),
        (["--dataset", "own.npy", "--devices", "3", "--batch-size", "2"], "--batch-size"),
        (["--dataset", "own.npy", "--run-dir", "own.npy/run"], "own.npy"),
    ],
)
@pytest.mark.usefixtures("own_images")
def test_an_error_that_takes_more_than_parsing_leaves_nothing_behind(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
    assert message in bad_input("train", *arguments)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_one_line_of_usage_and_one_per_argument_with_its_default(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit) as end:
        parse([command, "--help"], COMMANDS)
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: ae-jax {command} ")
    assert text.splitlines()[2] == COMMANDS[command].summary
    arguments = [line for line in text.partition("options:")[2].splitlines() if line.startswith("  ")]
    assert len(arguments) <= 36
    for line in arguments[1:]:  # after --help
        assert re.fullmatch(r"  --[a-z].*  [^ ].*\(default: .+\).*", line)
    if command in ("train", "sweep"):
        assert re.findall(r"^([a-z ]+):$", text, re.MULTILINE) == ["examples", "options", *GROUPS]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_help_is_as_wide_as_the_terminal_and_breaks_no_word(
    command: list[str], width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = []
    for columns in (width, 300):
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit):
            parse([*command, *["--help"][: len(command)]], COMMANDS)
        texts.append(capsys.readouterr().out)
    assert max(map(len, texts[0].splitlines())) <= width
    assert texts[0].split() == texts[1].split()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals of this kind")
def test_a_terminal_is_told_first_what_a_command_does_and_a_pipe_is_not() -> None:
    command = [sys.executable, "-m", "ae_jax", "evaluate", "no/run"]
    terminal, end = os.openpty()
    with subprocess.Popen(command, stderr=end, cwd=ROOT):
        os.close(end)
        first = os.read(terminal, 100)
    os.close(terminal)
    assert first.decode().strip() == "Evaluating no/run …"
    piped = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert piped.stderr.startswith("error: no/run")


def test_commands_are_known_without_jax_and_numpy() -> None:
    program = (
        "import sys\n"
        "from ae_jax.cli import parse\n"
        "from ae_jax.commands import COMMANDS\n"
        "for name, command in COMMANDS.items():\n"
        "    parse([name, *('to-torch' if each == 'direction' else each for each in command.positionals)], COMMANDS)\n"
        "assert not {'jax', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("example", [each for command in COMMANDS.values() for each in command.examples])
def test_the_function_of_an_example_takes_its_arguments(example: str) -> None:
    call = parse(shlex.split(example), COMMANDS)
    inspect.signature(pkgutil.resolve_name(call.target)).bind(**call.arguments)


def train_arguments(*args: str) -> dict[str, Any]:
    return parse(["train", *args], COMMANDS).arguments


@pytest.mark.parametrize("arch", ["conv", "linear"])
def test_a_recipe_gives_the_defaults_and_flags_override_it(arch: Any) -> None:
    assert train_arguments("--arch", arch)["config"] == TrainConfig(arch)
    assert train_arguments("--arch", arch, "--recipe", "fast")["config"] == fast(arch) != TrainConfig(arch)
    asked = train_arguments("--arch", arch, "--recipe", "fast", "--epochs", "7", "--seed", "3")
    assert asked["config"] == dataclasses.replace(fast(arch), epochs=7, seed=3)


def test_a_resumed_run_gets_what_the_command_line_names_itself_or_by_a_recipe() -> None:
    assert parse(["train", "--resume"], COMMANDS)[:2] == ("ae_jax.runs.train:resume", {})
    named = {"run_dir": "a", "epochs": 20}
    assert train_arguments("--resume", "--run-dir", "a", "--epochs", "20") == named
    by_recipe = train_arguments("--resume", "--run-dir", "a", "--epochs", "20", "--recipe", "fast")
    assert by_recipe | named | {"schedule": "linear", "beta2": 0.95} == by_recipe
    assert "seed" not in by_recipe


def test_several_values_and_the_compilation_cache_are_read() -> None:
    call = parse(["sweep", "--learning-rate", "1e-3", "1e-2", "--no-compilation-cache"], COMMANDS)
    assert (call.arguments["config"].learning_rate, call.compilation_cache) == ((1e-3, 1e-2), False)


@pytest.mark.parametrize(
    "config", [TrainConfig("linear", devices=2, run_dir="a"), SweepConfig(learning_rate=(1e-3, 1e-2), devices="auto")]
)
def test_settings_pass_through_json_unchanged(config: TrainConfig | SweepConfig) -> None:
    assert type(config)(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize("settings", [{"epochs": "3"}, {"run_dir": 3}, {"devices": 1.5}, {"learning_rate": None}])
def test_settings_of_another_type_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"`{next(iter(settings))}` must be "):
        TrainConfig(**settings)


def test_messages_name_arguments_as_on_the_command_line() -> None:
    message = "`target` exists; choose another `data_dir`, or run `ae-jax train`."
    expected = "TARGET exists; choose another --data-dir, or run `ae-jax train`."
    assert with_flags(message, COMMANDS["convert"]) == expected
    assert with_flags("`target`", None) == "--target"


@pytest.mark.parametrize(
    ("body", "code", "errors"),
    [
        ("pass", 0, ""),
        ("raise InputError('bad `data_dir`;\\n mend it.')", 2, "error: bad --data-dir; mend it.\n"),
        ("raise RunError('failed; start again.')", 1, "error: failed; start again.\n"),
        ("raise OSError('disk full')", 1, "error: disk full.\n"),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", 143, "Terminated.\n"),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", 130, "Interrupted.\n"),
    ],
)
def test_the_outcome_of_a_command_is_an_exit_code_and_one_line(body: str, code: int, errors: str) -> None:
    program = (
        "import os, signal, time\n"
        "from ae_jax.cli import Command\n"
        "from ae_jax.commands import main\n"
        "from ae_jax.errors import InputError, RunError\n"
        f"def act():\n    print('started'); {body}\n"
        "main(['act'], {'act': Command('Act.', '__main__:act', 'Acting', {}, ())})"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (code, "started\n", errors)


def test_the_script_is_the_command() -> None:
    starts = (["-m", "ae_jax", "train"], [str(ROOT / "scripts" / "train.py")])
    commands = [[sys.executable, *start, "--help"] for start in starts]
    by_name, by_script = (subprocess.run(each, capture_output=True, check=True).stdout for each in commands)
    assert by_name == by_script
