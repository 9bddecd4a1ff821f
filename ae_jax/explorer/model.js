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
 * @typedef {{latents: Float32Array, positions: Int32Array[], layers: Activations[]}} Code
 *   `positions` of the maxima, empty without pooling; `layers` of the encoder, after activation and before pooling.
 * @typedef {{image: Float32Array, layers: Activations[]}} Decoded `layers` are the inputs of the decoder's layers.
 * @typedef {{
 *   description: ModelDescription, encode: (image: Float32Array) => Code,
 *   decode: (code: {latents: Float32Array, positions: Int32Array[]}) => Decoded,
 *   contributions: (decoded: Decoded, pixel: number) => Float64Array,
 * }} Model `contributions`: what each number before the last layer adds to a pixel, before the output activation
 */
import { activateHidden, apply, contributionsTo, maxPool, maxUnpool } from "./arithmetic.js";
import { NUM_PIXELS, SIDE } from "./constants.js";

/** @type {(description: ModelDescription, weights: Float32Array) => Model} */
export function makeModel(description, weights) {
  const { output } = description;
  const encoder = description.encoder.map((layer) => withWeights(layer, weights));
  const decoder = description.decoder.map((layer) => withWeights(layer, weights));
  return {
    description,
    encode: (image) => encode(encoder, description, toActivations(image, encoder[0], output)),
    decode: (code) => decode(decoder, description, code),
    contributions: ({ layers }, pixel) =>
      contributionsTo(pixel, layers[layers.length - 1], decoder[decoder.length - 1]),
  };
}

/** @type {(layers: Layer[], description: ModelDescription, image: Activations) => Code} */
function encode(layers, { activation, pools }, image) {
  const positions = [];
  const outputs = [];
  let x = image;
  for (const layer of layers.slice(0, -1)) {
    x = activateHidden(apply(x, layer), activation);
    outputs.push(x);
    if (pools) {
      const result = maxPool(x);
      x = result.pooled;
      positions.push(result.positions);
    }
  }
  return { latents: Float32Array.from(apply(x, layers[layers.length - 1]).data), positions, layers: outputs };
}

/** @type {(layers: Layer[], description: ModelDescription, code: {latents: Float32Array, positions: Int32Array[]}) => Decoded} */
function decode(layers, { activation, output, pools }, { latents, positions }) {
  const remaining = [...positions];
  /** @type {Activations} */
  let x = { data: Float64Array.from(latents), height: 1, width: 1, channels: latents.length };
  const inputs = [x];
  for (const layer of layers.slice(0, -1)) {
    x = activateHidden(apply(x, layer), activation);
    if (pools) x = maxUnpool(x, /** @type {Int32Array} */ (remaining.pop()));
    inputs.push(x);
  }
  return { image: activate(apply(x, layers[layers.length - 1]).data, output), layers: inputs };
}

/** @type {(image: Float32Array, first: Layer, output: string) => Activations} */
function toActivations(image, first, output) {
  const data = Float64Array.from(image, output === "tanh" ? (pixel) => 2 * pixel - 1 : undefined);
  return first.type === "linear"
    ? { data, height: 1, width: 1, channels: NUM_PIXELS }
    : { data, height: SIDE, width: SIDE, channels: 1 };
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
