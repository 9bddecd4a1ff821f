import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.errors import InputError
from ae_jax.inspection.evaluate import evaluate_model, evaluate_run
from ae_jax.inspection.figures import code_images_figure, scatter_figure
from ae_jax.inspection.reconstruct import reconstruct_images
from ae_jax.inspection.visualize import draw_figures, visualize_run
from ae_jax.metrics.pca import fit_pca, pca_mse
from ae_jax.metrics.quality import auroc, image_quality, linear_probe, nearest_neighbours
from ae_jax.runs.train import train
from ae_jax.system import write_atomic
from ae_jax.tensorfile import tensor_bytes
from ae_jax.training.losses import with_fixed_noise

ARCHS = ["linear", "conv-pool"]  # a latent code that is an array, and one that also has pooling positions
FIGURES = {"codes", "code_images", "interpolations", "traversals", "latent_grid", "extremes", "filters"}


def pixels(images: np.ndarray) -> np.ndarray:
    return np.asarray(ae_jax.to_float(images))


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def codes_and_recons(trained: ae_jax.TrainedModel, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    apply = jax.jit(trained.model.apply, static_argnames="method")
    code = apply({"params": trained.params}, pixels(images), method="encode")
    recons = apply({"params": trained.params}, pixels(images))
    return np.asarray(getattr(code, "latents", code)), np.asarray(recons)


@pytest.mark.parametrize("arch", ARCHS)
def test_evaluation_summary_and_table_match_independently_computed_metrics(
    arch: str,
    untrained_run: Callable[..., Path],
    labelled_images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_dir = untrained_run(arch)
    evaluate_run(str(run_dir), json=str(tmp_path / "e.json"), dataset=str(labelled_images))
    summary = json.loads((tmp_path / "e.json").read_text())

    trained = ae_jax.load_model(run_dir)
    train, test = (ae_jax.load_dataset(str(labelled_images), split) for split in ("train", "test"))
    codes, recons = codes_and_recons(trained, test.images)
    known, _ = codes_and_recons(trained, train.images)
    quality = image_quality(pixels(test.images), recons)
    _, turned = codes_and_recons(trained, np.rot90(test.images, axes=(1, 2)))
    turned_mse = np.square(turned - pixels(np.rot90(test.images, axes=(1, 2)))).mean(axis=(1, 2, 3))
    expected = {
        "mse": quality["mse"].mean(),
        "psnr": quality["psnr"].mean(),
        "ssim": quality["ssim"].mean(),
        "neighbours_accuracy": np.mean(nearest_neighbours(known, train.labels, codes) == test.labels),
        "linear_probe_accuracy": np.mean(linear_probe(known, train.labels, codes) == test.labels),
    }
    found = summary["model"]
    areas = found.pop("auroc")
    assert found == pytest.approx(expected, rel=1e-4)
    assert areas["turned by 90°"] == pytest.approx(auroc(quality["mse"], turned_mse), abs=0.01)  # ranks of near-equals
    assert areas.keys() == {"turned by 90°", "letters"}
    latent_dim = trained.model.latent_dim
    assert summary["pca"]["mse"] == pytest.approx(pca_mse(train.images, test.images, latent_dim), rel=1e-4)

    assert sum(row["images"] for row in summary["labels"].values()) == summary["images"] == len(test.images)
    by_label = [row["images"] * row["model"]["mse"] for row in summary["labels"].values()]
    assert sum(by_label) / len(test.images) == pytest.approx(found["mse"])
    zeros = summary["labels"]["0"]["model"]["ssim"]
    assert zeros == pytest.approx(quality["ssim"][test.labels == 0].mean(), rel=1e-4)

    *table, last = capsys.readouterr().out.splitlines()
    figure = run_dir / "figures" / "evaluation_step_00000000.png"
    assert last == f"Figure: {figure}"
    assert figure.exists()
    for value in (f"{found['mse']:.5f}", f"{found['psnr']:.2f}", f"{found['ssim']:.4f}", f"{areas['letters']:.4f}"):
        assert any(f" {value} |" in line for line in table)


def test_unlabelled_evaluation_omits_label_metrics_and_uses_prepared_fashion_mnist_as_ood(
    untrained_run: Callable[..., Path], own_images: Path, digits: np.ndarray, tmp_path: Path
) -> None:
    arrays = {"images": 255 - digits[:50], "labels": np.zeros(50, np.int32)}
    cache = tmp_path / "ae_jax"
    cache.mkdir()
    for split in ("train", "test"):  # as if Fashion-MNIST had been prepared
        write_atomic(cache / f"fashion_mnist-{split}.safetensors", tensor_bytes(arrays, {}))
    trained = ae_jax.load_model(untrained_run("linear"))
    summary = evaluate_model(trained, str(own_images), data_dir=tmp_path).summary()
    assert summary["labels"] == {}
    assert summary["denoising_mse"] is None
    assert set(summary["model"]) == {"mse", "psnr", "ssim", "auroc"}
    assert set(summary["model"]["auroc"]) == {"letters", "turned by 90°", "fashion_mnist"}


def test_denoising_model_is_also_evaluated_on_noisy_inputs(
    trained_run: Callable[..., Path], labelled_images: Path
) -> None:
    trained = ae_jax.load_model(trained_run("conv", noise=0.3))
    summary = evaluate_model(trained).summary()
    test = ae_jax.load_dataset(str(labelled_images), "test")
    noisy = with_fixed_noise(test.images, 0.3)
    recons = trained.model.apply({"params": trained.params}, jax.numpy.asarray(noisy))
    assert summary["denoising_mse"] == pytest.approx(float(np.mean((recons - pixels(test.images)) ** 2)), rel=1e-4)


def test_pca_encode_and_decode_agree_with_pca_mse(digits: np.ndarray) -> None:
    pca = fit_pca(digits[:250], 20)
    np.testing.assert_allclose(pca.components.T @ pca.components, np.eye(20), atol=1e-5)
    recons = pca.decode(pca.encode(digits[250:]))
    error = np.mean((recons - pixels(digits[250:])) ** 2)
    assert error == pytest.approx(pca_mse(digits[:250], digits[250:], 20), rel=1e-4)
    spread = pca.encode(digits[:250]).var(axis=0)
    assert np.all(np.diff(spread) <= 0)  # components are sorted by explained variance


@pytest.mark.parametrize("arch", ARCHS)
def test_visualize_writes_every_figure(
    arch: str, untrained_run: Callable[..., Path], labelled_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "figures"
    visualize_run(str(untrained_run(arch)), out=str(out), dataset=str(labelled_images))
    assert {path.stem for path in out.iterdir()} == FIGURES
    for path in out.iterdir():
        assert min(size_of(path)) > 150


def test_titles_name_a_dataset_other_than_the_runs_own(trained_run: Callable[..., Path], own_images: Path) -> None:
    trained = ae_jax.load_model(trained_run("linear"))
    for dataset, note in {None: "", str(own_images): ", images of own.npy"}.items():
        test_set = trained.load_splits(dataset)[1]
        title = dict(draw_figures(trained, test_set))["traversals"].get_suptitle()
        assert title == f"{trained.title}: latent traversals{note}"


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_visualize_supports_latent_dimensions_1_and_2_without_labels(
    latent_dim: int, untrained_run: Callable[..., Path], own_images: Path
) -> None:
    run_dir = untrained_run("linear", latent_dim)
    for _ in range(2):  # in the run's own folder, figures are replaced
        visualize_run(str(run_dir), dataset=str(own_images))
    drawn = {path.name.removesuffix("_step_00000000.png") for path in (run_dir / "figures").glob("*_step_*.png")}
    assert drawn == (FIGURES if latent_dim > 1 else FIGURES - {"latent_grid"})


def num_points(figure: Figure, axes: int = 0) -> int:
    return sum(len(points.get_offsets()) for points in figure.axes[axes].collections)


@pytest.mark.parametrize(("d", "views"), [(1, 1), (2, 1), (3, 2), (64, 1)])
def test_scatter_figure_has_one_point_per_image_and_names_each_label(d: int, views: int) -> None:
    codes = np.random.default_rng(0).normal(size=(50, d)).astype(np.float32)
    labels = np.arange(50, dtype=np.int32) % 5
    figure = scatter_figure(codes, labels, "codes")
    assert len(figure.axes) == views
    for i in range(views):
        assert num_points(figure, i) == 50
        assert {text.get_text() for text in figure.axes[i].texts} == set("01234")
    assert num_points(scatter_figure(codes, None, "codes")) == 50


def test_64_dimensional_code_is_shown_as_an_8_by_8_image(digits: np.ndarray) -> None:
    codes = np.arange(2 * 3 * 64, dtype=np.float32).reshape(2, 3, 64)
    images = (digits[:6, :, :, 0] / 255).astype(np.float32).reshape(2, 3, 28, 28)
    figure = code_images_figure(images, codes, ["a", "b"], "codes")
    shown = [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes[:12]]
    np.testing.assert_array_equal(shown[0], images[0, 0])
    np.testing.assert_array_equal(shown[1], np.arange(64).reshape(8, 8))
    np.testing.assert_array_equal(shown[11], codes[1, 2].reshape(8, 8))


@pytest.mark.parametrize(("arch", "suffix"), [("linear", ".npy"), ("linear", ".png"), ("conv-pool", ".npz")])
def test_reconstruct_writes_the_codes_and_reconstructions_of_the_model(
    arch: str, suffix: str, untrained_run: Callable[..., Path], digits: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "in.npy", digits[:23])
    out, codes_file = tmp_path / f"out{suffix}", tmp_path / "codes.npz"
    run_dir = untrained_run(arch)
    reconstruct_images(str(run_dir), str(tmp_path / "in.npy"), out=str(out), codes=str(codes_file))
    codes, recons = codes_and_recons(ae_jax.load_model(run_dir), digits[:23])
    arrays = np.load(codes_file)
    np.testing.assert_allclose(arrays["latents"], codes, rtol=1e-4, atol=1e-5)
    assert len(arrays.files) == (3 if arch == "conv-pool" else 1)
    if suffix == ".png":
        assert size_of(out)[1] > 600  # three rows of ten, with their originals
    else:
        found = np.load(out)
        found = found["reconstructions"] if suffix == ".npz" else found
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, recons, rtol=1e-4, atol=1e-5)


def test_reconstruct_takes_a_photo_of_a_digit(
    untrained_run: Callable[..., Path], digits: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(255 - digits[0, :, :, 0]).convert("RGB").resize((280, 280)).save(tmp_path / "photo.JPG")
    run_dir = untrained_run("linear")
    reconstruct_images(str(run_dir), f"{tmp_path}/photo.JPG", out=f"{tmp_path}/out.npy")
    _, expected = codes_and_recons(ae_jax.load_model(run_dir), digits[:1])
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=0.1)


def test_outputs_that_exist_or_cannot_be_written_are_refused_before_the_work(
    untrained_run: Callable[..., Path], tmp_path: Path
) -> None:
    run_dir = str(untrained_run("conv-pool"))
    (tmp_path / "latent_grid.png").write_bytes(b"kept")
    there = str(tmp_path / "latent_grid.png")
    cases: list[tuple[Callable[..., None], dict[str, Any], str]] = [
        (reconstruct_images, {}, "nothing to write; give `out`, `codes` or both"),
        (reconstruct_images, {"out": "out.txt"}, r"`out` must end in \.npy, \.npz, \.png"),
        (reconstruct_images, {"codes": "codes.png"}, r"`codes` must end in \.npy, \.npz, not"),
        (reconstruct_images, {"out": f"{there}/out.npy"}, "is not a writable directory"),
        (reconstruct_images, {"out": there}, "already exists, and nothing is overwritten"),
        (reconstruct_images, {"codes": "a.npy"}, r"codes of conv-pool include pooling positions; give `codes` a \.npz"),
        (evaluate_run, {"json": there}, "already exists, and nothing is overwritten; choose another `json`"),
        (evaluate_run, {"figure": there}, "already exists, and nothing is overwritten; choose another `figure`"),
        (evaluate_run, {"figure": "figure.txt"}, r"`figure` must end in \.png"),
        (evaluate_run, {"json": ""}, "already exists"),  # the folder itself
        (visualize_run, {"out": there}, "is not a writable directory"),
        (visualize_run, {"out": str(tmp_path)}, "already exists, and nothing is overwritten; choose another `out`"),
    ]
    for command, settings, message in cases:
        arguments = (run_dir, "none.npy") if command is reconstruct_images else (run_dir,)
        with pytest.raises(InputError, match=message):
            command(*arguments, **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["latent_grid.png"]


@pytest.mark.usefixtures("environment")
def test_changed_images_are_used_only_if_they_are_asked_for(own_images: Path, tmp_path: Path) -> None:
    trained = ae_jax.load_model(train(TrainConfig("linear", dataset=str(own_images), epochs=1)))
    np.save(own_images, 255 - np.load(own_images))
    with pytest.raises(InputError, match=r"does not hold the images that .* was trained with"):
        trained.load_splits(None)
    assert trained.load_splits(str(own_images))[0].name == str(own_images)
