"""The documentation holds: the commands, programs, links and lists of its pages; the docstrings and their examples."""

import contextlib
import doctest
import functools
import inspect
import re
import shlex
import shutil
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import ae_jax
from ae_jax.cli import parse, parse_training
from ae_jax.config import TrainConfig, fast
from ae_jax.exchange.config import ExportConfig, ShareConfig
from ae_jax.exchange.convert import to_torch
from ae_jax.exchange.export import export_run
from ae_jax.exchange.share import share_run
from ae_jax.types import Params, StateDict
from benchmarks.config import BenchmarkConfig
from faults.config import FaultsConfig
from scripts.pretrain import PretrainConfig
from tests.conftest import ROOT
from tests.repository.test_architecture import LAYERS
from tests.support.commands import run_main

DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *sorted(DOCS.glob("*.md")))}
README, ARCHITECTURE, RESEARCH = (PAGES[name] for name in ("README.md", "docs/architecture.md", "docs/research.md"))
PUBLIC = {name: getattr(ae_jax, name) for name in ae_jax.__all__}


def blocks(text: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for name, block in found if name == language]


def links(text: str) -> set[str]:
    """The relative links and images of a page, without anchors."""
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    return {target for target in targets if not re.match("[a-z]+:", target)}


def test_readme_has_at_most_150_lines() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_relative_links_and_images_exist(page: str) -> None:
    path = ROOT / page
    assert [link for link in sorted(links(path.read_text())) if not (path.parent / link).exists()] == []


def test_readme_links_every_page_and_the_pages_show_every_figure() -> None:
    assert {page for page in PAGES if page != "README.md"} <= links(README)
    shown = {Path(link).name for text in PAGES.values() for link in links(text)}
    assert {path.name for path in DOCS.glob("*.png")} <= shown


def listed_files(text: str, depth: int | None = None) -> Iterator[str]:
    """The paths in the tree of a page, down to `depth`; a path ends in / or .py."""
    tree = next(block for block in blocks(text, "") if block.startswith("ae_jax/\n"))
    folders: list[str] = []
    for indent, name in re.findall(r"^( *)(\w+(?:/|\.py))(?: |$)", tree, re.MULTILINE):
        folders[len(indent) // 2 :] = [name]
        if depth is None or len(folders) <= depth:
            yield "".join(folders)


def python_files(*packages: str) -> set[str]:
    paths = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    return {str(path.relative_to(ROOT)) for path in paths if not path.name.startswith("__")}


def test_readme_lists_the_modules_and_packages() -> None:
    modules = {path for path in python_files("ae_jax") if path.count("/") == 1}
    packages = {f"ae_jax/{path.parent.name}/" for path in (ROOT / "ae_jax").glob("*/__init__.py")}
    inside = [path for path in listed_files(README) if path.startswith("ae_jax/") and path != "ae_jax/"]
    assert Counter(inside) == Counter(modules | packages)
    assert [path for path in listed_files(README, depth=1) if not (ROOT / path).is_dir()] == []


def test_the_architecture_page_lists_every_module_and_the_layers_of_the_import_rule() -> None:
    listed = [path for path in listed_files(ARCHITECTURE) if path.endswith(".py")]
    assert Counter(listed) == Counter(python_files("ae_jax", "benchmarks", "faults"))
    layers = re.findall(r"^\d+ +([a-z ]+)$", ARCHITECTURE, re.MULTILINE)
    assert [set(names.split()) for names in layers] == list(LAYERS)


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
        export_run(ExportConfig("runs/conv", "exported"))
        export_run(ExportConfig("runs/conv", "onnx", "onnx"))
    if page == "docs/sharing.md":
        share_run(ShareConfig("runs/conv", "shared"))
    names: dict[str, Any] = {}
    assert sum(run_block(block, whole_batches, names) for block in blocks(PAGES[page], "python")) > 0


def test_a_wrong_shape_in_a_comment_is_found() -> None:
    for claim in ("x = jnp.zeros((2, 3))  # f32[2, 4]", 'x = {"y": jnp.zeros(2)}  # x["y"]: f32[]'):
        with pytest.raises(AssertionError):
            run_block(claim, Path(), {"jnp": jnp})
    assert run_block("x = jnp.zeros((2, 3))  # f32[batch, 3]", Path(), {"jnp": jnp}) == 1


RESEARCH_IDS = ["loss", "model", "population", "nnx", "to nnx", "orbax"]


@pytest.mark.parametrize("block", blocks(RESEARCH, "python"), ids=RESEARCH_IDS)
def test_the_research_examples_run_and_are_short_and_public(
    block: str, whole_batches: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(block.splitlines()) <= 50
    assert set(re.findall(r"\bae_jax\.(\w+)", block)) <= PUBLIC.keys()
    assert not re.search(r"from ae_jax|import ae_jax\.|\bae_jax\._", block)
    run_block(block, whole_batches, {})
    numbers = [float(number) for number in re.findall(r"(?<![\w.])\d+\.\d+", capsys.readouterr().out)]
    assert numbers
    assert np.isfinite(numbers).all()


COMMANDS = [
    command
    for text in PAGES.values()
    for block in blocks(text, "bash")
    for command in re.findall(r"^(?:pip .* && )?python scripts/(.+?)(?: +#.*)?$", block, re.MULTILINE)
]
SHORT = {"train.py": ("--epochs", "1"), "sweep.py": ("--epochs", "1", "--seeds", "2")}
LONG = {"benchmark.py": BenchmarkConfig, "faults.py": FaultsConfig, "pretrain.py": PretrainConfig}
PARSED = [each for each in COMMANDS if each.split()[0] in LONG or "--distributed" in each or "HOST" in each]


def test_every_script_has_a_command_and_no_command_is_repeated() -> None:
    assert {command.split()[0] for command in COMMANDS} == {path.name for path in (ROOT / "scripts").glob("*.py")}
    assert [command for command, count in Counter(COMMANDS).items() if count > 1] == []


def test_readme_has_one_line_with_the_test_command() -> None:
    assert [line for line in README.splitlines() if "python -m pytest" in line] == [
        'pip install -e ".[test]" && python -m pytest'  # .ci/run runs this line
    ]


@pytest.mark.parametrize("command", [each for each in COMMANDS if each not in PARSED])
def test_documented_commands_run(command: str, folder: Path, labelled_images: Path) -> None:
    """As documented, but for one epoch and on few images."""
    script, *arguments = shlex.split(command)
    if "from-torch" in arguments:
        to_torch("runs/conv", "conv.safetensors")
    if script in SHORT and "--resume" not in arguments:
        own = {"my_images.npy", "large.npy"} & set(arguments)
        arguments += (*(() if own else ("--dataset", str(labelled_images))), *SHORT[script])
    if "pretrained:" in command and script in ("evaluate.py", "explore.py"):
        arguments += ("--dataset", str(labelled_images))  # instead of MNIST
    with contextlib.suppress(SystemExit) if "--help" in arguments else contextlib.nullcontext():
        run_main(script, *arguments)


@pytest.mark.parametrize("command", PARSED)
@pytest.mark.usefixtures("environment")
def test_documented_commands_that_take_long_or_several_processes_parse(command: str) -> None:
    """Those of several processes run in `tests/parallel/test_multihost.py`."""
    script, *arguments = shlex.split(command.replace("HOST:PORT", "localhost:1234"))
    if script in LONG:
        parse(LONG[script], "", arguments)
    else:
        parse_training({"tutorial": TrainConfig, "fast": fast}, "", arguments)


def public_functions() -> dict[str, Callable[..., object]]:
    """The functions, and of the classes their public methods."""
    functions = {name: value for name, value in PUBLIC.items() if not inspect.isclass(value)}
    for name, value in PUBLIC.items():
        if inspect.isclass(value):
            own = {key: each for key, each in vars(value).items() if not key.startswith("_") and key != "setup"}
            methods = {key: each for key, each in own.items() if inspect.isfunction(each)}  # and functions as defaults
            functions |= {f"{name}.{key}": each for key, each in methods.items() if each.__module__ == value.__module__}
    return functions


def test_every_public_name_has_a_docstring() -> None:
    assert [name for name, value in PUBLIC.items() if not inspect.getdoc(value)] == []


SHAPE = r"`?\{?(?:\"[\w.]+\": )?\b(?:[fiu]\d+|key)\["  # f32[…, or as the first value of a dict
DESCRIBED = (Params, StateDict)  # in types.py
NOT_ARRAYS_OF_A_SHAPE = {
    ("save_checkpoint", "arrays"),  # of any shape and dtype
    ("save_checkpoint", "info"),  # JSON
    ("params_from_torch", "state_dict"),  # whatever NumPy converts
}


def bare_arrays(hint: Any) -> bool:
    """Whether arrays of this annotation have neither shape nor dtype: array types and Any, alone or in containers."""
    if hint in DESCRIBED or typing.get_origin(hint) is Callable:
        return False
    return hint in (jax.Array, np.ndarray, Any) or any(map(bare_arrays, typing.get_args(hint)))


def sections(docstring: str) -> dict[str, str]:
    """The summary, as "", each argument by its name, and what is returned, as "return"."""
    parts = re.split(r"^(Args|Returns|Yields|Raises):$", docstring.partition("\n>>> ")[0], flags=re.MULTILINE)
    named = dict(zip(parts[1::2], parts[2::2], strict=True))
    arguments = dict(re.findall(r"^  (\w+): (.*(?:\n    .*)*)", named.get("Args", ""), re.MULTILINE))
    return {"": parts[0], "return": named.get("Returns", named.get("Yields", "")), **arguments}


def undescribed_arrays(function: Callable[..., object]) -> list[str]:
    """The arguments, and "return", whose arrays have shape and dtype neither in the annotation nor in the docstring."""
    described = sections(inspect.getdoc(function) or "")
    names = [name for name, hint in typing.get_type_hints(inspect.unwrap(function)).items() if bare_arrays(hint)]
    in_summary = {name: rf"(?:→|to|return) {SHAPE}" if name == "return" else rf"\b{name}:?`? {SHAPE}" for name in names}
    return [
        name
        for name in names
        if not re.search(SHAPE, described.get(name, "")) and not re.search(in_summary[name], described[""])
    ]


@pytest.mark.parametrize("name", public_functions())
def test_every_array_of_a_public_function_has_its_shape_and_dtype_in_annotation_or_docstring(name: str) -> None:
    undescribed = {(name, argument) for argument in undescribed_arrays(public_functions()[name])}
    assert undescribed - NOT_ARRAYS_OF_A_SHAPE == set()


def test_an_undescribed_array_is_found() -> None:
    def in_args(x: jax.Array, y: list[np.ndarray], z: Any | None = None) -> tuple[jax.Array, int]:
        """Add `f32[n]`.

        Args:
          x: `f32[n]`, and of `y`
            and z nothing.
          y: others.
          z: more,
            `{"a": f32[n]}`.

        Returns:
          Their sum.

        >>> "f32[n]"
        """

    def in_summary(x: jax.Array, y: jax.Array) -> jax.Array:
        """Add `x f32[n]` and `y`: → `f32[n]`."""

    def annotated(x: ae_jax.types.Batch, fn: Callable[[Any], jax.Array]) -> ae_jax.types.Params:
        """Nothing."""

    assert undescribed_arrays(in_args) == ["y", "return"]
    assert undescribed_arrays(in_summary) == ["y"]
    assert undescribed_arrays(annotated) == []


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if ">>>" in (inspect.getdoc(value) or "")])
def test_docstring_examples_give_what_they_show(name: str) -> None:
    value, names = PUBLIC[name], {"ae_jax": ae_jax, "functools": functools, "jax": jax, "jnp": jnp, "np": np}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    text = inspect.getdoc(value)
    runner.run(doctest.DocTestParser().get_doctest(text, names, name, None, 0))
    assert runner.summarize(verbose=False).failed == 0
