import json
from pathlib import Path

import jax
import pytest
from jax import numpy as jnp
from matplotlib import image

import ae_jax
from ae_jax.models.autoencoders import MODELS
from benchmarks.convolutions import SHAPES, Shape, layers
from benchmarks.report import benchmark_figure, best_torch, table
from benchmarks.roofline import step_work
from tests.conftest import Script
from tests.support.commands import bad_input
from tests.support.devices import needs_cpu

TIMES = {"min_ms": 2.0, "median_ms": 2.5, "epoch_seconds": 1.9}
RESULTS = {
    "dataset": "mnist",
    "images": 60_000,
    "machine": {"platform": "cpu", "device": "cpu", "versions": {"Python": "3.11.7", "jax": "0.10.2"}},
    "conv": {
        "steps": {
            "roofline_ms": 1.0,
            "gflops_per_second": 300.0,
            "gbytes_per_second": 50.0,
            "contenders": {
                "ae_jax": TIMES,
                "plain flax": TIMES | {"min_ms": 24.0},
                "PyTorch eager": TIMES | {"min_ms": 7.0},
                "PyTorch channels-last": TIMES | {"min_ms": 6.0},
                "PyTorch compiled": {"missing": "no compiler"},
            },
        },
        "growth": {
            "epoch_seconds_by_images": {15_000: 0.5, 30_000: 1.0, 60_000: 2.2},
            "epoch_seconds_by_batch": {32: 2.5, 64: 2.0},
        },
        "quality": {
            "target": 0.0028,
            "fast": {"seconds": 2.0, "test_mse": 0.00275},
            "torch": {"name": "PyTorch channels-last", "seconds": 50.0, "epochs": 10, "test_mse": 0.00279},
        },
    },
    "process": {
        "ae_jax": {"min": 10.0, "median": 11.0},
        "ae_jax_again": {"min": 8.0, "median": 9.0},
        "PyTorch": {"min": 25.0, "median": 26.0},
        "first_step": {"min": 4.0, "median": 4.5},
        "first_step_again": {"min": 1.5, "median": 1.6},
    },
}


def test_speed_ratios_use_the_fastest_pytorch_contender() -> None:
    assert best_torch(RESULTS["conv"]["steps"]["contenders"]) == 6.0
    text = table(RESULTS)
    assert text.startswith("mnist, 60,000 images, cpu, Python 3.11.7, jax 0.10.2\n")
    assert "| plain flax | 24.00 | 2.50 | 1.90 | 12.00 |" in text
    assert "| PyTorch compiled | – | – | – | no compiler |" in text
    assert "ae_jax / roofline 2.00; fastest PyTorch / ae_jax 3.00" in text
    assert "| 15,000 | 0.500 | 0.91 |" in text  # time per image, relative: (0.5 / 15,000) / (2.2 / 60,000)
    assert "| 64 | 2.00 | 30,000 |" in text
    assert "PyTorch / ae_jax 25.0" in text
    assert "PyTorch / ae_jax 2.50, with the programs in the cache 3.12" in text


def test_scaling_table_has_measured_and_predicted_times() -> None:
    times = {"min_ms": 2.0, "median_ms": 2.5, "predicted_ms": 1.9}
    scaling = {"2 devices": times, "2 processes": {"missing": "no port"}}
    text = table({**RESULTS, "linear": {"scaling": {"image_us": 10.0, "fixed_ms": 0.5, "configurations": scaling}}})
    assert "linear on one core: 0.50 ms per step + 10.0 µs per image" in text
    assert "| 2 devices | 2.00 | 2.50 | 1.90 |" in text
    assert "| 2 processes | – | – | no port |" in text


def test_convolution_table_compares_with_flax() -> None:
    times = {"ae_jax": {"min_us": 100.4, "median_us": 120.0}, "flax": {"min_us": 251.0, "median_us": 300.0}}
    text = table({**RESULTS, "convolutions": {str(SHAPES[0]): {"forward": times, "gradient": times}}})
    assert "| Conv, 3×3, stride 1, 1 → 16, 28×28 | 100 (120) | 251 (300) | – | 2.50 |" in text


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_timed_convolutions_compute_the_same_layer(shape: Shape) -> None:
    x = jnp.ones((2, shape.size, shape.size, shape.channels))
    ours, flax = layers(shape).values()
    y, variables = jax.eval_shape(ours.init_with_output, jax.random.key(0), x)
    expected, others = jax.eval_shape(flax.init_with_output, jax.random.key(0), x)
    assert y == expected
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == sum(leaf.size for leaf in jax.tree.leaves(others))


def test_benchmark_figure_has_one_bar_per_contender_that_ran() -> None:
    steps, growth = benchmark_figure(RESULTS).axes
    assert [bar.get_width() for bar in steps.patches] == [2.0, 24.0, 7.0, 6.0]
    assert list(growth.lines[0].get_ydata()) == [2.5, 2.0]


@needs_cpu
@pytest.mark.parametrize(("arch", "overhead"), [("linear", 1.05), ("conv", 1.15)])
def test_roofline_flops_match_the_cost_analysis_of_xla(arch: str, overhead: float) -> None:
    state = ae_jax.create_train_state(MODELS[arch](), jax.random.key(0))
    images = jnp.zeros((64, 28, 28, 1))
    step = jax.jit(jax.value_and_grad(lambda params: jnp.mean(ae_jax.reconstruction_loss(state.model, params, images))))
    counted = step.lower(state.params).compile().cost_analysis()["flops"]
    flops = step_work(arch, 64).flops
    assert flops <= counted <= overhead * flops  # XLA counts activations, and products with padding, too
    assert step_work(arch, 64).optimizer_bytes == 28 * sum(leaf.size for leaf in jax.tree.leaves(state.params))


def test_small_benchmark_prints_a_table_and_writes_json_and_figure(benchmark_script: Script, own_images: Path) -> None:
    arguments = ("--dataset", own_images, "--rounds", 1, "--arch", "linear")
    result = benchmark_script(*arguments, "--part", "steps", "--json", "out.json", "--figure", "out.png")
    assert result.returncode == 0, result.stderr
    steps = json.loads(Path("out.json").read_text())["linear"]["steps"]
    assert steps["roofline_ms"] > 0
    ours, plain = steps["contenders"]["ae_jax"], steps["contenders"]["plain flax"]
    assert 0 < ours["min_ms"] <= ours["median_ms"]
    assert f"| plain flax | {plain['min_ms']:.2f} |" in result.stdout
    assert image.imread("out.png").ndim == 3
    assert "out.json already exists, and nothing is overwritten" in bad_input("benchmark.py", "--json", "out.json")


BAD_ARGUMENTS = {
    "rounds": (["--rounds", "0"], "--rounds must be at least 1, not 0"),
    "figure": (["--figure", "out.bmp"], "--figure must end in .png, .svg, .pdf, not out.bmp"),
    "folder": (["--json", "none/out.json"], "none/out.json cannot be written; choose another file"),
    "process": (["--part", "process", "--arch", "linear"], "--part process measures conv only"),
    "quality": (["--part", "quality", "--dataset", "glyphs"], "--part quality requires mnist, not glyphs"),
}


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_invalid_arguments_are_a_one_line_error(case: str) -> None:
    arguments, message = BAD_ARGUMENTS[case]
    error = bad_input("benchmark.py", *arguments)
    assert message in error
    assert error.count("\n") == 1
