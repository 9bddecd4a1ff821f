import functools
import inspect
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp
from optax import contrib
from scipy import special

import ae_jax
from ae_jax.models.autoencoders import param_shapes
from benchmarks.deep_autoencoder.__main__ import DEFINITIONS as DEFINITION_NAMES
from benchmarks.deep_autoencoder.__main__ import FOLDER, load_entry, main
from benchmarks.deep_autoencoder.definitions import DEFINITIONS
from benchmarks.deep_autoencoder.entries import gauss_newton
from benchmarks.deep_autoencoder.report import compare, make_figure, make_table, steps_to, z_test
from benchmarks.deep_autoencoder.task import BATCH_SIZE, MEASURE_EVERY, NETWORK, TARGETS, Split, train
from tests.support.commands import bad_arguments
from tests.support.fixtures import random_parameter


@pytest.fixture(scope="module")
def split() -> Split:
    images, _ = ae_jax.draw_glyphs(jax.random.key(0), 3 * BATCH_SIZE)
    return Split(*np.split(np.asarray(images), 3))


def direct_logits(params: Any, x: np.ndarray) -> np.ndarray:
    """The network of the benchmark in NumPy, float64: ReLUs, but for the code and the logits."""
    for half in ("encoder", "decoder"):
        for i in range(4):
            layer = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params[f"{half}_{i}"])
            x = x @ layer["kernel"] + layer["bias"]
            x = np.maximum(x, 0) if i < 3 else x
    return x


def test_numbers_of_the_papers_are_those_of_a_direct_computation(split: Split) -> None:
    params = jax.tree.map(random_parameter, param_shapes(NETWORK))
    expected: dict[str, dict[str, float]] = {}
    sums = {}
    for name, images in (("train", np.concatenate([split.train, split.validation])), ("test", split.test)):
        x = images.reshape(-1, 784) / 255.0
        z = direct_logits(params, x)
        p = special.expit(z)
        sums[name] = (np.logaddexp(0, z) - x * z).sum(1).mean(), np.square(p - x).sum(1).mean()
        normalised = [(each - 0.1307) / 0.3081 for each in (p, x)]
        expected.setdefault("eva", {})[name] = np.square(normalised[0] - normalised[1]).mean()
    penalty = 0.5e-5 * sum(np.square(np.asarray(leaf, np.float64)).sum() for leaf in jax.tree.leaves(params))
    expected["kbfgs"] = {name: cross_entropy + penalty for name, (cross_entropy, _) in sums.items()}
    expected["sonew"] = {"train": sums["train"][0]}
    expected["kfac"] = {"train loss": sums["train"][0] + penalty, "train error": sums["train"][1]}
    expected["sutskever"] = {"train": sums["train"][1]}
    assert set(DEFINITION_NAMES) == DEFINITIONS.keys()
    assert {name: each.numbers(params, split) for name, each in DEFINITIONS.items()} == {
        name: pytest.approx(numbers, rel=1e-5) for name, numbers in expected.items()
    }


def test_training_is_that_of_the_public_train_step_and_a_seed_repeats_it(split: Split) -> None:
    def loss(model: Any, params: Any, images: jax.Array) -> jax.Array:
        return 784 * ae_jax.cross_entropy_loss(model, params, images)

    run = train(lambda num_steps: optax.sgd(0.1 / num_steps**2), split, 3, num_steps=MEASURE_EVERY)
    state = ae_jax.create_train_state(NETWORK, jax.random.key(3), tx=optax.sgd(0.1 / MEASURE_EVERY**2))
    for _ in range(MEASURE_EVERY):  # each batch has all images, in some order
        state, _ = ae_jax.make_train_step(loss)(state, split.train)
    for ours, theirs in zip(jax.tree.leaves(run.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    error = np.square(np.asarray(ae_jax.reconstruct(state, split.validation)) - split.validation / 255).sum((1, 2, 3))
    np.testing.assert_allclose(run.errors, [error.mean()], rtol=1e-4)
    assert run.seconds.shape == (1,)


FEATURES, LABELS = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32), np.arange(20) % 2.0
ENTRIES = sorted(path.stem for path in (FOLDER / "entries").glob("[!_]*.py"))


class Loss(NamedTuple):
    """Logistic regression with the interface of the benchmark's loss."""

    def __call__(self, params: jax.Array) -> jax.Array:
        return optax.sigmoid_binary_cross_entropy(self.logits(params).sum(-1), LABELS).mean()

    def logits(self, params: jax.Array) -> jax.Array:
        return FEATURES @ params


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_lowers_a_loss_in_few_steps(name: str) -> None:
    if name == "muon_optax" and "consistent_rms" not in inspect.signature(contrib.muon).parameters:
        pytest.skip("this optax has another scale of Muon's updates")
    entry, loss = load_entry(name), Loss()
    tx = optax.with_extra_args_support(entry.make_optimizer(MEASURE_EVERY))
    params: Any = jnp.full((4, 1), 0.5)
    state = tx.init(params)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        value, grad = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        return optax.apply_updates(params, updates), state

    first = params
    for _ in range(MEASURE_EVERY):
        params, state = step(params, state)
    measured = entry.eval_params(state, params) if hasattr(entry, "eval_params") else params
    assert loss(measured) < loss(first)
    assert len(entry.TRIALS) == 6  # as many as of all others


def test_a_gauss_newton_step_solves_the_damped_normal_equations() -> None:
    params, loss = jnp.array([[0.3], [-1], [0.5], [2]]), Loss()
    value, grad = jax.value_and_grad(loss)(params)
    tx: Any = gauss_newton.make_optimizer(1, num_iterations=4)
    update = jax.jit(functools.partial(tx.update, value_fn=loss))
    updates, state = update(grad, tx.init(params), params, value=value)
    hessian = jax.hessian(loss)(params).reshape(4, 4)  # the model is linear: the Gauss-Newton matrix is the Hessian
    np.testing.assert_allclose(updates, -jnp.linalg.solve(hessian + jnp.eye(4), grad), rtol=1e-4)
    assert state.damping < 1  # the quadratic model is right, so that it is trusted more
    updates, state = update(grad, tx.init(params), params, value=value - 10)  # as if the loss rose
    assert not updates.any()
    assert state.damping == 2


def test_steps_to_a_target_and_whether_an_entry_beats_the_others() -> None:
    first, middle, last = TARGETS
    slow = np.array([[20, first, middle, last], [20, first + 1, middle, last]])
    fast = np.array([[20, middle, 3, 3], [middle, last, 3, 3]])
    assert steps_to(middle, slow).tolist() == [33, 33]
    assert steps_to(last, slow[:, :3]).tolist() == [np.inf, np.inf]
    results = {
        name: {"errors": errors.tolist(), "seconds": [[1, 2, 3, 4]] * 2, "test": [3.0, 3.1]}
        for name, errors in (("slow", slow), ("fast", fast))
    }
    z = (33 - 16.5) / np.sqrt((5.5**2 * 2 + 2 * 11**2 / 12) / 2)
    assert z_test(steps_to(middle, fast), steps_to(middle, slow))[0] == pytest.approx(z)
    assert compare("fast", {"fast": results["fast"]}) == ""
    assert compare("fast", results) == (
        f"fast: steps to {middle:g} against slow, the best of the others: z = 2.6, p = 0.0047"  # see z_test
    )
    left, right = make_figure(results).axes
    assert [line.get_label() for line in left.lines[:2]] == ["fast", "slow"]
    assert list(right.lines[1].get_xdata()) == [1, 2, 3, 4]
    table = make_table(results)
    assert list(table) == ["fast", "slow"]
    assert table["fast"] == {
        **{f"steps to {first:g}": "16 ± 8", f"steps to {middle:g}": "16 ± 8", f"steps to {last:g}": "28 ± 8"},
        f"s to {middle:g}": "2 ± 1",
        **{"validation": "3.000 ± 0.000", "test": "3.050 ± 0.071", "s": "4"},
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--entry", "adan"], "there is no entry adan: "),
        (["--entry", "own.py"], "own.py has no function make_optimizer(num_steps)"),
        (["--entry", "adam", "adam"], "two entries have the same name; rename one"),
        (["--entry", "adam.py"], "adam.py is called like an entry of the benchmark; rename it"),
        (["--tune", "--entry", "untuned.py"], "untuned has no list TRIALS of settings to try"),
        (["--seeds", "0"], "--seeds must be at least 1, not 0"),
        (["--steps", "10"], "--steps must be a multiple of 11, not 10"),
        (["--json", "own.py"], "own.py already exists"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("def optimizer(num_steps): ...")
    for name in ("adam.py", "untuned.py"):
        (tmp_path / name).write_text("def make_optimizer(num_steps): ...")
    assert message in bad_arguments(main, *arguments)
