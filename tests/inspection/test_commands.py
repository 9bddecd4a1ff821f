import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.errors import InputError
from ae_jax.inspection.config import EvaluateConfig, ReconstructConfig, VisualizeConfig
from ae_jax.inspection.evaluate import evaluate_run
from ae_jax.inspection.evaluation import evaluate_model
from ae_jax.inspection.latent_figures import code_images_figure, scatter_figure
from ae_jax.inspection.reconstruct import reconstruct_images
from ae_jax.inspection.visualize import figures, visualize_run
from ae_jax.metrics.image_quality import image_quality
from ae_jax.metrics.pca import fit_pca
from ae_jax.metrics.probes import auroc, linear_probe, nearest_neighbours
from ae_jax.runs.train import train
from ae_jax.system.tensorfile import write_tensors
from ae_jax.training.losses import with_fixed_noise
from tests.conftest import Script
from tests.support.bad_array_files import bad_array_files
from tests.support.commands import bad_input

ARCHS = ["linear", "conv-pool"]  # a latent code that is an array, and one that also has pooling positions
FIGURES = {"codes", "code_images", "walks", "latent_axes", "map", "extremes", "filters"}


def pixels(images: np.ndarray) -> np.ndarray:
    return np.asarray(ae_jax.normalise(images))


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
    files = {"json": str(tmp_path / "e.json"), "figure": str(tmp_path / "e.png")}
    evaluate_run(EvaluateConfig(str(run_dir), dataset=str(labelled_images), **files))
    summary = json.loads((tmp_path / "e.json").read_text())
    assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")

    trained = ae_jax.load_model(run_dir)
    train, test = (ae_jax.load_dataset(str(labelled_images), split) for split in ("train", "test"))
    codes, recons = codes_and_recons(trained, test.images)
    known, _ = codes_and_recons(trained, train.images)
    quality = image_quality(pixels(test.images), recons)
    _, turned = codes_and_recons(trained, np.rot90(test.images, axes=(1, 2)))
    turned_mse = np.square(turned - pixels(np.rot90(test.images, axes=(1, 2)))).mean(axis=(1, 2, 3))
    expected = {
        "mse": quality.mse.mean(),
        "psnr": quality.psnr.mean(),
        "ssim": quality.ssim.mean(),
        "neighbours_accuracy": np.mean(nearest_neighbours(known, train.labels, codes) == test.labels),
        "linear_probe_accuracy": np.mean(linear_probe(known, train.labels, codes) == test.labels),
    }
    found = summary["model"]
    areas = found.pop("auroc")
    assert found == pytest.approx(expected, rel=1e-4)
    assert areas["turned by 90°"] == pytest.approx(auroc(quality.mse, turned_mse), abs=0.01)  # ranks of near-equals
    assert areas.keys() == {"turned by 90°", "letters"}
    latent_dim = trained.model.latent_dim
    assert summary["pca"]["mse"] == pytest.approx(ae_jax.pca_mse(train.images, test.images, latent_dim), rel=1e-4)

    assert sum(row["images"] for row in summary["labels"].values()) == summary["images"] == len(test.images)
    by_label = [row["images"] * row["model"]["mse"] for row in summary["labels"].values()]
    assert sum(by_label) / len(test.images) == pytest.approx(found["mse"])
    zeros = summary["labels"]["0"]["model"]["ssim"]
    assert zeros == pytest.approx(quality.ssim[test.labels == 0].mean(), rel=1e-4)

    table = capsys.readouterr().out
    for value in (f"{found['mse']:.5f}", f"{found['psnr']:.2f}", f"{found['ssim']:.4f}", f"{areas['letters']:.4f}"):
        assert f" {value} |" in table


def test_unlabelled_evaluation_omits_label_metrics_and_uses_prepared_fashion_mnist_as_ood(
    untrained_run: Callable[..., Path], own_images: Path, digits: np.ndarray, tmp_path: Path
) -> None:
    arrays = {"images": 255 - digits[:50], "labels": np.zeros(50, np.int32)}
    cache = tmp_path / "ae_jax"
    cache.mkdir()
    for split in ("train", "test"):  # as if Fashion-MNIST had been prepared
        write_tensors(cache / f"fashion_mnist-{split}.safetensors", arrays, {})
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
    assert error == pytest.approx(ae_jax.pca_mse(digits[:250], digits[250:], 20), rel=1e-4)
    spread = pca.encode(digits[:250]).var(axis=0)
    assert np.all(np.diff(spread) <= 0)  # components are sorted by explained variance


@pytest.mark.parametrize("arch", ARCHS)
def test_visualize_writes_every_figure(
    arch: str, untrained_run: Callable[..., Path], labelled_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "figures"
    visualize_run(VisualizeConfig(str(untrained_run(arch)), out=str(out), dataset=str(labelled_images)))
    assert {path.stem for path in out.iterdir()} == FIGURES
    for path in out.iterdir():
        assert min(size_of(path)) > 150


def test_titles_name_a_dataset_other_than_the_runs_own(trained_run: Callable[..., Path], own_images: Path) -> None:
    trained = ae_jax.load_model(trained_run("linear"))
    for dataset, note in {None: "", str(own_images): ", images of own.npy"}.items():
        test_set = trained.open_splits(dataset)[1].load()
        title = dict(figures(trained, test_set))["latent_axes"].get_suptitle()
        assert title == f"{trained.title}: latent traversals{note}"


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_visualize_supports_latent_dimensions_1_and_2_without_labels(
    latent_dim: int, untrained_run: Callable[..., Path], own_images: Path
) -> None:
    run_dir = untrained_run("linear", latent_dim)
    visualize_run(VisualizeConfig(str(run_dir), dataset=str(own_images)))  # without labels
    drawn = {path.name.removesuffix("_step_00000000.png") for path in (run_dir / "figures").glob("*_step_*.png")}
    assert drawn == (FIGURES if latent_dim > 1 else FIGURES - {"map"})


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
    reconstruct_images(ReconstructConfig(str(run_dir), str(tmp_path / "in.npy"), out=str(out), codes=str(codes_file)))
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


def test_reconstruct_gives_equal_results_for_greyscale_and_rgb_png(
    untrained_run: Callable[..., Path], digits: np.ndarray, tmp_path: Path
) -> None:
    for i, mode in enumerate(("L", "RGB")):
        Image.fromarray(digits[0, :, :, 0]).convert(mode).save(tmp_path / f"{mode}.png")
        config = ReconstructConfig(
            str(untrained_run("linear")), str(tmp_path / f"{mode}.png"), out=f"{tmp_path}/{i}.npy"
        )
        reconstruct_images(config)
    first, second = (np.load(tmp_path / f"{i}.npy") for i in range(2))
    assert first.shape == (1, 28, 28, 1)
    np.testing.assert_array_equal(first, second)


def test_reconstruct_takes_a_photo_of_two_digits_and_says_which_is_used(
    untrained_run: Callable[..., Path], digits: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    two = np.concatenate([digits[0, :, :, 0], np.zeros((28, 20), np.uint8), digits[0, :, :, 0] // 2], axis=1)
    Image.fromarray(255 - two).resize((760, 280)).save(tmp_path / "photo.JPG")
    config = ReconstructConfig(str(untrained_run("linear")), f"{tmp_path}/photo.JPG", out=f"{tmp_path}/out.npy")
    reconstruct_images(config)
    assert np.load(tmp_path / "out.npy").shape == (1, 28, 28, 1)
    assert caplog.messages == [f"{tmp_path}/photo.JPG shows 2 separate shapes: the largest one is used."]


def test_reconstruct_rejects_invalid_images_and_arrays_with_one_line_errors(
    untrained_run: Callable[..., Path], tmp_path: Path
) -> None:
    Image.new("L", (56, 28)).save(tmp_path / "blank.png")
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "text.txt").write_text("not an image")
    cases = {
        "blank.png": r"blank\.png cannot be used: no digit stands out from the background",
        "text.png": "cannot be read as an image",
        "text.txt": "is not a .npy, .npz, .png or .jpg file",
        "none.png": "does not exist",
    }
    bad = bad_array_files(tmp_path)
    del bad["one"]  # a single image is valid here
    cases |= {path.name: message for path, message in bad.values() if "labels" not in path.name}
    for name, message in cases.items():
        config = ReconstructConfig(str(untrained_run("linear")), str(tmp_path / name), out=str(tmp_path / "out.npy"))
        with pytest.raises(ae_jax.InputError, match=message) as error:
            reconstruct_images(config)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out.npy").exists()


def test_unwritable_or_conflicting_output_paths_are_rejected_up_front(
    untrained_run: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "there.npy").touch()
    cases = [
        ({}, "nothing to write; give --out, --codes or both"),
        ({"out": "out.txt"}, "--out must end in .npy, .npz, .png"),
        ({"codes": "codes.png"}, "--codes must end in .npy, .npz, not"),
        ({"out": f"{tmp_path}/none/out.npy"}, "none/out.npy cannot be written"),
        ({"out": f"{tmp_path}/there.npy"}, "already exists, and nothing is overwritten"),
        ({"out": "a.npy", "codes": "a.npy"}, "--out and --codes are both a.npy"),
    ]
    for settings, message in cases:
        with pytest.raises(ae_jax.InputError, match=message):
            ReconstructConfig("runs/conv", "in.npy", **settings)
    run_dir = str(untrained_run("linear"))
    with pytest.raises(ae_jax.InputError, match=r"there\.npy is not a writable directory"):
        visualize_run(VisualizeConfig(run_dir, out=str(tmp_path / "there.npy")))
    with pytest.raises(ae_jax.InputError, match=r"--json and --figure are both a\.png"):
        EvaluateConfig("runs/conv", json="a.png", figure="a.png")
    (tmp_path / "there.png").touch()
    for name in ("json", "figure"):
        with pytest.raises(ae_jax.InputError, match="already exists, and nothing is overwritten"):
            EvaluateConfig("runs/conv", **{name: str(tmp_path / "there.png")})
    (tmp_path / "map.png").write_bytes(b"kept")
    with pytest.raises(ae_jax.InputError, match=r"map\.png already exists, and nothing is overwritten"):
        visualize_run(VisualizeConfig(run_dir, out=str(tmp_path)))
    assert {path.name for path in tmp_path.iterdir()} == {"there.npy", "there.png", "map.png"}
    with pytest.raises(ae_jax.InputError, match=r"--figure must end in \.png"):
        EvaluateConfig("runs/conv", figure="figure.txt")
    with pytest.raises(ae_jax.InputError, match="cannot be written"):
        EvaluateConfig("runs/conv", json=str(tmp_path))
    with pytest.raises(ae_jax.InputError, match="--json is empty; give the path of a file"):
        EvaluateConfig("runs/conv", json="")


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("evaluate.py", ["none"]),
        ("visualize.py", ["none"]),
        ("reconstruct.py", ["none", "in.npy", "--out", "out.npy"]),
        ("convert.py", ["to-torch", "none", "out.safetensors"]),
        ("export.py", ["none", "exported"]),
    ],
)
@pytest.mark.usefixtures("environment")
def test_missing_run_directory_is_a_one_line_error(script: str, arguments: list[str]) -> None:
    error = bad_input(script, *arguments)
    assert error.startswith(
        "error: none does not exist; give a run directory, one of its checkpoints, or pretrained:NAME"
    )
    assert error.count("\n") == 1
    assert not list(Path().iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="names of files have to be Unicode here")
def test_undecodable_names_of_run_and_data_are_printed_and_drawn_in_any_encoding(
    run_script: Script, own_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir, data = (os.fsdecode(name) for name in (b"run\xff", b"own\xff.npy"))
    own_images.rename(data)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = run_script("train.py", "--arch", "linear", "--epochs", 1, "--dataset", data, "--run-dir", run_dir)
    assert (result.returncode, result.stderr) == (0, "")
    assert r"run\udcff" in result.stdout
    evaluate_run(EvaluateConfig(run_dir))
    assert len(list(Path(run_dir, "figures").iterdir())) == 3


def test_evaluate_writes_json_and_figure_and_prints_the_figure_path(
    untrained_run: Callable[..., Path], labelled_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = untrained_run("linear")
    evaluate_run(EvaluateConfig(str(run_dir), json=str(tmp_path / "numbers.json"), dataset=str(labelled_images)))
    assert json.loads((tmp_path / "numbers.json").read_text())["arch"] == "linear"
    figure = run_dir / "figures" / "evaluation_step_00000000.png"
    assert capsys.readouterr().out.splitlines()[-1] == f"Figure: {figure}"
    assert figure.exists()


@pytest.mark.usefixtures("environment")
def test_changed_images_are_used_only_if_they_are_asked_for(own_images: Path, tmp_path: Path) -> None:
    trained = ae_jax.load_model(train(TrainConfig("linear", dataset=str(own_images), epochs=1)))
    np.save(own_images, 255 - np.load(own_images))
    with pytest.raises(InputError, match=r"does not hold the images that .* was trained with"):
        trained.open_splits(None)
    assert trained.open_splits(str(own_images))[0].name == str(own_images)
