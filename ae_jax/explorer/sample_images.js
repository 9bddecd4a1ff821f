/**
 * Test images and their latent codes.
 *
 * @typedef {import("./map_drawing.js").Labels} Labels
 * @typedef {{pixels: Float32Array[], labels: Labels | null, latents: Float32Array[], areDigits: boolean}} SampleImages
 */
import { NUM_PIXELS, SIDE } from "./constants.js";
import { context2d, make } from "./drawing.js";

/** The first `count` images of a sprite sheet, a PNG in base64; pixels in [0, 1]. @type {(png: string, columns: number, count: number) => Promise<Float32Array[]>} */
export async function loadSampleImages(png, columns, count) {
  const sheet = new Image();
  sheet.src = `data:image/png;base64,${png}`;
  await sheet.decode();
  const context = context2d(make("canvas", { width: sheet.width, height: sheet.height }));
  context.drawImage(sheet, 0, 0);
  return Array.from({ length: count }, (_, i) => {
    const { data } = context.getImageData(SIDE * (i % columns), SIDE * Math.floor(i / columns), SIDE, SIDE);
    return Float32Array.from({ length: NUM_PIXELS }, (_, j) => data[4 * j] / 255);
  });
}

/** The indices of the `count` images with the nearest codes, nearest first. @type {(images: SampleImages, latents: Float32Array, count: number) => number[]} */
export function nearestImages(images, latents, count) {
  const distances = images.latents.map((other) => squaredDistance(other, latents));
  return distances
    .map((_, i) => i)
    .sort((a, b) => distances[a] - distances[b])
    .slice(0, count);
}

/** A code from the normal distribution with the mean and the covariance of the images' codes. @type {(images: SampleImages, mean: Float32Array) => Float32Array} */
export function randomCode({ latents }, mean) {
  const code = Float64Array.from(mean);
  for (const each of latents) {
    const weight = normal() / Math.sqrt(latents.length);
    for (let i = 0; i < code.length; i++) code[i] += weight * (each[i] - mean[i]);
  }
  return Float32Array.from(code);
}

/** A sample of the standard normal distribution (Box and Muller 1958). @type {() => number} */
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

/** @type {(images: SampleImages, index: number) => string} */
export function describeImage({ labels, areDigits }, index) {
  const label = labels?.names[labels.indices[index]];
  if (label === undefined) return `test image ${index + 1}`;
  return `test image ${index + 1} (${areDigits ? (label === "8" ? "an 8" : `a ${label}`) : `label ${label}`})`;
}

/** @type {(a: Float32Array, b: Float32Array) => number} */
export function squaredDistance(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return sum;
}
