"""What is written about the package holds: README's programs and commands, the docstrings and their examples."""

import contextlib
import doctest
import functools
import inspect
import re
import runpy
import shlex
import shutil
import sys
import typing
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import ae_jax
from ae_jax.exchange.config import ExportConfig
from ae_jax.exchange.convert import to_torch
from ae_jax.exchange.export import export_run
from tests.conftest import ROOT

README, RESEARCH = ((ROOT / path).read_text() for path in ("README.md", "docs/research.md"))
PUBLIC = {name: getattr(ae_jax, name) for name in ae_jax.__all__}
SHORT = {"train.py": ("--epochs", "1"), "sweep.py": ("--epochs", "1", "--seeds", "2")}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_block(source: str, dataset: Path, names: dict[str, object]) -> None:
    """As it stands, but for the dataset: 60,000 images would take minutes."""
    exec(compile(source.replace('"auto"', repr(str(dataset))), "a block", "exec"), names)


@pytest.fixture
def folder(environment: None, trained_run: Callable[..., Path], labelled_images: Path, tmp_path: Path) -> Path:
    """The current folder, as README takes it for given: two finished runs, and files of the user's own images."""
    for arch in ("conv", "linear"):
        shutil.copytree(trained_run(arch), tmp_path / "runs" / arch)
    images = np.load(labelled_images)["images"]
    for name in ("my_images", "large", "my_digits"):
        np.save(tmp_path / f"{name}.npy", images)
    return tmp_path


def test_readmes_programs_run_one_after_another(folder: Path, labelled_images: Path) -> None:
    export_run(ExportConfig("runs/conv", "exported"))
    names: dict[str, object] = {}
    for block in blocks(README, "python"):
        run_block(block, labelled_images, names)
    assert names["metrics"]["loss"].shape == (3, 2)
    assert names["recons"].shape == (5, 28, 28, 1)


@pytest.mark.parametrize("block", blocks(RESEARCH, "python"), ids=["loss", "model", "population"])
def test_the_examples_for_research_run_and_are_short_and_public(
    block: str, labelled_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(block.splitlines()) <= 50
    assert set(re.findall(r"\bae_jax\.(\w+)", block)) <= PUBLIC.keys()
    assert not re.search(r"from ae_jax|import ae_jax\.|\bae_jax\._", block)
    names: dict[str, object] = {}
    run_block(block, labelled_images, names)
    numbers = [float(number) for number in re.findall(r"(?<![\w.])\d+\.\d+", capsys.readouterr().out)]
    assert numbers
    assert np.isfinite(numbers).all()


COMMANDS = re.findall(r"^(?:pip .* && )?python scripts/(.+?)(?: +#.*)?$", "".join(blocks(README, "bash")), re.MULTILINE)


def test_readme_has_a_command_of_each_script() -> None:
    scripts = {path.name for path in (ROOT / "scripts").glob("*.py")}
    assert scripts == set(re.findall(r"python scripts/(\w+\.py)", README))


@pytest.mark.parametrize("command", [each for each in COMMANDS if "--distributed" not in each and "HOST" not in each])
def test_readmes_commands_run(
    command: str, folder: Path, labelled_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they stand, but an epoch long and on few images; those of several processes are in `test_hosts`."""
    script, *arguments = shlex.split(command)
    if "from-torch" in arguments:
        to_torch("runs/conv", "conv.safetensors")
    if script in SHORT and "--resume" not in arguments:
        own = () if "my_images.npy" in arguments else ("--dataset", str(labelled_images))
        arguments += (*own, *SHORT[script])
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with contextlib.suppress(SystemExit) if "--help" in arguments else contextlib.nullcontext():
        runpy.run_path(str(ROOT / "scripts" / script))["main"]()


def public_functions() -> dict[str, Callable[..., object]]:
    """The functions, and of the classes their public methods and properties."""
    functions = {name: value for name, value in PUBLIC.items() if not inspect.isclass(value)}
    for name, value in PUBLIC.items():
        if inspect.isclass(value):
            own = {key: each for key, each in vars(value).items() if not key.startswith("_") and key != "setup"}
            functions |= {f"{name}.{key}": each for key, each in own.items() if inspect.isfunction(each)}
    return functions


def test_every_public_name_says_what_it_is() -> None:
    assert [name for name, value in PUBLIC.items() if not inspect.getdoc(value)] == []


def test_every_array_of_a_public_function_has_its_shape_and_type_in_signature_or_docstring() -> None:
    """Arrays are annotated with jaxtyping, or said as `f32[batch, 64]`; a bare array type says neither."""
    untold = []
    for name, function in public_functions().items():
        hints = typing.get_type_hints(inspect.unwrap(function))
        said = re.findall(r"\b(?:[fiu]\d+|key)\[", inspect.getdoc(function) or "")
        for place, hint in hints.items():
            names = {each for each in (hint, *typing.get_args(hint)) if each in (jax.Array, np.ndarray, typing.Any)}
            if names and not said:
                untold.append(f"{name}: {place}")
    assert untold == []


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if ">>>" in (inspect.getdoc(value) or "")])
def test_a_docstrings_example_gives_what_it_says(name: str) -> None:
    value, names = PUBLIC[name], {"ae_jax": ae_jax, "functools": functools, "jax": jax, "jnp": jnp, "np": np}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    text = inspect.getdoc(value)
    runner.run(doctest.DocTestParser().get_doctest(text, names, name, None, 0))
    assert runner.summarize(verbose=False).failed == 0
