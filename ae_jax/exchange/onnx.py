"""`ae-jax export`: ONNX graphs of a trained model, which run without ae_jax and without JAX.

The operators (https://onnx.ai/onnx/operators) have PyTorch's semantics, so the graphs hold the arrays of
`params_to_torch`. Images are NHWC outside, as everywhere here, and NCHW inside.
"""

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ae_jax.errors import InputError
from ae_jax.exchange.torch import portable_metadata
from ae_jax.models.autoencoders import ConvPoolAutoencoder, LinearAutoencoder
from ae_jax.models.layers import Conv, ConvTranspose
from ae_jax.models.torch_weights import params_to_torch
from ae_jax.runs.trained import TrainedModel, load_model
from ae_jax.system import check_output, write_folder

_OPSET, _IR_VERSION = 17, 8  # of 2022: old enough for every runtime, with all operators that are needed
_INT32, _INT64 = 6, 7  # onnx.TensorProto.DataType
_OPERATORS = {"relu": "Relu", "tanh": "Tanh"}
_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


class Program(NamedTuple):
    """A program in a file."""

    content: bytes  # of the file
    signature: str  # names, dtypes and shapes of inputs and outputs


class _Value(NamedTuple):
    """An input or output of a graph, with the batch as first axis."""

    name: str
    shape: tuple[int, ...]  # per image
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{', '.join(('n', *map(str, self.shape)))}]"


class _Graph:
    """Nodes under construction; a value is the name of a graph's input, a node's output or a constant."""

    def __init__(self, trained: TrainedModel) -> None:
        self.trained = trained
        self.nodes: list[dict[str, Any]] = []  # arguments of onnx.helper.make_node
        self.constants = params_to_torch(trained.model, trained.params)

    def add(self, operator: str, *inputs: str | np.ndarray | np.generic, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node whose inputs are values, or arrays for new constants; return its output, or a list of several."""
        names = [f"{operator}_{len(self.nodes)}_{i}" for i in range(outputs)]
        values = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        self.nodes.append({"op_type": operator, "inputs": values, "outputs": names, **attributes})
        return names[0] if outputs == 1 else names

    def layers(self, half: str) -> list[tuple[str, Any]]:
        """The layers of the encoder or the decoder, by PyTorch's names, such as "encoder.0"."""
        bound = self.trained.model.bind({"params": self.trained.params})
        own = {name.rpartition(".")[0] for name in self.constants if name.startswith(f"{half}.")}
        names = sorted(own, key=lambda name: int(name.split(".")[1]))  # as numbers: encoder.10 after encoder.2
        return list(zip(names, getattr(bound, half), strict=True))

    def _constant(self, array: np.ndarray | np.generic) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name


def export_run(run: str, out: str) -> None:
    """Write `encode.onnx`, `decode.onnx` and `reconstruct.onnx` into a new directory; `InputError` without onnx."""
    check_output(out, "out")
    programs = {f"{name}.onnx": program for name, program in onnx_programs(load_model(run)).items()}
    write_folder(out, {name: program.content for name, program in programs.items()})
    for name, program in programs.items():
        print(f"{Path(out, name)}: {program.signature}")


def onnx_programs(trained: TrainedModel) -> dict[str, Program]:
    """ONNX graphs of a model: `encode`, `decode` and `reconstruct`, for any number `n` of images.

    Images are `float32[n, 28, 28, 1]` in [0, 1], `latents` `float32[n, d]`. With pooling, `encode` also returns, and
    `decode` also takes, `positions_0 int32[n, 14, 14, c]` and `positions_1 int32[n, 7, 7, c]`: row · width + column
    of each maximum in the image that was pooled. Arithmetic is in float32. `InputError` if onnx is not installed.

    >>> program = onnx_programs(ae_jax.load_pretrained("linear"))["encode"]
    >>> program.signature  # program.content has the bytes of the file
    'images float32[n, 28, 28, 1] → latents float32[n, 3]'
    """
    images, recons = _Value("images", (28, 28, 1)), _Value("reconstructions", (28, 28, 1))
    code = _code_values(trained)
    encode, decode, reconstruct = _Graph(trained), _Graph(trained), _Graph(trained)
    encoded = _encode(encode, images.name)
    decoded = _decode(decode, [value.name for value in code])
    reconstructed = _decode(reconstruct, _encode(reconstruct, images.name))
    return {
        "encode": _program("encode", encode, [images], code, encoded),
        "decode": _program("decode", decode, code, [recons], [decoded]),
        "reconstruct": _program("reconstruct", reconstruct, [images], [recons], [reconstructed]),
    }


def _code_values(trained: TrainedModel) -> list[_Value]:
    """The names, shapes and dtypes of a code's arrays: outputs of the encoder, inputs of the decoder."""
    encode = functools.partial(trained.model.apply, {"params": trained.params}, method="encode")
    latents, *positions = jax.tree.leaves(jax.eval_shape(encode, jax.ShapeDtypeStruct((1, 28, 28, 1), np.float32)))
    named = {"latents": latents, **{f"positions_{i}": each for i, each in enumerate(positions)}}
    return [_Value(name, each.shape[1:], each.dtype.name) for name, each in named.items()]


def _encode(graph: _Graph, images: str) -> list[str]:
    """Add the encoder; return the latent codes and the positions of each pooling."""
    x, positions = images, []
    if graph.trained.model.output == "tanh":
        x = graph.add("Sub", graph.add("Mul", x, np.float32(2)), np.float32(1))
    x = graph.add("Transpose", x, perm=_TO_NCHW)
    *hidden, last = graph.layers("encoder")
    for i, layer in enumerate(hidden):
        x = graph.add(_OPERATORS[graph.trained.model.activation], _apply(graph, *layer, x))
        if isinstance(graph.trained.model, ConvPoolAutoencoder):
            x, indices = graph.add("MaxPool", x, outputs=2, kernel_shape=(2, 2), strides=(2, 2))
            positions.append(_to_positions(graph, indices, width=28 >> i))
    return [graph.add("Flatten", _apply(graph, *last, x)), *positions]


def _decode(graph: _Graph, code: list[str]) -> Any:
    """Add the decoder; return the images. `code` is what `_encode` returns."""
    x, *positions = code
    is_linear = isinstance(graph.trained.model, LinearAutoencoder)
    if not is_linear:
        x = graph.add("Unsqueeze", x, np.array([2, 3]))
    *hidden, last = graph.layers("decoder")
    for name, layer in hidden:
        x = graph.add(_OPERATORS[graph.trained.model.activation], _apply(graph, name, layer, x))
        if positions:
            pooling = positions.pop()
            indices = _to_indices(graph, pooling, layer.features, width=28 >> len(positions))
            x = graph.add("MaxUnpool", x, indices, kernel_shape=(2, 2), strides=(2, 2))
    x = _apply(graph, *last, x)
    if graph.trained.model.output == "sigmoid":
        x = graph.add("Sigmoid", x)
    else:
        x = graph.add("Div", graph.add("Add", graph.add("Tanh", x), np.float32(1)), np.float32(2))
    return graph.add("Reshape", x, np.array([-1, 28, 28, 1])) if is_linear else graph.add("Transpose", x, perm=_TO_NHWC)


def _apply(graph: _Graph, name: str, layer: Any, x: str) -> Any:
    weight, bias = f"{name}.weight", f"{name}.bias"
    if not isinstance(layer, Conv | ConvTranspose):
        return graph.add("Gemm", graph.add("Flatten", x), weight, bias, transB=1)
    geometry: dict[str, Any] = {"strides": (layer.stride,) * 2, "pads": (layer.padding,) * 4}
    if isinstance(layer, ConvTranspose):
        geometry["output_padding"] = (layer.output_padding,) * 2
    return graph.add(type(layer).__name__, x, weight, bias, **geometry)


def _to_positions(graph: _Graph, indices: str, width: int) -> Any:
    """From ONNX's indices into the whole batch, NCHW, to positions in each image and channel, NHWC."""
    positions = graph.add("Mod", indices, np.int64(width * width))
    return graph.add("Cast", graph.add("Transpose", positions, perm=_TO_NHWC), to=_INT32)


def _to_indices(graph: _Graph, positions: str, channels: int, width: int) -> Any:
    """The inverse of `_to_positions`."""
    positions = graph.add("Cast", graph.add("Transpose", positions, perm=_TO_NCHW), to=_INT64)
    n = graph.add("Gather", graph.add("Shape", positions), np.int64(0))
    planes = graph.add("Range", np.int64(0), graph.add("Mul", n, np.int64(channels)), np.int64(1))
    offsets = graph.add("Mul", planes, np.int64(width * width))
    return graph.add("Add", positions, graph.add("Reshape", offsets, np.array([-1, channels, 1, 1])))


def _program(name: str, graph: _Graph, inputs: list[_Value], outputs: list[_Value], results: list[str]) -> Program:
    """The file of a graph whose values `results` become the `outputs`."""
    try:
        from onnx import helper, numpy_helper
    except ImportError as error:
        raise InputError('onnx is not installed: pip install onnx, or ae_jax with the extra "onnx".') from error

    def value_info(value: _Value) -> Any:
        dtype = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
        return helper.make_tensor_value_info(value.name, dtype, ("n", *value.shape))

    nodes = [helper.make_node(**node) for node in graph.nodes]
    nodes += [helper.make_node("Identity", [result], [out.name]) for result, out in zip(results, outputs, strict=True)]
    used = {value for node in graph.nodes for value in node["inputs"]}
    constants = [numpy_helper.from_array(array, each) for each, array in graph.constants.items() if each in used]
    trained, metadata = graph.trained, portable_metadata(graph.trained.metadata)
    model = helper.make_model(
        helper.make_graph(nodes, name, [*map(value_info, inputs)], [*map(value_info, outputs)], constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="ae_jax",
        producer_version=metadata["versions"].get("ae_jax", ""),
        doc_string=f"{trained.title}: {name}",
    )
    texts = {"dataset": metadata["dataset_used"], "step": trained.step, "test_mse": trained.test_mse}
    objects = {"settings": metadata["config"], "versions": metadata["versions"]}
    properties = {name: str(each) for name, each in texts.items()}
    helper.set_model_props(model, properties | {name: json.dumps(each) for name, each in objects.items()})
    return Program(model.SerializeToString(), f"{', '.join(map(str, inputs))} → {', '.join(map(str, outputs))}")
