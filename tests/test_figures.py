import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ae_jax.figures import figure_bytes, loss_figure, reconstruction_figure


def texts(figure: Figure) -> str:
    rows = (label.get_text() for axes in figure.axes for label in axes.get_yticklabels())
    return " ".join([figure.get_suptitle(), *(axes.get_title() for axes in figure.axes), *rows])


def shown(figure: Figure, row: int) -> list[np.ndarray]:
    """Return the images of a row, which are 2 pixels apart."""
    pixels = np.ma.filled(figure.axes[0].get_images()[0].get_array(), np.nan)[row * 30 :][:28]
    return [pixels[:, column : column + 28] for column in range(0, pixels.shape[1], 30)]


def test_reconstruction_figure_shows_originals_above_reconstructions(digits: np.ndarray) -> None:
    images = (digits[:9] / 255).astype(np.float32)
    recons = (1 - images).astype(np.float32)
    figure = reconstruction_figure(images, recons, "conv on glyphs")
    np.testing.assert_array_equal(shown(figure, row=0), images[..., 0])
    np.testing.assert_array_equal(shown(figure, row=1), recons[..., 0])
    assert figure.axes[0].get_images()[0].get_clim() == (0, 1)
    assert texts(figure).split() == ["conv", "on", "glyphs", "original", "reconstruction"]


def test_dollar_signs_in_a_title_start_no_formula(digits: np.ndarray) -> None:
    images = (digits[:1] / 255).astype(np.float32)
    figure = reconstruction_figure(images, images, r"$\no_such$")
    assert figure_bytes(figure, ".png").startswith(b"\x89PNG")


def test_reconstruction_figure_wraps_many_images_and_accepts_a_single_one(digits: np.ndarray) -> None:
    images = (digits[:12] / 255).astype(np.float32)
    np.testing.assert_array_equal(
        shown(reconstruction_figure(images[:1], images[:1], "one"), row=1), images[:1, ..., 0]
    )
    figure = reconstruction_figure(images, 1 - images, "twelve", noisy=images / 2)
    np.testing.assert_array_equal(shown(figure, row=2), 1 - images[:10, ..., 0])
    np.testing.assert_array_equal(shown(figure, row=4), [*images[10:, ..., 0] / 2, *np.full((8, 28, 28), np.nan)])
    assert texts(figure).split() == ["twelve", *["original", "noisy", "reconstruction"] * 2]


def test_loss_figure_shows_both_losses_and_the_baseline() -> None:
    figure = loss_figure(
        {"training loss": [0.3, 0.2], "test loss": [0.25, 0.15]},
        baseline=0.05,
        baseline_name="PCA",
        title="conv on mnist",
    )
    (axes,) = figure.axes
    train, test, baseline = axes.get_lines()
    assert train.get_xydata().tolist() == [[1, 0.3], [2, 0.2]]
    assert test.get_xydata().tolist() == [[1, 0.25], [2, 0.15]]
    assert set(baseline.get_ydata()) == {0.05}
    assert (figure.get_suptitle(), axes.get_ylabel()) == ("conv on mnist", "mean squared error per pixel")
    assert figure_bytes(figure, ".png").startswith(b"\x89PNG")


def test_figures_ignore_the_users_matplotlibrc(digits: np.ndarray) -> None:
    images = digits[:3].astype(np.float32) / 255

    def content() -> bytes:
        return figure_bytes(reconstruction_figure(images, images, "title"), ".png")

    plain = content()
    settings = {"text.usetex": True, "savefig.dpi": 100_000, "figure.facecolor": "red", "image.cmap": "jet"}
    with matplotlib.rc_context(settings):
        assert content() == plain
