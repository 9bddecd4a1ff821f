/**
 * A drawing, white on black, brought to MNIST's form as `ae_jax/data/digit.py` does it, which describes and justifies
 * the steps. Of these a drawing needs only the box, the area averages and the centre.
 */

import { PAD, SIDE } from "./constants.js";

/** @typedef {{values: Float64Array, height: number, width: number}} Grid pixels, row by row */

const BOX = 20;
const CENTRE = 14;
const FAINTEST = 255 / 6;

/**
 * Crop to the ink, resize to a longer side of 20 pixels, stretch to a maximum of 255, centre by the centre of mass.
 *
 * The pixels of the pad are given row by row; the result has 28 × 28 pixels, or is null if there is no ink.
 *
 * @type {(pixels: Uint8Array) => Uint8Array | null}
 */
export function digitFromDrawing(pixels) {
  const reduced = resize({ values: Float64Array.from(pixels), height: PAD, width: PAD }, PAD / 2, PAD / 2); // 256 at most
  const ink = { ...reduced, values: reduced.values.map((value) => (value < FAINTEST ? 0 : value)) };
  if (!ink.values.some(Boolean)) return null;
  return centre(stretch(fitBox(transpose(cropRows(transpose(cropRows(ink)))))));
}

/** The rows from the first to the last with ink. @type {(ink: Grid) => Grid} */
function cropRows({ values, height, width }) {
  const hasInk = Array.from({ length: height }, (_, y) => values.subarray(y * width, (y + 1) * width).some(Boolean));
  const [start, stop] = [hasInk.indexOf(true), hasInk.lastIndexOf(true) + 1];
  return { values: values.subarray(start * width, stop * width), height: stop - start, width };
}

/** @type {(shape: Grid) => Grid} */
function fitBox(shape) {
  const longer = Math.max(shape.height, shape.width);
  const [height, width] = [shape.height, shape.width].map((side) => Math.max(1, Math.round((BOX * side) / longer)));
  return resize(shape, height, width);
}

/** @type {(grid: Grid, height: number, width: number) => Grid} */
function resize(grid, height, width) {
  return transpose(areaMeans(transpose(areaMeans(grid, height)), width));
}

/**
 * The mean of each of `n` equal parts of the height, exact where a part covers pixels partially.
 *
 * @type {(grid: Grid, n: number) => Grid}
 */
function areaMeans({ values, height, width }, n) {
  const means = new Float64Array(n * width);
  for (let part = 0; part < n; part++) {
    const [start, stop] = [(part * height) / n, ((part + 1) * height) / n];
    for (let y = Math.floor(start); y < stop; y++) {
      const weight = ((Math.min(stop, y + 1) - Math.max(start, y)) * n) / height;
      for (let x = 0; x < width; x++) means[part * width + x] += weight * values[y * width + x];
    }
  }
  return { values: means, height: n, width };
}

/** @type {(grid: Grid) => Grid} */
function transpose({ values, height, width }) {
  const transposed = values.map((_, i) => values[(i % height) * width + Math.floor(i / height)]);
  return { values: transposed, height: width, width: height };
}

/** @type {(grid: Grid) => Grid} */
function stretch({ values, height, width }) {
  const greatest = Math.max(...values);
  return { values: values.map((value) => Math.round((255 * value) / greatest)), height, width };
}

/** @type {(digit: Grid) => Uint8Array} */
function centre(digit) {
  const { values, height, width } = digit;
  const image = new Uint8Array(SIDE * SIDE);
  const start = offset(digit) * SIDE + offset(transpose(digit));
  for (let y = 0; y < height; y++) image.set(values.subarray(y * width, (y + 1) * width), start + y * SIDE);
  return image;
}

/** The first row of a digit whose centre of mass is in the middle. @type {(digit: Grid) => number} */
function offset({ values, height, width }) {
  const total = values.reduce((sum, value) => sum + value, 0);
  const moment = values.reduce((sum, value, i) => sum + value * Math.floor(i / width), 0);
  return Math.min(Math.max(Math.round(CENTRE - moment / total), 0), SIDE - height);
}
