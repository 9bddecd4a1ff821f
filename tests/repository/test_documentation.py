"""The documentation holds: commands, programs and links of its pages, examples of docstrings."""

import contextlib
import doctest
import functools
import inspect
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import ae_jax
from ae_jax.cli import parse
from ae_jax.commands import COMMANDS
from ae_jax.exchange.onnx import export_run
from ae_jax.exchange.share import share_run
from ae_jax.exchange.torch import to_torch
from scripts.pretrain import parse_args as parse_pretrain_args
from tests.conftest import ROOT
from tests.support.commands import run_main

DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *sorted(DOCS.glob("*.md")))}
README, RESEARCH = PAGES["README.md"], PAGES["docs/research.md"]
PUBLIC = {name: getattr(ae_jax, name) for name in ae_jax.__all__}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def links(text: str) -> set[str]:
    """The relative links and images of a page, without anchors."""
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    return {target for target in targets if not re.match("[a-z]+:", target)}


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_relative_links_and_images_exist(page: str) -> None:
    path = ROOT / page
    assert [link for link in sorted(links(path.read_text())) if not (path.parent / link).exists()] == []


def test_readme_links_every_page_and_the_pages_show_every_figure() -> None:
    assert {page for page in PAGES if page != "README.md"} <= links(README)
    shown = {Path(link).name for text in PAGES.values() for link in links(text)}
    assert {path.name for path in DOCS.glob("*.png")} <= shown


def test_numbers_of_the_readme_are_those_of_a_page() -> None:
    pages = " ".join(text for name, text in PAGES.items() if name != "README.md")
    numbers = re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", README.replace("Python 3.11", ""))
    assert len(numbers) > 12
    assert [number for number in numbers if not re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.]*\d)", pages)] == []


def run_block(source: str, dataset: Path, names: dict[str, Any]) -> int:
    """Run a block with another dataset, as 60,000 images would take minutes; return how many shapes it claims.

    Claims are `name = …  # f32[5, 3]` and `metrics["loss"]: f32[3]` in comments.
    """
    exec(compile(source.replace('"auto"', repr(str(dataset))), "a block", "exec"), names)
    claims = re.findall(r'(?:^(\w+) = [^#\n]*# |# .*?(\w+\["\w+"\]): )f32\[(.*?)\]', source, re.MULTILINE)
    for name, item, claim in claims:
        array, sizes = eval(name or item, names), claim.split(", ") if claim else []
        assert array.dtype == np.float32, claim
        assert len(sizes) == array.ndim, claim
        assert all(int(size) == n for size, n in zip(sizes, array.shape, strict=True) if size.isdigit()), claim
    return len(claims)


@pytest.fixture(scope="module")
def whole_batches(tmp_path_factory: pytest.TempPathFactory, labelled_images: Path) -> Path:
    """A file with 256 images for training: a step for a smaller last batch need not be compiled."""
    path = tmp_path_factory.mktemp("whole") / "own.npz"
    with np.load(labelled_images) as arrays:
        parts = np.split(arrays["images"], [256]) + np.split(arrays["labels"], [256])
    np.savez(path, **dict(zip(("x_train", "x_test", "y_train", "y_test"), parts, strict=True)))
    return path


@pytest.fixture
def folder(environment: None, trained_run: Callable[..., Path], labelled_images: Path, tmp_path: Path) -> Path:
    """The current folder, as the pages assume it: two finished runs, and files of the user's own images."""
    for arch in ("conv", "linear"):
        shutil.copytree(trained_run(arch), tmp_path / "runs" / arch)
    images = np.load(labelled_images)["images"]
    for name in ("my_images", "large", "my_digits"):
        np.save(tmp_path / f"{name}.npy", images)
    return tmp_path


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if blocks(text, "python") and text != RESEARCH])
def test_python_blocks_of_a_page_run_one_after_another(page: str, folder: Path, whole_batches: Path) -> None:
    if page == "docs/pytorch.md":
        export_run("runs/conv", "onnx")
    if page == "docs/sharing.md":
        share_run("runs/conv", "shared")
    names: dict[str, Any] = {}
    assert sum(run_block(block, whole_batches, names) for block in blocks(PAGES[page], "python")) > 0


def test_a_wrong_shape_in_a_comment_is_found() -> None:
    for claim in ("x = jnp.zeros((2, 3))  # f32[2, 4]", 'x = {"y": jnp.zeros(2)}  # x["y"]: f32[]'):
        with pytest.raises(AssertionError):
            run_block(claim, Path(), {"jnp": jnp})
    assert run_block("x = jnp.zeros((2, 3))  # f32[batch, 3]", Path(), {"jnp": jnp}) == 1


RESEARCH_IDS = [
    *(
        "loss",
        "variational",
        "conditional",
        "probe",
        "lbfgs",
        "gradient",
        "population",
        "dropout",
        "batch norm",
        "dict",
    ),
    *("nnx", "to nnx", "orbax"),
]


@pytest.mark.parametrize("block", blocks(RESEARCH, "python"), ids=RESEARCH_IDS)
def test_the_research_examples_run_and_are_public(
    block: str, whole_batches: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(re.findall(r"\bae_jax\.(\w+)", block)) <= PUBLIC.keys()
    assert not re.search(r"from ae_jax|import ae_jax\.|\bae_jax\._", block)
    run_block(block, whole_batches, {})
    numbers = [float(number) for number in re.findall(r"(?<![\w.])\d+\.\d+", capsys.readouterr().out)]
    assert numbers
    assert np.isfinite(numbers).all()


CODE = "\n".join(block for text in PAGES.values() for block in blocks(text, "bash"))
COMMAND_LINES = [
    line.partition(" #")[0].rstrip() for line in CODE.replace("python scripts/train.py", "ae-jax train").splitlines()
]
DOCUMENTED = [line.split("ae-jax ")[1] for line in COMMAND_LINES if "ae-jax " in line]
FEW = {"train": ("--epochs", "1"), "sweep": ("--epochs", "1", "--seeds", "2")}


def test_every_command_is_documented() -> None:
    assert {command.split()[0] for command in DOCUMENTED} == COMMANDS.keys()


def test_readme_has_one_line_with_the_test_command() -> None:
    assert [line for line in README.splitlines() if "python -m pytest" in line] == [
        'pip install -e ".[test]" && python -m pytest'  # .ci/run runs this line
    ]


@pytest.mark.parametrize("command", [each for each in DOCUMENTED if "--distributed" not in each])
def test_documented_commands_run(command: str, folder: Path, labelled_images: Path) -> None:
    """As documented, but for one epoch and on few images."""
    name, *arguments = shlex.split(command)
    if "from-torch" in arguments:
        to_torch("runs/conv", "conv.safetensors")
    trains = name in FEW and "--resume" not in arguments
    arguments += FEW[name] if trains else ()
    if (trains and "my_images.npy" not in arguments) or re.match("(evaluate|explore) pretrained:", command):
        arguments += ("--dataset", str(labelled_images))  # instead of MNIST
    with contextlib.suppress(SystemExit) if "--help" in arguments else contextlib.nullcontext():
        run_main(name, *arguments)


def test_documented_commands_of_several_processes_and_of_many_minutes_parse() -> None:
    """Several processes run in `tests/parallel`."""
    distributed = [command for command in DOCUMENTED if "--distributed" in command]
    pretrain = [line.split("pretrain.py ")[1] for line in COMMAND_LINES if "pretrain.py " in line]
    assert distributed
    assert pretrain
    for command in distributed:
        assert parse(shlex.split(command), COMMANDS).arguments["config"].distributed
    for arguments in pretrain:
        parse_pretrain_args(shlex.split(arguments))


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if ">>>" in (inspect.getdoc(value) or "")])
def test_docstring_examples_give_what_they_show(name: str) -> None:
    value, names = PUBLIC[name], {"ae_jax": ae_jax, "functools": functools, "jax": jax, "jnp": jnp, "np": np}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    text = inspect.getdoc(value)
    runner.run(doctest.DocTestParser().get_doctest(text, names, name, None, 0))
    assert runner.summarize(verbose=False).failed == 0
