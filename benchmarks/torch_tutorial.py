"""PyTorch baseline: the tutorial's models and training, tuned for speed. The tests compare ae_jax with it, too.

This file imports nothing from ae_jax, so it also runs on its own: `python torch_tutorial.py TRAIN.npy TEST.npy EPOCHS
FOLDER` loads, trains, evaluates, plots and saves.
"""

import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn


class Autoencoder(nn.Module):
    """The tutorial's autoencoders: two `nn.Sequential`s, `encoder` and `decoder`; "conv-pool" is its homework.

    Args:
      arch: "linear", "conv" or "conv-pool".
      output: output activation, "sigmoid" or, for images in [-1, 1], "tanh".
    """

    def __init__(self, arch: str, output: str = "sigmoid") -> None:
        super().__init__()
        layers = {"linear": _linear, "conv": _conv, "conv-pool": _conv_pool}[arch]
        encoder, decoder = layers()
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder, nn.Tanh() if output == "tanh" else nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruct `f32[batch, 784]` or `f32[batch, 1, 28, 28]`."""
        return self.decode(*self.encode(x))

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the latent code and, for each pooling layer, the indices of its maxima."""
        indices = []
        for layer in self.encoder:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                x, maxima = x
                indices.append(maxima)
        return x, indices

    def decode(self, x: torch.Tensor, indices: list[torch.Tensor]) -> torch.Tensor:
        """Decode a latent code; unpooling uses the indices in reverse order."""
        remaining = list(indices)
        for layer in self.decoder:
            x = layer(x, remaining.pop()) if isinstance(layer, nn.MaxUnpool2d) else layer(x)
        return x


def _linear() -> tuple[list[nn.Module], list[nn.Module]]:
    encoder = [
        *(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()),
        *(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 3)),
    ]
    decoder = [
        *(nn.Linear(3, 12), nn.ReLU(), nn.Linear(12, 64), nn.ReLU()),
        *(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 784)),
    ]
    return encoder, decoder


def _conv() -> tuple[list[nn.Module], list[nn.Module]]:
    encoder = [
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        nn.Conv2d(32, 64, 7),
    ]
    decoder = [
        *(nn.ConvTranspose2d(64, 32, 7), nn.ReLU()),
        *(nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=1), nn.ReLU()),
        nn.ConvTranspose2d(16, 1, 3, stride=2, padding=1, output_padding=1),
    ]
    return encoder, decoder


def _conv_pool() -> tuple[list[nn.Module], list[nn.Module]]:
    encoder = [
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, return_indices=True)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, return_indices=True)),
        nn.Conv2d(32, 64, 7),
    ]
    decoder = [
        *(nn.ConvTranspose2d(64, 32, 7), nn.ReLU(), nn.MaxUnpool2d(2)),
        *(nn.ConvTranspose2d(32, 16, 3, padding=1), nn.ReLU(), nn.MaxUnpool2d(2)),
        nn.ConvTranspose2d(16, 1, 3, padding=1),
    ]
    return encoder, decoder


class Trainer:
    """Train with the tutorial's settings (Adam at 1e-3, weight decay 1e-5), resident float images and fused Adam.

    Args:
      arch: "conv" or "linear".
      images: `u8[n, 28, 28, 1]`.
      batch_size: images per step.
      channels_last: use the channels-last memory format, in which PyTorch's convolutions are fastest.
      compiled: compile loss and gradients with `torch.compile`.
    """

    def __init__(self, arch: str, images: np.ndarray, batch_size: int, *, channels_last: bool, compiled: bool) -> None:
        torch.manual_seed(0)
        torch.set_flush_denormal(True)  # without it, later epochs take up to four times as long on Intel CPUs
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.as_inputs = functools.partial(_as_inputs, arch=arch, channels_last=channels_last, device=self.device)
        self.model = Autoencoder(arch).to(self.device)
        if channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, weight_decay=1e-5, fused=True)
        self.loss: Callable[[torch.Tensor], torch.Tensor] = lambda x: nn.functional.mse_loss(self.model(x), x)
        if compiled:
            self.loss = torch.compile(self.loss)
        self.images, self.batch_size = self.as_inputs(images), batch_size
        self.order: torch.Tensor = torch.empty(0, dtype=torch.int64)

    def train(self, num_steps: int) -> None:
        for _ in range(num_steps):
            if len(self.order) == 0:
                self.order = torch.randperm(len(self.images), device=self.device)
            rows, self.order = self.order[: self.batch_size], self.order[self.batch_size :]
            self.optimizer.zero_grad()
            self.loss(self.images[rows]).backward()
            self.optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def test_loss(self, images: np.ndarray) -> float:
        """The mean squared error per pixel over `u8[n, 28, 28, 1]`."""
        with torch.no_grad():
            losses = [nn.functional.mse_loss(self.model(x), x) * len(x) for x in self.as_inputs(images).split(1000)]
        return float(sum(losses)) / len(images)


def _as_inputs(images: np.ndarray, arch: str, channels_last: bool, device: torch.device) -> torch.Tensor:
    x = torch.from_numpy(images).to(device).float().div(255)
    x = x.flatten(1) if arch == "linear" else x.movedim(-1, 1)
    return x.contiguous(memory_format=torch.channels_last) if channels_last else x.contiguous()


def run(train_images: np.ndarray, test_images: np.ndarray, num_epochs: int, folder: Path) -> None:
    """Do the work of `scripts/train.py --arch conv`: train, evaluate each epoch, plot every fourth one, save."""
    trainer = Trainer("conv", train_images, 64, channels_last=True, compiled=False)
    losses = []
    for epoch in range(1, num_epochs + 1):
        start = time.perf_counter()
        trainer.train(-(-len(train_images) // 64))
        seconds = time.perf_counter() - start
        losses.append(trainer.test_loss(test_images))
        print(f"epoch {epoch}  test loss {losses[-1]:.5f}  {seconds:.1f} s", flush=True)
        if epoch % 4 == 0 or epoch == num_epochs:
            _plot_images(trainer, test_images[:9], folder / f"reconstructions_epoch_{epoch:04d}.png")
    torch.save(trainer.model.state_dict(), folder / "model.pt")
    _plot_losses(losses, folder / "loss.png")


def _plot_images(trainer: Trainer, images: np.ndarray, path: Path) -> None:
    from matplotlib import pyplot as plt

    x = trainer.as_inputs(images)
    with torch.no_grad():
        rows = torch.cat([x, trainer.model(x)]).cpu().reshape(-1, 28, 28)
    figure, grid = plt.subplots(2, len(images), figsize=(len(images), 2.6), dpi=150)
    for axes, image in zip(grid.flat, rows, strict=True):
        axes.imshow(image, cmap="gray")
        axes.axis("off")
    figure.savefig(path)


def _plot_losses(losses: list[float], path: Path) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(dpi=150)
    axes.plot(losses)
    figure.savefig(path)


if __name__ == "__main__":
    train_path, test_path, epochs, out = sys.argv[1:]
    run(np.load(train_path), np.load(test_path), int(epochs), Path(out))
