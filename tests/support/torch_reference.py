"""PyTorch reference of a case: outputs, gradients and optimizer steps of the tutorial's modules."""

import numpy as np
import torch
from torch import nn

from benchmarks.torch_tutorial import Autoencoder
from tests.support.torch_case import LEARNING_RATE, WEIGHT_DECAY


def make_reference(
    arch: str, state_dict: dict[str, np.ndarray], images: np.ndarray, output: str = "sigmoid"
) -> dict[str, np.ndarray]:
    """Compute PyTorch's results on a case, as arrays; images and positions are NHWC.

    `latents`, `recons`, `positions_0`, … and `grads/<key>` belong to the first batch. `adamw/<key>` and `adam_l2/<key>`
    are the parameters after one step on each batch, not computed for conv-pool. `relu_margin` is the smallest distance
    of a ReLU input from 0, or between the two largest values of a pooling window.
    """
    margins: list[float] = []
    batches = torch.from_numpy(images).flatten(2) if arch == "linear" else torch.from_numpy(images).movedim(-1, 2)
    model = _load(arch, output, state_dict, margins)
    latents, positions = model.encode(batches[0])
    recons = model.decode(latents, positions)
    nn.functional.mse_loss(recons, batches[0]).backward()
    results = {"latents": latents.flatten(1), "recons": recons.reshape(-1, 28, 28, 1)}
    results |= {f"positions_{i}": found.movedim(1, -1).int().contiguous() for i, found in enumerate(positions)}
    results |= {f"grads/{name}": parameter.grad for name, parameter in model.named_parameters()}
    if arch != "conv-pool":
        for mode, optimizer in {"adamw": torch.optim.AdamW, "adam_l2": torch.optim.Adam}.items():
            trained = _train(_load(arch, output, state_dict, margins), optimizer, batches)
            results |= {f"{mode}/{name}": array for name, array in trained.state_dict().items()}
    results["relu_margin"] = torch.tensor(min(margins))
    return {name: tensor.detach().numpy() for name, tensor in results.items()}


def _load(arch: str, output: str, state_dict: dict[str, np.ndarray], margins: list[float]) -> Autoencoder:
    model = Autoencoder(arch, output)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(lambda _, inputs: margins.append(inputs[0].abs().min().item()))
        if isinstance(module, nn.MaxPool2d):
            module.register_forward_pre_hook(lambda _, inputs: margins.append(_pooling_margin(inputs[0])))
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state_dict.items()}, strict=True)
    return model


def _pooling_margin(x: torch.Tensor) -> float:
    largest, second = nn.functional.unfold(x.flatten(0, 1)[:, None], 2, stride=2).topk(2, dim=1).values.unbind(1)
    return (largest - second)[largest > 0].min().item()


def _train(model: Autoencoder, optimizer_class: type[torch.optim.Optimizer], batches: torch.Tensor) -> Autoencoder:
    optimizer = optimizer_class(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for batch in batches:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(batch), batch).backward()
        optimizer.step()
    return model
