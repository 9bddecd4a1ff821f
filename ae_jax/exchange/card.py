"""The model card: a README with YAML front matter, as Hugging Face reads it (https://hf.co/docs/hub/model-cards)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ae_jax.data.datasets import dataset_title, image_credit, is_array_file
from ae_jax.inspection.evaluate import evaluation_table
from ae_jax.runs.metadata import portable_metadata
from ae_jax.runs.trained_model import TrainedModel

_HUB_DATASETS = {"mnist": "ylecun/mnist", "fashion_mnist": "zalando-datasets/fashion_mnist"}
_METRICS = {"mse": "mean squared error per pixel", "psnr": "PSNR, dB", "ssim": "SSIM"}

_OPERATIONAL = {  # settings without influence on the model
    *("checkpoint_every", "keep", "figure_every", "tensorboard", "stream"),
    *("devices", "distributed", "num_processes", "process_id"),
}

_CARD = """\
---
{front_matter}---

# {title}

{description}

![Test images above their reconstructions](figures/reconstructions.png)

`index.html` is a page on which a drawn digit turns into its latent code and back: download it and open it in a browser.

## Use

```python
import ae_jax, numpy as np

trained = ae_jax.load_model("FOLDER")  # this folder
recons = trained.reconstruct(np.zeros((5, 28, 28, 1), np.uint8))  # or f32 in [0, 1]
```

Without ae_jax, by ONNX Runtime:

```python
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("FOLDER/reconstruct.onnx")
recons = session.run(None, {{"images": np.zeros((5, 28, 28, 1), np.float32)}})[0]
```

`model.safetensors` holds the parameters under the names of the PyTorch tutorial's modules
(https://github.com/patrickloeber/pytorch-examples/blob/master/Autoencoder.ipynb): with such a module,
`model.load_state_dict(safetensors.torch.load_file("FOLDER/model.safetensors"))`.{tanh}

## Evaluation

{table}

The probes predict labels from latent codes; OOD detection is by reconstruction error. Measured by `ae-jax evaluate`.

![Error distributions and examples](figures/evaluation.png)

## Training

{training}

## Licences

The licence above is that of the weights. `index.html` and `figures` hold test images{credit}, which keep their own
licence.

## Limits

It reconstructs centred greyscale images of 28×28 pixels like those that it was trained with, and nothing else. A small
reconstruction error does not mean that an image is a digit. It was not made for decisions about people.
"""


def model_card(trained: TrainedModel, summary: Mapping[str, Any], licence: str) -> str:
    """The card of a model with the metrics of an evaluation, `Evaluation.summary`."""
    return _CARD.format(
        front_matter=yaml.safe_dump(_front_matter(trained, summary, licence), sort_keys=False, allow_unicode=True),
        title=_text(_title(trained)),
        description=_description(trained),
        tanh=" The module ends in `Tanh`: its inputs and outputs are in [-1, 1]." * (trained.model.output == "tanh"),
        table=_without_folders(summary),
        credit=_credit(summary["dataset"]),
        training="\n".join(_training_rows(trained)),
    )


def _front_matter(trained: TrainedModel, summary: Mapping[str, Any], licence: str) -> dict[str, Any]:
    dataset = dataset_title(summary["dataset"])
    metrics = [
        {"type": name, "name": title, "value": round(summary["model"][name], 5)} for name, title in _METRICS.items()
    ]
    return {
        "license": licence,
        "library_name": "ae_jax",
        "tags": ["autoencoder", "jax", "flax", "onnx", "image-reconstruction"],
        **({"datasets": [_HUB_DATASETS[dataset]]} if dataset in _HUB_DATASETS else {}),
        "model-index": [
            {
                "name": _title(trained),
                "results": [
                    {
                        "task": {"type": "image-to-image", "name": "image reconstruction"},
                        "dataset": {"type": _HUB_DATASETS.get(dataset, dataset), "name": dataset, "split": "test"},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }


def _title(trained: TrainedModel) -> str:
    return f"{trained.config.arch} autoencoder of {dataset_title(trained.metadata['dataset_used'] or 'unknown data')}"


def _description(trained: TrainedModel) -> str:
    size = f"a latent code of {trained.model.latent_dim} numbers"
    positions = " and the positions of its pooling maxima" if trained.config.arch == "conv-pool" else ""
    return (
        f"An autoencoder that encodes an image of 28×28 pixels as {size}{positions}, and decodes it. It was trained "
        f"for {trained.step:,} optimizer steps with ae_jax, in JAX."
    )


def _credit(dataset: str) -> str:
    credit = image_credit(dataset)
    return f" of {credit}" if credit else ""


def _training_rows(trained: TrainedModel) -> Iterator[str]:
    """A Markdown table of the settings and versions."""
    metadata = portable_metadata(trained.metadata)
    yield "| setting | value |"
    yield "|---|---|"
    for name, value in metadata["config"].items():
        if value is not None and name not in _OPERATIONAL:
            yield f"| {name} | {_text(str(value))} |"
    versions = ", ".join(f"{name} {version}" for name, version in metadata["versions"].items())
    yield f"| versions | {_text(versions)} |"


def _without_folders(summary: Mapping[str, Any]) -> str:
    dataset = summary["dataset"]
    name = dataset_title(dataset) if is_array_file(dataset) else dataset
    return evaluation_table({**summary, "dataset": _text(name)})


def _text(text: str) -> str:
    """Text that Markdown shows as it is: names of files may hold markup."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)
