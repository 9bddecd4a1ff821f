"""Quality of reconstructions per image (MSE, PSNR, SSIM), AUROC, and latent codes: label probes, principal axes."""

import warnings
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from ae_jax.types import HostCodes, HostImages

Labels: TypeAlias = Int[np.ndarray, "n"]  # of any integer type
Queries: TypeAlias = Float[np.ndarray, "m d"]

_CHUNK = 1000  # images whose windows are averaged at a time, which bounds the memory
_MIN_MSE = 1e-10  # caps the PSNR of equal images at 100 dB
_NEIGHBOURS = 5


def image_quality(images: HostImages, recons: HostImages) -> dict[str, Float[np.ndarray, "n"]]:
    """Compare each of `images` with its reconstruction, both `f32[n, 28, 28, 1]` in [0, 1]: "mse", "psnr" and "ssim".

    PSNR, the peak signal-to-noise ratio, is in dB: -10 log10(mse), at most 100. SSIM, 1 for equal images, follows Wang,
    Bovik, Sheikh & Simoncelli 2004: an 11×11 Gaussian window of standard deviation 1.5, K = (0.01, 0.03), averaged over
    all positions of the window inside the image.
    """
    mse = squared_error(images, recons)
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(images), _CHUNK)]
    ssim = np.concatenate([_ssim(images[chunk, ..., 0], recons[chunk, ..., 0]) for chunk in chunks])
    return {"mse": mse, "psnr": -10 * np.log10(np.maximum(mse, _MIN_MSE)), "ssim": ssim}


def squared_error(images: HostImages, recons: HostImages) -> Float[np.ndarray, "n"]:
    """Squared error of each image, averaged over its pixels."""
    return np.square(recons - images).mean(axis=(1, 2, 3), dtype=np.float64)


def nearest_neighbours(codes: HostCodes, labels: Labels, queries: Queries) -> Int[np.ndarray, "m"]:
    """Predict for each query the majority label of its 5 nearest `codes`; of equally frequent labels the smallest."""
    from sklearn.neighbors import KNeighborsClassifier  # here: importing sklearn takes a second

    return KNeighborsClassifier(min(_NEIGHBOURS, len(codes))).fit(codes, labels).predict(queries)


def linear_probe(codes: HostCodes, labels: Labels, queries: Queries) -> Int[np.ndarray, "m"]:
    """Predict the label of each query by multinomial logistic regression on the standardised `codes`, in float64."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if (labels == labels[0]).all():  # a single class cannot be fitted
        return np.full(len(queries), labels[0])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    # One BLAS thread: with two threads on two busy cores, the fit took 8 to 22 times as long.
    with warnings.catch_warnings(), threadpool_limits(1, "blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the weights after 1000 iterations serve
        return model.fit(codes.astype(np.float64), labels).predict(queries.astype(np.float64))


def auroc(scores: Float[np.ndarray, "n"], ood_scores: Float[np.ndarray, "m"]) -> float:
    """Area under the ROC curve: the probability that an OOD score is higher than another one, ties counting half."""
    from sklearn.metrics import roc_auc_score

    is_ood = np.repeat([0, 1], [len(scores), len(ood_scores)])
    return float(roc_auc_score(is_ood, np.concatenate([scores, ood_scores])))


def principal_axes(codes: HostCodes) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d d"], Float[np.ndarray, "d"]]:
    """Standard deviations along the principal axes, the axes as columns, and the explained-variance ratios."""
    variances, axes = np.linalg.eigh(np.cov(codes, rowvar=False).reshape(codes.shape[1], -1))
    variances, axes = np.maximum(variances[::-1], 0), axes[:, ::-1]
    return np.sqrt(variances), axes, variances / max(variances.sum(), 1e-12)


def plot_points(codes: HostCodes, labels: Int[np.ndarray, "n"] | None) -> tuple[Float[np.ndarray, "n _"], list[str]]:
    """Points `f64[n, 2]` or `[n, 3]` at which to plot `codes`, and the names of the axes.

    Codes of 2 or 3 dimensions are plotted as they are, of 1 against the labels, of more by two principal components.
    """
    dims = codes.shape[1]
    names = [f"latent dimension {i + 1}" for i in range(dims)]
    if dims == 1:
        jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(codes))
        y = jitter if labels is None else labels + jitter
        return np.stack([codes[:, 0], y], axis=1), [*names, "jitter" if labels is None else "label, with jitter"]
    if dims <= 3:
        return codes, names
    _, axes, ratios = principal_axes(codes)
    names = [f"principal component {i + 1} ({100 * ratios[i]:.0f} % of variance)" for i in range(2)]
    return (codes - codes.mean(0, dtype=np.float64)) @ axes[:, :2], names


def _ssim(a: Float[np.ndarray, "n h w"], b: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, "n"]:
    mean_a, mean_b = _window_means(a), _window_means(b)
    variances = _window_means(a * a) - mean_a**2 + _window_means(b * b) - mean_b**2
    covariance = _window_means(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    return (luminance * (2 * covariance + 0.03**2) / (variances + 0.03**2)).mean((1, 2))


def _window_means(x: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, "n h_out w_out"]:
    return gaussian_filter(x, 1.5, radius=5, axes=(1, 2))[:, 5:-5, 5:-5]
