import json
from pathlib import Path

import jax
import pytest
from jax import numpy as jnp
from matplotlib import image

import ae_jax
from ae_jax.models.autoencoders import make_model
from benchmarks.__main__ import main
from benchmarks.convolutions import SHAPES, Shape, layers
from benchmarks.report import benchmark_figure, format_table
from benchmarks.roofline import step_work
from tests.conftest import ROOT, Script
from tests.support.commands import bad_arguments
from tests.support.devices import needs_cpu


def test_a_table_leaves_cells_empty_that_a_row_does_not_have() -> None:
    rows = {"ae_jax": {"ms": 1.2345, "images/s": 53_123.4}, "PyTorch compiled": {"missing": "no compiler"}}
    assert format_table("conv", rows).splitlines() == [
        "| conv | ms | images/s | missing |",
        "| --- | --- | --- | --- |",
        "| ae_jax | 1.23 | 53,123 |  |",
        "| PyTorch compiled |  |  | no compiler |",
    ]


def test_benchmark_figure_has_one_bar_per_contender_that_ran() -> None:
    steps = {"ae_jax": {"ms": 2.0}, "PyTorch eager": {"ms": 7.0}, "PyTorch compiled": {"missing": "no compiler"}}
    results = {
        "machine": {"device": "a CPU with 2 cores", "images": 60_000},
        "conv: steps of 64 images": {**steps, "roofline": {"ms": 1.0}},
        "conv: epochs of ae_jax by batch size": {"32": {"s per epoch": 2.5}, "64": {"s per epoch": 2.0}},
    }
    left, right = benchmark_figure(results).axes
    assert [bar.get_width() for bar in left.patches] == [2.0, 7.0]
    assert list(right.lines[0].get_ydata()) == [2.5, 2.0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_timed_convolutions_compute_the_same_layer(shape: Shape) -> None:
    x = jnp.ones((2, shape.size, shape.size, shape.channels))
    ours, flax = layers(shape).values()
    y, variables = jax.eval_shape(ours.init_with_output, jax.random.key(0), x)
    expected, others = jax.eval_shape(flax.init_with_output, jax.random.key(0), x)
    assert y == expected
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == sum(leaf.size for leaf in jax.tree.leaves(others))


@needs_cpu
@pytest.mark.parametrize(("arch", "overhead"), [("linear", 1.05), ("conv", 1.15)])
def test_roofline_flops_match_the_cost_analysis_of_xla(arch: str, overhead: float) -> None:
    state = ae_jax.create_train_state(make_model(arch), jax.random.key(0))
    images = jnp.zeros((64, 28, 28, 1))
    step = jax.jit(jax.value_and_grad(lambda params: jnp.mean(ae_jax.reconstruction_loss(state.model, params, images))))
    counted = step.lower(state.params).compile().cost_analysis()["flops"]
    flops = step_work(arch, 64).flops
    assert flops <= counted <= overhead * flops  # XLA counts activations, and products with padding, too
    assert step_work(arch, 64).optimizer_bytes == 28 * sum(leaf.size for leaf in jax.tree.leaves(state.params))


def test_small_benchmark_prints_a_table_and_writes_json_and_figure(
    own_images: Path, tmp_path: Path, benchmark_script: Script
) -> None:
    outputs = ("--json", tmp_path / "out.json", "--figure", tmp_path / "out.png")
    result = benchmark_script("--dataset", own_images, "--rounds", 1, "--arch", "linear", "--part", "steps", *outputs)
    assert result.returncode == 0, result.stderr
    steps = json.loads((tmp_path / "out.json").read_text())["linear: steps of 64 images"]
    assert 0 < steps["ae_jax"]["ms"] <= steps["ae_jax"]["median"]
    assert steps["roofline"]["ms"] > 0
    assert f"| plain flax | {steps['plain flax']['ms']:#.3g} |" in result.stdout
    assert image.imread(tmp_path / "out.png").ndim == 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--rounds", "0"], "--rounds must be at least 1, not 0"),
        (["--figure", "out.bmp"], "must end in .png, .svg, .pdf, not out.bmp"),
        (["--json", "pyproject.toml"], "pyproject.toml already exists, and nothing is overwritten"),
        (["--part", "quality", "--dataset", "glyphs"], "--part quality requires mnist, not glyphs"),
    ],
)
def test_invalid_arguments_are_a_one_line_error(args: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert message in bad_arguments(main, *args)
