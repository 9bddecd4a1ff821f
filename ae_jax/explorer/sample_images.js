/**
 * Test images and their latent codes.
 *
 * @typedef {import("./model.js").Model} Model
 * @typedef {import("./map_drawing.js").Labels} Labels
 * @typedef {{pixels: Float32Array[], labels: Labels | null, latents: Float32Array[]}} SampleImages
 *   `latents` has the codes of the first images; `encodeAll` adds the others.
 */
import { context2d } from "./drawing.js";

const SLICE = 12; // ms of work at a time, so that the page answers meanwhile

/**
 * The images of a sprite sheet, a PNG in base64.
 *
 * @param {string} png
 * @param {number} columns
 * @param {number} count
 * @returns {Promise<Float32Array[]>} pixels in [0, 1]
 */
export async function loadSampleImages(png, columns, count) {
  const sheet = new Image();
  sheet.src = `data:image/png;base64,${png}`;
  await sheet.decode();
  const canvas = document.createElement("canvas");
  canvas.width = sheet.width;
  canvas.height = sheet.height;
  const context = context2d(canvas);
  context.drawImage(sheet, 0, 0);
  return Array.from({ length: count }, (_, i) => {
    const { data } = context.getImageData(28 * (i % columns), 28 * Math.floor(i / columns), 28, 28);
    return Float32Array.from({ length: 784 }, (_, j) => data[4 * j] / 255);
  });
}

/** @type {(images: SampleImages, model: Model) => Promise<void>} */
export async function encodeAll(images, model) {
  while (images.latents.length < images.pixels.length) {
    const end = performance.now() + SLICE;
    while (performance.now() < end && images.latents.length < images.pixels.length) {
      images.latents.push(model.encode(images.pixels[images.latents.length]).latents);
    }
    await new Promise((resolve) => setTimeout(resolve));
  }
}

/**
 * The indices of the `count` images with the nearest codes, nearest first.
 *
 * @param {SampleImages} images
 * @param {Float32Array} latents
 * @param {number} count
 * @returns {number[]}
 */
export function nearestImages(images, latents, count) {
  const distances = images.latents.map((other) => squaredDistance(other, latents));
  return distances
    .map((_, i) => i)
    .sort((a, b) => distances[a] - distances[b])
    .slice(0, count);
}

/** @type {(images: SampleImages, index: number) => string} */
export function describeImage(images, index) {
  const label = labelOf(images, index);
  return label === undefined ? `test image ${index + 1}` : `test image ${index + 1}, label ${label}`;
}

/** @type {(images: SampleImages, index: number) => string | undefined} */
export function labelOf({ labels }, index) {
  return labels?.names[labels.indices[index]];
}

/** @type {(a: Float32Array, b: Float32Array) => number} */
export function squaredDistance(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return sum;
}
