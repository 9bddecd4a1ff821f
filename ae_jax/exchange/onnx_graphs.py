"""ONNX graphs of a trained model, with the arrays of `params_to_torch`: their operators have PyTorch's semantics.

Operators: https://onnx.ai/onnx/operators. Images are NHWC outside, as everywhere here, and NCHW inside.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ae_jax.models.autoencoders import ConvPoolAutoencoder
from ae_jax.models.layers import Conv, ConvTranspose
from ae_jax.models.torch_weights import params_to_torch
from ae_jax.runs.metadata import portable_metadata
from ae_jax.runs.trained_model import TrainedModel

_OPSET, _IR_VERSION = 17, 8  # of 2022: old enough for every runtime, with all operators that are needed
_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


class _Code(NamedTuple):
    latents: str
    positions: Sequence[str] = ()


class _Graph:
    """Nodes and constants under construction; a value is the name of a node's output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; return its output, or a list of several."""
        names = [f"{operator}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, array: Any, name: str = "") -> str:
        """Add a constant array."""
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name


def onnx_models(trained: TrainedModel) -> dict[str, onnx.ModelProto]:
    """The graphs `encode`, `decode` and `reconstruct`, for any number `n` of images.

    Images are `float32[n, 28, 28, 1]` in [0, 1], `latents` `float32[n, d]`. With pooling, `encode` also returns, and
    `decode` also takes, `positions_0 int32[n, 14, 14, 16]` and `positions_1 int32[n, 7, 7, 32]`: row · width + column
    of each maximum in the image that was pooled. Arithmetic is in float32, whatever the precision of the run.
    """
    images = _value("images", 28, 28, 1)
    recons = _value("reconstructions", 28, 28, 1)
    code = [_value("latents", trained.model.latent_dim), *_position_values(trained)]
    names = _Code(code[0].name, [value.name for value in code[1:]])

    encode, decode, reconstruct = _Graph(), _Graph(), _Graph()
    encoded = _encode(encode, trained, "images")
    decoded = _decode(decode, trained, names)
    reconstructed = _decode(reconstruct, trained, _encode(reconstruct, trained, "images"))
    return {
        "encode": _model(trained, encode, "encode", [images], [encoded.latents, *encoded.positions], code),
        "decode": _model(trained, decode, "decode", code, [decoded], [recons]),
        "reconstruct": _model(trained, reconstruct, "reconstruct", [images], [reconstructed], [recons]),
    }


def signature(model: onnx.ModelProto) -> str:
    """Names, dtypes and shapes of inputs and outputs."""
    inputs, outputs = (", ".join(map(_describe, values)) for values in (model.graph.input, model.graph.output))
    return f"{inputs} → {outputs}"


def _encode(graph: _Graph, trained: TrainedModel, images: str) -> _Code:
    x, positions = images, []
    if trained.model.output == "tanh":
        x = graph.add("Sub", graph.add("Mul", x, graph.constant(np.float32(2))), graph.constant(np.float32(1)))
    x = graph.add("Transpose", x, perm=_TO_NCHW)
    *hidden, last = _layers(trained, "encoder")
    for i, layer in enumerate(hidden):
        x = graph.add("Relu", _apply(graph, layer, x))
        if isinstance(trained.model, ConvPoolAutoencoder):
            x, indices = graph.add("MaxPool", x, outputs=2, kernel_shape=(2, 2), strides=(2, 2))
            positions.append(_to_positions(graph, indices, _width_before_pooling(i)))
    return _Code(graph.add("Flatten", _apply(graph, last, x)), positions)


def _decode(graph: _Graph, trained: TrainedModel, code: _Code) -> str:
    is_linear = not code.positions and not isinstance(_layers(trained, "decoder")[0].module, ConvTranspose)
    x = code.latents if is_linear else graph.add("Unsqueeze", code.latents, graph.constant(np.array([2, 3])))
    *hidden, last = _layers(trained, "decoder")
    for i, layer in enumerate(hidden):
        x = graph.add("Relu", _apply(graph, layer, x))
        if code.positions:
            pooling = len(hidden) - 1 - i
            indices = _to_indices(graph, code.positions[pooling], layer.num_outputs, _width_before_pooling(pooling))
            x = graph.add("MaxUnpool", x, indices, kernel_shape=(2, 2), strides=(2, 2))
    x = _activate(graph, _apply(graph, last, x), trained.model.output)
    if is_linear:
        return graph.add("Reshape", x, graph.constant(np.array([-1, 28, 28, 1])))
    return graph.add("Transpose", x, perm=_TO_NHWC)


class _Layer(NamedTuple):
    module: Any
    name: str  # PyTorch's, such as "encoder.0"
    weight: np.ndarray
    bias: np.ndarray

    @property
    def num_outputs(self) -> int:
        return len(self.bias)


def _layers(trained: TrainedModel, half: str) -> list[_Layer]:
    """The layers of the encoder or the decoder."""
    arrays = params_to_torch(trained.model, trained.params)
    bound: Any = trained.model.bind({"params": trained.params})
    names = [name.removesuffix(".weight") for name in arrays if name.startswith(half) and name.endswith(".weight")]
    return [
        _Layer(module, name, arrays[f"{name}.weight"], arrays[f"{name}.bias"])
        for module, name in zip(getattr(bound, half), names, strict=True)
    ]


def _apply(graph: _Graph, layer: _Layer, x: str) -> str:
    weight, bias = (graph.constant(getattr(layer, each), f"{layer.name}.{each}") for each in ("weight", "bias"))
    module = layer.module
    if not isinstance(module, Conv | ConvTranspose):
        return graph.add("Gemm", graph.add("Flatten", x), weight, bias, transB=1)
    geometry: dict[str, Any] = {"strides": (module.stride,) * 2, "pads": (module.padding,) * 4}
    if isinstance(module, ConvTranspose):
        geometry["output_padding"] = (module.output_padding,) * 2
    return graph.add(type(module).__name__, x, weight, bias, **geometry)


def _activate(graph: _Graph, x: str, output: str) -> Any:
    if output == "sigmoid":
        return graph.add("Sigmoid", x)
    return graph.add(
        "Div",
        graph.add("Add", graph.add("Tanh", x), graph.constant(np.float32(1))),
        graph.constant(np.float32(2)),
    )


def _to_positions(graph: _Graph, indices: str, width: int) -> Any:
    """From ONNX's indices into the whole batch, NCHW, to positions in each image and channel, NHWC."""
    positions = graph.add("Mod", indices, graph.constant(np.int64(width * width)))
    return graph.add("Cast", graph.add("Transpose", positions, perm=_TO_NHWC), to=TensorProto.INT32)


def _to_indices(graph: _Graph, positions: str, channels: int, width: int) -> Any:
    """The inverse of `_to_positions`."""
    positions = graph.add("Cast", graph.add("Transpose", positions, perm=_TO_NCHW), to=TensorProto.INT64)
    n = graph.add("Gather", graph.add("Shape", positions), graph.constant(np.int64(0)))
    zero, one = graph.constant(np.int64(0)), graph.constant(np.int64(1))
    planes = graph.add("Range", zero, graph.add("Mul", n, graph.constant(np.int64(channels))), one)
    offsets = graph.add("Mul", planes, graph.constant(np.int64(width * width)))
    shape = graph.constant(np.array([-1, channels, 1, 1]))
    return graph.add("Add", positions, graph.add("Reshape", offsets, shape))


def _width_before_pooling(pooling: int) -> int:
    return 28 >> pooling


def _position_values(trained: TrainedModel) -> list[onnx.ValueInfoProto]:
    if not isinstance(trained.model, ConvPoolAutoencoder):
        return []
    return [
        _value(f"positions_{i}", width, width, channels, dtype=TensorProto.INT32)
        for i, (width, channels) in enumerate(((14, 16), (7, 32)))
    ]


def _value(name: str, *shape: int, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, ("n", *shape))


def _describe(value: onnx.ValueInfoProto) -> str:
    array = value.type.tensor_type
    dims = ", ".join(dim.dim_param or str(dim.dim_value) for dim in array.shape.dim)
    return f"{value.name} {helper.tensor_dtype_to_np_dtype(array.elem_type)}[{dims}]"


def _model(
    trained: TrainedModel,
    graph: _Graph,
    name: str,
    inputs: list[onnx.ValueInfoProto],
    results: list[str],
    outputs: list[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    for result, value in zip(results, outputs, strict=True):
        graph.nodes.append(helper.make_node("Identity", [result], [value.name]))
    model = helper.make_model(
        helper.make_graph(graph.nodes, name, inputs, outputs, initializer=graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="ae_jax",
        producer_version=trained.metadata["versions"].get("ae_jax", ""),
        doc_string=f"{trained.title}: {name}",
    )
    helper.set_model_props(model, _properties(trained))
    return model


def _properties(trained: TrainedModel) -> dict[str, str]:
    """The run, as text and JSON."""
    metadata = portable_metadata(trained.metadata)
    return {
        "dataset": str(metadata["dataset_used"]),
        "settings": json.dumps(metadata["config"]),
        "step": str(trained.step),
        "test_mse": str(trained.test_mse),
        "versions": json.dumps(metadata["versions"]),
    }
