import io

import numpy as np
from matplotlib.figure import Figure

from ae_jax.figures import loss_figure, reconstruction_figure


def texts(figure: Figure) -> str:
    words = [figure.get_suptitle(), *(label for axes in figure.axes for label in (axes.get_title(), axes.get_ylabel()))]
    return " ".join(words)


def test_originals_stand_above_their_reconstructions(digits: np.ndarray) -> None:
    images = (digits[:9] / 255).astype(np.float32)
    recons = (1 - images).astype(np.float32)
    figure = reconstruction_figure(images, recons, "conv on glyphs")
    shown = [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes]
    np.testing.assert_array_equal(shown[:9], images[..., 0])
    np.testing.assert_array_equal(shown[9:], recons[..., 0])
    assert all(axes.get_images()[0].get_clim() == (0, 1) for axes in figure.axes)
    assert texts(figure).split() == ["conv", "on", "glyphs", "original", "reconstruction"]


def test_a_single_image_makes_a_figure_too(digits: np.ndarray) -> None:
    image = (digits[:1] / 255).astype(np.float32)
    assert len(reconstruction_figure(image, image, "one").axes) == 2


def test_the_curve_shows_both_losses_and_the_baseline() -> None:
    figure = loss_figure([0.3, 0.2], [0.25, 0.15], baseline=0.05, baseline_name="PCA", title="conv on mnist")
    (axes,) = figure.axes
    train, test, baseline = axes.get_lines()
    assert train.get_xydata().tolist() == [[1, 0.3], [2, 0.2]]
    assert test.get_xydata().tolist() == [[1, 0.25], [2, 0.15]]
    assert set(baseline.get_ydata()) == {0.05}
    assert "conv on mnist" in texts(figure)
    png = io.BytesIO()
    figure.savefig(png)
    assert png.getvalue().startswith(b"\x89PNG")
