"""PyTorch's float64 reference of a case: outputs, gradients and optimizer steps of the tutorial's modules."""

import numpy as np
import torch
from torch import nn

from benchmarks.torch_tutorial import Autoencoder
from tests.support.torch_case import LEARNING_RATE, WEIGHT_DECAY


def make_reference(
    arch: str, state_dict: dict[str, np.ndarray], images: np.ndarray, output: str = "sigmoid"
) -> dict[str, np.ndarray]:
    """Compute PyTorch's results on a case in float64, as `f32` arrays; images and positions are NHWC.

    `latents`, `recons`, `positions_0`, … and `grads/<key>` belong to the first batch. `adamw/<key>` and `adam_l2/<key>`
    are the parameters after one step on each batch, `adamw_distance` and `adam_l2_distance` the mean distance of
    PyTorch's float32 parameters to them; not computed for conv-pool. `relu_margin` is the smallest distance of a ReLU
    input from 0, or between the two largest values of a pooling window.
    """
    margins: list[float] = []
    single = torch.from_numpy(images).flatten(2) if arch == "linear" else torch.from_numpy(images).movedim(-1, 2)
    batches = single.double()
    model = _load(arch, output, state_dict, margins).double()
    latents, positions = model.encode(batches[0])
    recons = model.decode(latents, positions)
    nn.functional.mse_loss(recons, batches[0]).backward()
    results = {"latents": latents.flatten(1), "recons": recons.reshape(-1, 28, 28, 1)}
    results |= {f"positions_{i}": found.movedim(1, -1).int().contiguous() for i, found in enumerate(positions)}
    results |= {f"grads/{name}": parameter.grad for name, parameter in model.named_parameters()}
    if arch != "conv-pool":
        for mode, optimizer in {"adamw": torch.optim.AdamW, "adam_l2": torch.optim.Adam}.items():
            exact = _train(_load(arch, output, state_dict, margins).double(), optimizer, batches)
            trained = _train(_load(arch, output, state_dict, margins), optimizer, single)
            results |= {f"{mode}/{name}": parameter for name, parameter in exact.items()}
            errors = [(trained[name] - exact[name].float()).abs().ravel() for name in exact]
            results[f"{mode}_distance"] = torch.cat(errors).mean()
    results["relu_margin"] = torch.tensor(min(margins))
    tensors = {name: tensor.detach() for name, tensor in results.items()}
    return {name: (x.float() if x.is_floating_point() else x).numpy() for name, x in tensors.items()}


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


def _train(
    model: Autoencoder, optimizer_class: type[torch.optim.Optimizer], batches: torch.Tensor
) -> dict[str, torch.Tensor]:
    optimizer = optimizer_class(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for batch in batches:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(batch), batch).backward()
        optimizer.step()
    return model.state_dict()
