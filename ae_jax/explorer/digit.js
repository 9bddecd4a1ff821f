/**
 * A picture of a digit, brought to MNIST's form: the same function as `ae_jax.digit_from_picture`, bit for bit.
 * `ae_jax/data/digit.py` describes and justifies the steps.
 */
import { divide, sum } from "./grid.js";
import { isDarkOnLight, levelsOf, prepare, stretch } from "./ink.js";
import { largestShape } from "./shapes.js";

/**
 * @template {Uint8Array | Int32Array} Values
 * @typedef {import("./grid.js").Grid<Values>} Grid
 */

/** @typedef {{image: Uint8Array, numShapes: number}} Digit 28 × 28 pixels; the shapes, of which it is the largest */

const SIZE = 28;
const BOX = 20;
const CENTRE = 14;

/**
 * Bring a greyscale picture of a digit, of any size, dark on light or light on dark, to MNIST's form.
 * @param {Uint8Array} picture row by row
 * @param {number} height
 * @param {number} width
 * @returns {Digit | null} null if nothing stands out from the background
 */
export function digitFromPicture(picture, height, width) {
  if (picture.length !== height * width) {
    throw new RangeError(`picture must have ${height} × ${width} pixels, got ${picture.length}`);
  }
  if (picture.length === 0) return null;
  const original = prepare({ values: picture, height, width });
  const isInverted = isDarkOnLight(original);
  const reduced = isInverted ? prepare({ values: picture.map((value) => 255 - value), height, width }) : original;
  const levels = levelsOf(reduced.values);
  if (levels === null) return null;
  if (!isInverted && height === SIZE && width === SIZE) return { image: picture.slice(), numShapes: 1 };
  const ink = { ...reduced, values: stretch(reduced.values, levels.background, levels.ink) };
  const { shape, numShapes } = largestShape(ink);
  return { image: centre(fitBox(shape)), numShapes };
}

/**
 * Resize to a longer side of 20 pixels by exact area averaging, and stretch to a maximum of 255.
 * @param {Grid<Uint8Array>} shape
 * @returns {Grid<Uint8Array>}
 */
function fitBox(shape) {
  const longer = Math.max(shape.height, shape.width);
  const height = Math.max(1, divide(BOX * shape.height, longer));
  const width = Math.max(1, divide(BOX * shape.width, longer));
  const sums = areaSums(shape, height, width);
  const resized = sums.map((each) => divide(each, shape.height * shape.width));
  const greatest = Math.max(...resized);
  return { values: Uint8Array.from(resized, (value) => divide(255 * value, greatest)), height, width };
}

/**
 * @param {Grid<Uint8Array>} shape
 * @param {number} height
 * @param {number} width
 * @returns {number[]} sums of pixels by how much of each is covered, in units of 1 / (height × width) pixels
 */
function areaSums(shape, height, width) {
  const sums = new Array(height * width).fill(0);
  const columns = Array.from({ length: width }, (_, x) => coverage(x, width, shape.width));
  for (let y = 0; y < height; y++) {
    for (const { index: row, weight } of coverage(y, height, shape.height)) {
      const line = shape.values.subarray(row * shape.width, (row + 1) * shape.width);
      for (let x = 0; x < width; x++) {
        for (const column of columns[x]) sums[y * width + x] += weight * column.weight * line[column.index];
      }
    }
  }
  return sums;
}

/**
 * By how much one of `n` equal parts of a side of `size` pixels covers each pixel, in units of 1/n pixel.
 * @param {number} part
 * @param {number} n
 * @param {number} size
 * @returns {{index: number, weight: number}[]} the pixels that it covers
 */
function coverage(part, n, size) {
  const first = Math.floor((part * size) / n);
  const stop = Math.ceil(((part + 1) * size) / n);
  return Array.from({ length: stop - first }, (_, i) => {
    const index = first + i;
    const weight = Math.min((part + 1) * size, (index + 1) * n) - Math.max(part * size, index * n);
    return { index, weight };
  });
}

/**
 * Place by the centre of mass.
 * @param {Grid<Uint8Array>} digit
 * @returns {Uint8Array} 28 × 28 pixels
 */
function centre({ values, height, width }) {
  const rows = new Array(height).fill(0);
  const columns = new Array(width).fill(0);
  values.forEach((value, i) => {
    rows[Math.floor(i / width)] += value;
    columns[i % width] += value;
  });
  const start = offset(rows) * SIZE + offset(columns);
  const image = new Uint8Array(SIZE * SIZE);
  for (let y = 0; y < height; y++) image.set(values.subarray(y * width, (y + 1) * width), start + y * SIZE);
  return image;
}

/**
 * Where a side of these masses starts.
 * @param {number[]} masses
 * @returns {number}
 */
function offset(masses) {
  const total = sum(masses);
  const moment = sum(masses.map((mass, i) => mass * i));
  const start = Math.floor(((2 * CENTRE + 1) * total - 2 * moment) / (2 * total)); // floor(14.5 - centre of mass)
  return Math.min(Math.max(start, 0), SIZE - masses.length);
}
