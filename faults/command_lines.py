"""Random command lines: valid and invalid flags of every command with edge-case values."""

import functools
import random
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

from ae_jax.commands import COMMANDS
from faults.workspace import Trial, Workspace

_NUMBERS = ("0", "-1", "1", "2", "1.5", "1e3", "0x10", "nan", "inf", "-inf", "1e-46", "1e39", "-0.0", "١", "ten")
_HUGE = ("2147483647", "4294967295", "4294967296", "9223372036854775808", "9" * 30, "9" * 5000)
_WORDS = ("", " ", "CONV", "conv ", "--", "-", "é", "\udcff", "a\nb", "x" * 300, "x" * 5000, "None", "../..")
_PATHS = ("own.npy/x", "/proc/none", "/dev/null", "/dev/full", "no/such/folder", "tiny.npy", ".", "new", "new.png")
_SINGLE = ("--help", "--version", "--", "-h", "-x", "extra", "", "--epoch", "--arch=conv", "--keep=", "--resume=1")
_VALUES = {  # of flags that would otherwise train for long, diverge (exit code 1) or download
    "epochs": ("1", "2", "0", "-1", "1.5", "", "ten", "1e1"),
    "seeds": ("1", "2", "0", "-1", "1.5", "", "ten", *_HUGE),
    "learning_rate": ("1e-3", "1e-45", "1e-38", "0", "-1", "nan", "inf", "1e39", "", "ten"),
    "weight_decay": ("0", "1e-5", "1", "-1", "nan", "inf", "1e39", "", "ten"),
    "dataset": ("own.npy", "tiny.npz", "glyph", "MNIST", "a.npy", "é.npz", *_PATHS),
}
_VALID = {  # the arguments of a short, valid command, which random ones follow; NEW is a new name
    "train": "--dataset tiny.npy --epochs 1 --run-dir NEW",
    "sweep": "--dataset tiny.npy --epochs 1 --seeds 2 --arch linear --run-dir NEW",
    "evaluate": "pretrained:linear --dataset tiny.npz --figure NEW.png",
    "visualize": "pretrained:linear --dataset tiny.npz --out NEW",
    "explore": "pretrained:linear --dataset tiny.npz --out NEW.html",
    "reconstruct": "pretrained:conv-pool tiny.npy --out NEW.png",
    "convert": "to-torch pretrained:conv NEW.safetensors",
    "export": "pretrained:linear NEW",
    "share": "pretrained:linear NEW --dataset tiny.npz",
}


def try_command_lines(workspace: Workspace, seeds: range) -> Iterator[Trial]:
    """Run commands, mostly `train`, with random arguments; each must exit with 0, or with 2 and a one-line error."""
    return workspace.in_parallel(functools.partial(_try_command_line, workspace), seeds)


def _try_command_line(workspace: Workspace, seed: int) -> Trial:
    rng = random.Random(seed)
    name = rng.choice(("train", rng.choice(list(_VALID))))
    words, command = _VALID[name].replace("NEW", f"command-{seed}").split(), COMMANDS[name]
    flags = sorted(command.arguments.keys() - set(command.positionals))
    for flag in rng.sample(flags, min(len(flags), rng.choice((0, 1, 1, 1, 2, 3, 5)))):
        hint = command.arguments[flag].hint
        words += [f"--{flag.replace('_', '-')}", *([] if hint is bool else [rng.choice(_values(flag, hint))])]
    if rng.random() < 0.25:
        words.insert(rng.randrange(len(words) + 1), rng.choice(_SINGLE))
    result = workspace.run(name, *words)
    description = f"{name} {' '.join(map(ascii, words))[:300]} → {result.returncode}"
    return Trial(description, _problem(result.returncode, result.stdout))


def _values(flag: str, hint: Any) -> Sequence[str]:
    """Valid and invalid values of a flag by its type."""
    if flag in _VALUES:
        return _VALUES[flag]
    options = (hint, *get_args(hint))
    choices = [str(choice) for each in options if get_origin(each) is Literal for choice in get_args(each)]
    if int in options or float in options:
        return (*choices, *_NUMBERS, *_HUGE, *_WORDS[:2])
    return (*choices, *_WORDS, *(() if choices else _PATHS))


def _problem(code: int, output: str) -> str | None:
    has_error = any(line.startswith("error: ") for line in output.splitlines()[-2:])
    is_good = (code == 0 or (code == 2 and has_error)) and "Traceback" not in output
    return None if is_good else f"exit {code}: {output[-300:]}"
