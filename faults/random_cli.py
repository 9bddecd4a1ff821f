"""Random command lines: valid and invalid flags with edge-case values."""

import random

from faults.workspace import Trial, Workspace

_NUMBERS = (
    *("0", "-1", "1", "2", "1.5", "1e3", "0x10", "", " "),
    *("nan", "inf", "-inf", "1e-46", "1e39", "-0.0", "١", "ten"),
)
_HUGE = ("2147483647", "4294967295", "4294967296", "9223372036854775808", "9" * 30, "9" * 5000)
_WORDS = ("", " ", "auto", "CONV", "conv ", "--", "-", "é", "\udcff", "a\nb", "x" * 300, "x" * 5000, "None", "../..")
_PATHS = ("own.npy/x", "/proc/none", "/dev/null", "/dev/full", "no/such/folder", "tiny.npy", ".", "new")
# Valid and invalid values of each flag, without valid ones that would run for too long (many epochs) or end with exit
# code 1 (a learning rate so large that the loss is infinite).
_VALUES = {
    "--arch": ("conv", "linear", "conv-pool", *_WORDS),
    "--latent-dim": ("1", "2", "784", "785", *_NUMBERS, *_HUGE),
    "--output": ("sigmoid", "tanh", *_WORDS),
    "--noise": ("0", "0.3", "10", "10.1", *_NUMBERS),
    "--dataset": ("own.npy", "tiny.npy", *_WORDS[3:], *_PATHS[:-2]),
    "--epochs": ("1", "2", "0", "-1", "1.5", "", "ten", "1e1"),
    "--batch-size": ("1", "7", "64", "1000", *_NUMBERS, *_HUGE),
    "--learning-rate": ("1e-3", "1e-45", "1e-38", *(n for n in _NUMBERS if n not in ("1", "2", "1.5", "1e3"))),
    "--schedule": ("constant", "cosine", *_WORDS),
    "--warmup": ("0", "0.5", "1", "1.0000001", *_NUMBERS),
    "--beta1": ("0", "0.9", "0.999999999999", *_NUMBERS),
    "--beta2": ("0", "0.99", "0.999999999999", *_NUMBERS),
    "--weight-decay": ("0", "1e-5", "1", *(n for n in _NUMBERS if n not in ("1e3",))),
    "--weight-decay-mode": ("decoupled", "l2", *_WORDS),
    "--init": ("flax", "torch", *_WORDS),
    "--precision": ("float32", "bfloat16", *_WORDS),
    "--devices": ("auto", "1", "2", *_NUMBERS, *_HUGE),
    "--coordinator": ("127.0.0.1:1", "host", ":1", "[::1]:0", *_WORDS),
    "--num-processes": ("1", *_NUMBERS, *_HUGE),
    "--process-id": ("0", *_NUMBERS, *_HUGE),
    "--seed": ("0", "4294967295", *_NUMBERS, *_HUGE),
    "--figure-every": ("0", "1", *_NUMBERS, *_HUGE),
    "--checkpoint-every": ("0", "1", "0steps", "3steps", "1 steps", "steps", "-1steps", *_NUMBERS, *_HUGE),
    "--keep": ("1", "2", *_NUMBERS, *_HUGE),
    "--run-dir": (*_WORDS, *_PATHS),
    "--data-dir": (*_WORDS, *_PATHS),
    "--manual-dir": (*_WORDS, *_PATHS),
    "--recipe": ("tutorial", "fast", *_WORDS),
}
_SINGLE = (
    *("--resume", "--tensorboard", "--stream", "--distributed", "--help", "--version", "--", "-h", "-x", "extra", ""),
    *("--epoch", "--arch=conv", "--keep=", "--resume=1"),
)


def try_random_command(workspace: Workspace, seed: int) -> Trial:
    """Run `scripts/train.py` with random arguments; it must exit with 0, or with 2 and a one-line error."""
    rng = random.Random(seed)
    arguments = ["--dataset", "tiny.npy", "--epochs", "1", "--run-dir", f"command-{seed}"]
    for flag in rng.sample(sorted(_VALUES), rng.choice((0, 1, 1, 1, 2, 3, 5))):
        arguments += [flag, rng.choice(_VALUES[flag])]
    if rng.random() < 0.25:
        arguments.insert(2 * rng.randrange(len(arguments) // 2 + 1), rng.choice(_SINGLE))
    result = workspace.run(*arguments)
    problem = None
    if result.returncode not in (0, 2):
        problem = f"exit {result.returncode}: {result.stdout[-300:]}"
    elif "Traceback" in result.stdout:
        problem = f"traceback: {result.stdout[-300:]}"
    elif result.returncode == 2 and not any(line.startswith("error: ") for line in result.stdout.splitlines()[-2:]):
        problem = f"no error message: {result.stdout[-300:]}"
    return Trial(f"{' '.join(map(ascii, arguments))[:300]} → {result.returncode}", problem)
