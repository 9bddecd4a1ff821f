"""Trials with hostile checkpoints: each is refused in one line or used, and nothing is written outside its run."""

import contextlib
import io
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import ae_jax
from ae_jax.config import Interval, TrainConfig
from ae_jax.errors import InputError, RunError
from ae_jax.inspection.config import EvaluateConfig, VisualizeConfig
from ae_jax.inspection.evaluate import evaluate_run
from ae_jax.inspection.visualize import visualize_run
from ae_jax.runs.checkpoint_files import list_checkpoints
from ae_jax.runs.train import resume, train
from faults.hostile_checkpoints import HostileCheckpoint, hostile_checkpoints
from faults.workspace import Trial

_NO_SERVER = "http://127.0.0.1:9"  # a closed port


def try_hostile_checkpoints(folder: Path, images: Path, num_trials: int, seed: int, jobs: int) -> Iterator[Trial]:
    """Use each in place of the newest checkpoint of a run, in one sandbox in `folder` per process."""
    run_dir = make_interrupted_run(folder / "valid", images)
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        shares = [slice(job, num_trials, jobs) for job in range(jobs)]
        results = [pool.submit(_try_share, folder / f"{job}", run_dir, share, seed) for job, share in enumerate(shares)]
        for result in results:
            yield from result.result()


def make_interrupted_run(run_dir: Path, images: Path) -> Path:
    """A run of two epochs as it was in the middle of the second."""
    every = Interval(1, "steps")
    config = TrainConfig(
        "linear", dataset=str(images), run_dir=str(run_dir), epochs=2, batch_size=8, checkpoint_every=every, keep=99
    )
    with contextlib.redirect_stdout(io.StringIO()):
        train(config)
    paths = list_checkpoints(run_dir)
    middle = len(paths) * 3 // 4
    for path in paths[: middle - 1] + paths[middle + 1 :]:
        path.unlink()
    return run_dir


def _try_share(folder: Path, run_dir: Path, share: slice, seed: int) -> list[Trial]:
    hostile = hostile_checkpoints(list_checkpoints(run_dir)[-1], share.stop, seed)
    with sandbox(folder) as box:
        chosen = itertools.islice(hostile, share.start, None, share.step)
        return [Trial(each.description, try_checkpoint(each, run_dir, box)) for each in chosen]


@contextlib.contextmanager
def sandbox(folder: Path) -> Iterator[Path]:
    """Make `folder` hold the home, working and dataset directories of this process, and its only proxy is closed."""
    for name in ("home", "cwd", "tfds"):
        (folder / name).mkdir(parents=True)
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _NO_SERVER)
    environment = {"HOME": str(folder / "home"), "TFDS_DATA_DIR": str(folder / "tfds"), **proxies}
    with mock.patch.dict(os.environ, environment), contextlib.chdir(folder / "cwd"):
        os.environ.pop("AE_JAX_MANUAL_DIR", None)
        yield folder


def try_checkpoint(hostile: HostileCheckpoint, valid_run: Path, box: Path) -> str | None:
    """Load, evaluate, draw and resume a copy of the run with the hostile checkpoint; return the problem, or None."""
    run_dir = box / "run"
    shutil.rmtree(run_dir, ignore_errors=True)
    shutil.copytree(valid_run, run_dir)
    path = list_checkpoints(run_dir)[-1]
    hostile.write(path)
    before = _files(box)
    for name, use in _uses(path, run_dir, str(box / "data")).items():
        if hostile.refused == "resume" and name in ("evaluate", "visualize"):  # the model is that of the valid run
            continue
        must_refuse = hostile.refused == "always" or (hostile.refused == "resume" and name == "resume")
        if problem := _problem(use, must_refuse):
            return f"{name}: {problem}"
        if changes := dict(_files(box).items() ^ before.items()):
            return f"{name} wrote {', '.join(map(str, sorted(changes)))}"
    return None


def _uses(path: Path, run_dir: Path, data_dir: str) -> dict[str, Callable[[], object]]:
    return {
        "load_model": lambda: ae_jax.load_model(path),
        "evaluate": lambda: evaluate_run(EvaluateConfig(str(path), data_dir=data_dir)),
        "visualize": lambda: visualize_run(VisualizeConfig(str(path), data_dir=data_dir)),
        "resume": lambda: resume(run_dir, data_dir=data_dir),
    }


def _problem(use: Callable[[], object], must_refuse: bool) -> str | None:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            use()
    except (InputError, RunError) as error:
        return None if str(error).isprintable() else f"not one line: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "it was not refused" if must_refuse else None


def _files(box: Path) -> dict[Path, int]:
    """The files and folders of the sandbox outside the run and the data directory, and when they were changed."""
    paths = (path for path in box.rglob("*") if not {box / "run", box / "data"} & {path, *path.parents})
    return {path: path.lstat().st_mtime_ns for path in paths}
