/**
 * The layers of the autoencoders, one image at a time. Weights are float32, sums are float64.
 *
 * @typedef {{data: Float64Array, height: number, width: number, channels: number}} Activations
 *   in the order height, width, channels.
 * @typedef {{
 *   type: "linear" | "conv" | "convTranspose",
 *   size: number, stride: number, padding: number, outputPadding: number, inputs: number, outputs: number,
 *   kernel: Float32Array, bias: Float32Array,
 * }} Layer a kernel is in the order height, width, inputs, outputs; `size` is its height and width.
 */
import { NUM_PIXELS, SIDE } from "./constants.js";

/** @type {(x: Activations, layer: Layer) => Activations} */
export function apply(x, layer) {
  return { linear, conv, convTranspose }[layer.type](x, layer);
}

/** @type {(x: Activations, layer: Layer) => Activations} */
function linear(x, { kernel, bias }) {
  const y = zeros(1, 1, bias.length);
  y.data.set(bias);
  for (let i = 0; i < x.data.length; i++) {
    addScaled(y.data, 0, x.data[i], kernel, i * bias.length, bias.length);
  }
  return y;
}

/** @type {(x: Activations, layer: Layer) => Activations} */
function conv(x, { size, stride, padding, outputs, kernel, bias }) {
  const resized = (/** @type {number} */ side) => Math.floor((side + 2 * padding - size) / stride) + 1;
  const y = zeros(resized(x.height), resized(x.width), outputs);
  forEachTap(y, x, size, stride, padding, (yPixel, xPixel, tap) => {
    accumulate(y, yPixel, x, xPixel, kernel, tap);
  });
  return addBias(y, bias);
}

/** The adjoint of `conv`: what `conv` gathers from a pixel, this scatters to it. @type {(x: Activations, layer: Layer) => Activations} */
function convTranspose(x, { size, stride, padding, outputPadding, outputs, kernel, bias }) {
  const resized = (/** @type {number} */ side) => (side - 1) * stride - 2 * padding + size + outputPadding;
  const y = zeros(resized(x.height), resized(x.width), outputs);
  forEachTap(x, y, size, stride, padding, (xPixel, yPixel, tap) => {
    accumulate(y, yPixel, x, xPixel, kernel, tap);
  });
  return addBias(y, bias);
}

/**
 * What each number of `x` adds to a pixel of the one-channel image that `layer`, the last one, makes of it.
 *
 * @type {(pixel: number, x: Activations, layer: Layer) => Float64Array}
 */
export function contributionsTo(pixel, x, { type, size, stride, padding, kernel }) {
  if (type === "linear") return x.data.map((value, i) => value * kernel[i * NUM_PIXELS + pixel]);
  const contributions = new Float64Array(x.data.length);
  forEachTap(x, zeros(SIDE, SIDE, 1), size, stride, padding, (xPixel, yPixel, tap) => {
    if (yPixel !== pixel) return;
    for (let i = 0; i < x.channels; i++) {
      const index = xPixel * x.channels + i;
      contributions[index] = x.data[index] * kernel[tap * x.channels + i];
    }
  });
  return contributions;
}

/** @type {(x: Activations, activation: "relu" | "tanh") => Activations} */
export function activateHidden(x, activation) {
  return { ...x, data: x.data.map(activation === "tanh" ? Math.tanh : (value) => Math.max(value, 0)) };
}

/**
 * The maximum of each 2×2 window, and its index in `x`: of equal ones the first, as in PyTorch.
 *
 * @type {(x: Activations) => {pooled: Activations, positions: Int32Array}}
 */
export function maxPool(x) {
  const pooled = zeros(x.height / 2, x.width / 2, x.channels);
  const positions = new Int32Array(pooled.data.length);
  const row = x.width * x.channels;
  for (let i = 0; i < positions.length; i++) {
    const pixel = Math.floor(i / x.channels);
    const top = 2 * Math.floor(pixel / pooled.width) * row;
    const corner = top + 2 * (pixel % pooled.width) * x.channels + (i % x.channels);
    positions[i] = corner;
    for (const other of [corner + x.channels, corner + row, corner + row + x.channels]) {
      if (x.data[other] > x.data[positions[i]]) positions[i] = other;
    }
    pooled.data[i] = x.data[positions[i]];
  }
  return { pooled, positions };
}

/** Put each value where `maxPool` found its maximum, zeros elsewhere. @type {(x: Activations, positions: Int32Array) => Activations} */
export function maxUnpool(x, positions) {
  const y = zeros(2 * x.height, 2 * x.width, x.channels);
  for (let i = 0; i < positions.length; i++) y.data[positions[i]] = x.data[i];
  return y;
}

/**
 * Call `visit` with the pixel of the small image, the pixel of the large one and the tap of the kernel that joins them.
 *
 * @typedef {(smallPixel: number, largePixel: number, tap: number) => void} Visit
 * @type {(small: Activations, large: Activations, size: number, stride: number, padding: number, visit: Visit) => void}
 */
function forEachTap(small, large, size, stride, padding, visit) {
  for (let smallPixel = 0; smallPixel < small.height * small.width; smallPixel++) {
    const top = stride * Math.floor(smallPixel / small.width) - padding;
    const left = stride * (smallPixel % small.width) - padding;
    for (let tap = 0; tap < size * size; tap++) {
      const row = top + Math.floor(tap / size);
      const column = left + (tap % size);
      if (row >= 0 && row < large.height && column >= 0 && column < large.width) {
        visit(smallPixel, row * large.width + column, tap);
      }
    }
  }
}

/**
 * Add to a pixel of `y` the product of a pixel of `x` and the kernel's matrix for one tap.
 *
 * @type {(y: Activations, yPixel: number, x: Activations, xPixel: number, kernel: Float32Array, tap: number) => void}
 */
function accumulate(y, yPixel, x, xPixel, kernel, tap) {
  const [inputs, outputs] = [x.channels, y.channels];
  for (let i = 0; i < inputs; i++) {
    const weights = (tap * inputs + i) * outputs;
    addScaled(y.data, yPixel * outputs, x.data[xPixel * inputs + i], kernel, weights, outputs);
  }
}

/**
 * `y[start + i] += scale * weights[offset + i]` for `count` values of `i`; zeros, of which there are many, are skipped.
 *
 * @type {(y: Float64Array, start: number, scale: number, weights: Float32Array, offset: number, count: number) => void}
 */
function addScaled(y, start, scale, weights, offset, count) {
  if (scale === 0) return;
  for (let i = 0; i < count; i++) y[start + i] += scale * weights[offset + i];
}

/** @type {(y: Activations, bias: Float32Array) => Activations} */
function addBias(y, bias) {
  return { ...y, data: y.data.map((value, i) => value + bias[i % bias.length]) };
}

/** @type {(height: number, width: number, channels: number) => Activations} */
function zeros(height, width, channels) {
  return { data: new Float64Array(height * width * channels), height, width, channels };
}
