"""The fault programme as a whole, and its table."""

import functools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from ae_jax.errors import RunError
from ae_jax.torture.commands import try_command
from ae_jax.torture.config import Part, TortureConfig
from ae_jax.torture.damage import damage_files, make_probes
from ae_jax.torture.disk import fail_every_operation
from ae_jax.torture.stops import stop
from ae_jax.torture.together import share
from ae_jax.torture.workplace import ARCHS, Trial, Workplace

_TITLES: dict[Part, str] = {
    "kill": "SIGKILL at a random moment, continued: equal to the bit",
    "signal": "SIGTERM and SIGINT: exit 143 and 130 within 2 s, continued: equal to the bit",
    "disk": "the k-th write, sync or rename fails: a sentence, the checkpoint before loads, continued: equal",
    "damage": "a bit flipped or the end cut off: refused, or made anew and said",
    "commands": "random command lines: exit 0 or 2, no traceback",
    "together": "a second run in a directory: refused, the first undisturbed",
}


def report(config: TortureConfig) -> None:
    """Do what `config` says, and print a table.

    Raises:
      RunError: something did not come out as it has to.
    """
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(Path(folder))
        rows = ["| | as it has to be | of | s |", "|---|---|---|---|"]
        for part, title in _TITLES.items():
            if config.part not in ("all", part):
                continue
            start = time.perf_counter()
            trials = list(tqdm(_trials(part, config, workplace), part, disable=None, leave=False, unit=" trials"))
            bad = [trial for trial in trials if trial.problem]
            problems += [f"{part}: {trial.what}: {trial.problem}" for trial in bad]
            rows.append(f"| {title} | {len(trials) - len(bad)} | {len(trials)} | {time.perf_counter() - start:.0f} |")
            print(f"{part}: {len(trials) - len(bad)} of {len(trials)}", file=sys.stderr)
    print("\n".join(rows))
    if problems:
        raise RunError("\n".join((f"{len(problems)} did not:", *problems)))


def _trials(part: Part, config: TortureConfig, workplace: Workplace) -> Iterable[Trial]:
    if part == "disk":
        return fail_every_operation(workplace.folder, workplace.folder / "own.npy")
    if part == "damage":
        manual_dir = config.manual_dir or os.environ.get("AE_JAX_MANUAL_DIR")
        workplace.reference("linear")
        run_dir = workplace.folder / "reference-linear"
        probes = make_probes(workplace.folder, run_dir, Path(manual_dir) if manual_dir else None)
        return damage_files(probes, config.flips, config.truncations, config.seed)
    trial, count = _SEEDED[part](config)
    if part != "commands":
        for arch in ARCHS:
            workplace.reference(arch)
    return _in_parallel(functools.partial(trial, workplace), range(config.seed, config.seed + count), config.jobs)


def _in_parallel(trial: Callable[[int], Trial], seeds: Iterable[int], jobs: int) -> Iterator[Trial]:
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(trial, seeds)


def _stop_by(*signums: signal.Signals) -> Callable[[Workplace, int], Trial]:
    return functools.partial(stop, signums=signums)


_SEEDED: dict[Part, Callable[[TortureConfig], tuple[Callable[[Workplace, int], Trial], int]]] = {
    "kill": lambda config: (_stop_by(signal.SIGKILL), config.kills),
    "signal": lambda config: (_stop_by(signal.SIGTERM, signal.SIGINT), config.signals),
    "commands": lambda config: (try_command, config.commands),
    "together": lambda config: (share, config.together),
}
