/**
 * An autoencoder from its description and weights. Images have 784 pixels in [0, 1], row by row.
 *
 * @typedef {import("./arithmetic.js").Activations} Activations
 * @typedef {import("./arithmetic.js").Layer} Layer
 * @typedef {Omit<Layer, "kernel" | "bias"> & {kernel: number, bias: number}} LayerDescription
 *   `kernel` and `bias` are offsets into the weights.
 * @typedef {{
 *   latentDim: number, activation: "relu" | "tanh", output: "sigmoid" | "tanh", pools: boolean,
 *   encoder: LayerDescription[], decoder: LayerDescription[],
 * }} ModelDescription `pools`: max pooling follows each layer of the encoder but the last.
 * @typedef {{activation: "relu" | "tanh", pools: boolean}} Network what both halves have in common
 * @typedef {{latents: Float32Array, positions: Int32Array[]}} Code `positions` of the maxima; empty without pooling.
 * @typedef {{
 *   latentDim: number, pools: boolean,
 *   encode: (image: Float32Array) => Code, decode: (code: Code) => Float32Array,
 * }} Model
 */
import { activateHidden, apply, maxPool, maxUnpool } from "./arithmetic.js";

/** @type {(description: ModelDescription, weights: Float32Array) => Model} */
export function makeModel(description, weights) {
  const { latentDim, output, pools } = description;
  const network = { activation: description.activation, pools };
  const encoder = description.encoder.map((layer) => withWeights(layer, weights));
  const decoder = description.decoder.map((layer) => withWeights(layer, weights));
  return {
    latentDim,
    pools,
    encode: (image) => encode(encoder, network, toActivations(image, encoder[0], output)),
    decode: (code) => activate(decode(decoder, network, code), output),
  };
}

/** @type {(layers: Layer[], network: Network, image: Activations) => Code} */
function encode(layers, { activation, pools }, image) {
  const positions = [];
  let x = image;
  for (const layer of layers.slice(0, -1)) {
    x = activateHidden(apply(x, layer), activation);
    if (pools) {
      const result = maxPool(x);
      x = result.pooled;
      positions.push(result.positions);
    }
  }
  return { latents: Float32Array.from(apply(x, layers[layers.length - 1]).data), positions };
}

/** @type {(layers: Layer[], network: Network, code: Code) => Float64Array} */
function decode(layers, { activation, pools }, { latents, positions }) {
  const remaining = [...positions];
  /** @type {Activations} */
  let x = { data: Float64Array.from(latents), height: 1, width: 1, channels: latents.length };
  for (const layer of layers.slice(0, -1)) {
    x = activateHidden(apply(x, layer), activation);
    if (pools) x = maxUnpool(x, /** @type {Int32Array} */ (remaining.pop()));
  }
  return apply(x, layers[layers.length - 1]).data;
}

/** @type {(image: Float32Array, first: Layer, output: string) => Activations} */
function toActivations(image, first, output) {
  const data = Float64Array.from(image, output === "tanh" ? (pixel) => 2 * pixel - 1 : undefined);
  return first.type === "linear"
    ? { data, height: 1, width: 1, channels: 784 }
    : { data, height: 28, width: 28, channels: 1 };
}

/** @type {(logits: Float64Array, output: string) => Float32Array} */
function activate(logits, output) {
  const activation =
    output === "tanh"
      ? (/** @type {number} */ x) => (Math.tanh(x) + 1) / 2
      : (/** @type {number} */ x) => 1 / (1 + Math.exp(-x));
  return Float32Array.from(logits, activation);
}

/** @type {(layer: LayerDescription, weights: Float32Array) => Layer} */
function withWeights(layer, weights) {
  const numWeights = layer.size * layer.size * layer.inputs * layer.outputs;
  return {
    ...layer,
    kernel: weights.subarray(layer.kernel, layer.kernel + numWeights),
    bias: weights.subarray(layer.bias, layer.bias + layer.outputs),
  };
}
