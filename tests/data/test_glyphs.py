import re

import jax
import numpy as np

import ae_jax


def test_glyphs_are_determined_by_the_key() -> None:
    images, labels = ae_jax.draw_glyphs(jax.random.key(0), 100)
    again, labels_again = ae_jax.draw_glyphs(jax.random.key(0), 100)
    others, _ = ae_jax.draw_glyphs(jax.random.key(1), 100)
    assert np.array_equal(images, again)
    assert np.array_equal(labels, labels_again)
    assert not np.array_equal(images, others)


def test_glyphs_match_mnist_in_shape_and_pixel_statistics() -> None:
    images, labels = ae_jax.draw_glyphs(jax.random.key(0), 3000)
    assert images.shape == (3000, 28, 28, 1)
    pixels = np.asarray(images) / 255
    assert abs(pixels.mean() - 0.131) < 0.02  # MNIST's training images: mean 0.131, standard deviation 0.308
    assert abs(pixels.std() - 0.308) < 0.03
    assert pixels.max(axis=(1, 2, 3)).min() > 0.5  # no image is empty
    border = pixels[:, [0, -1]].mean() + pixels[:, :, [0, -1]].mean()
    assert border < 0.02  # hardly any glyph is cropped
    counts = np.bincount(np.asarray(labels), minlength=10)
    assert counts.min() > 220  # 300 each, standard deviation 16


def test_nearest_neighbours_classify_glyphs_with_80_percent_accuracy() -> None:
    images, labels = ae_jax.draw_glyphs(jax.random.key(0), 3000)
    flat = ae_jax.to_float(images).reshape(3000, 784)
    train, queries = flat[:2700], flat[2700:]
    distances = (train**2).sum(1)[None] - 2 * queries @ train.T
    nearest = labels[:2700][distances.argmin(1)]
    assert (nearest == labels[2700:]).mean() > 0.8  # 0.1 by chance


def test_glyphs_can_be_drawn_from_custom_characters() -> None:
    images, labels = ae_jax.draw_glyphs(jax.random.key(0), 200, "AWgy@")
    assert images.shape == (200, 28, 28, 1)
    assert set(np.asarray(labels)) == {0, 1, 2, 3, 4}


def test_glyphs_are_drawn_in_float32_on_every_platform_and_setting() -> None:
    with jax.default_matmul_precision("bfloat16"):
        program = str(jax.make_jaxpr(lambda key: ae_jax.draw_glyphs(key, 10))(jax.random.key(0)))
    products = re.findall(r"precision=(.*)", program)
    assert products
    assert all("HIGHEST" in precision for precision in products), products
