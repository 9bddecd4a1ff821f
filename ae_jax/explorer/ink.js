/** Ink and background of a picture of any size, light on dark or dark on light. */
import { divide, sum } from "./grid.js";

/**
 * @template {Uint8Array | Int32Array} Values
 * @typedef {import("./grid.js").Grid<Values>} Grid
 */

/** @typedef {import("./grid.js").Box} Box */

const MAX_SIDE = 256;
const MIN_CONTRAST = 32;
const FAINTEST = 6;

/**
 * @param {Grid<Uint8Array>} picture
 * @returns {Grid<Uint8Array>} reduced and evenly lit
 */
export function prepare(picture) {
  return evenLighting(reduce(picture));
}

/**
 * The means of square blocks; blocks at the right and at the bottom may be smaller.
 * @param {Grid<Uint8Array>} picture
 * @returns {Grid<Uint8Array>}
 */
function reduce(picture) {
  const side = Math.ceil(Math.max(picture.height, picture.width) / MAX_SIDE);
  if (side === 1) return picture;
  const height = Math.ceil(picture.height / side);
  const width = Math.ceil(picture.width / side);
  const values = new Uint8Array(height * width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const bottom = Math.min((y + 1) * side, picture.height);
      const right = Math.min((x + 1) * side, picture.width);
      values[y * width + x] = mean(picture, { top: y * side, bottom, left: x * side, right });
    }
  }
  return { values, height, width };
}

/**
 * @param {Grid<Uint8Array>} picture
 * @param {Box} box
 * @returns {number}
 */
function mean({ values, width }, { top, bottom, left, right }) {
  let total = 0;
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) total += values[y * width + x];
  }
  return divide(total, (bottom - top) * (right - left));
}

/**
 * Subtract the plane through the medians of the four sides, which leaves the value in the centre.
 * @param {Grid<Uint8Array>} picture
 * @returns {Grid<Uint8Array>}
 */
function evenLighting(picture) {
  const { values, height, width } = picture;
  const [top, bottom, left, right] = sidesOf(picture).map(twiceMedian);
  const down = bottom - top;
  const across = right - left;
  if (2 * Math.abs(top + bottom - left - right) > Math.abs(down) + Math.abs(across)) return picture;
  const rows = ramp(down, height);
  const columns = ramp(across, width);
  const even = new Uint8ClampedArray(values.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) even[y * width + x] = values[y * width + x] - rows[y] - columns[x];
  }
  return { values: new Uint8Array(even.buffer), height, width };
}

/**
 * @param {Grid<Uint8Array>} picture
 * @returns {number[][]} top, bottom, left, right
 */
function sidesOf({ values, height, width }) {
  const top = [...values.subarray(0, width)];
  const bottom = [...values.subarray((height - 1) * width)];
  const left = Array.from({ length: height }, (_, y) => values[y * width]);
  const right = Array.from({ length: height }, (_, y) => values[(y + 1) * width - 1]);
  return [top, bottom, left, right];
}

/**
 * From minus half the rise to half the rise.
 * @param {number} twiceRise
 * @param {number} n
 * @returns {number[]}
 */
function ramp(twiceRise, n) {
  return Array.from({ length: n }, (_, i) => divide(twiceRise * (2 * i - (n - 1)), 4 * Math.max(1, n - 1)));
}

/**
 * @param {number[]} values
 * @returns {number}
 */
function twiceMedian(values) {
  const ordered = [...values].sort((a, b) => a - b);
  return ordered[(ordered.length - 1) >> 1] + ordered[ordered.length >> 1];
}

/**
 * @param {Grid<Uint8Array>} picture
 * @returns {boolean} whether the border's median is in the lighter class
 */
export function isDarkOnLight(picture) {
  const [top, bottom, left, right] = sidesOf(picture);
  const border = [...top, ...bottom, ...left.slice(1, -1), ...right.slice(1, -1)];
  return twiceMedian(border) > twiceOtsuThreshold(histogramOf(picture.values));
}

/**
 * The background's level and that of the ink in a picture that is light on dark; null if they are too close.
 * @param {Uint8Array} values
 * @returns {{background: number, ink: number} | null}
 */
export function levelsOf(values) {
  const histogram = histogramOf(values);
  const threshold = twiceOtsuThreshold(histogram);
  const inkCounts = histogram.map((count, value) => (2 * value > threshold ? count : 0));
  const backgroundCounts = histogram.map((count, value) => count - inkCounts[value]);
  const background = quartile(backgroundCounts, 2);
  const ink = quartile(inkCounts, 3);
  return ink - background >= MIN_CONTRAST ? { background, ink } : null;
}

/**
 * @param {Uint8Array} values
 * @returns {number[]} counts of 0 to 255
 */
function histogramOf(values) {
  const counts = new Array(256).fill(0);
  for (const value of values) counts[value]++;
  return counts;
}

/**
 * Twice the threshold that maximises the variance between classes, of equally good ones the middle.
 * @param {number[]} histogram
 * @returns {number}
 */
function twiceOtsuThreshold(histogram) {
  const variances = betweenClassVariances(histogram);
  const greatest = Math.max(...variances);
  return variances.indexOf(greatest) + variances.lastIndexOf(greatest) + 1;
}

/**
 * @param {number[]} histogram
 * @returns {number[]} per greatest value of the darker class
 */
function betweenClassVariances(histogram) {
  const total = sum(histogram);
  const totalSum = sum(histogram.map((count, value) => count * value));
  let counted = 0;
  let moment = 0;
  return histogram.map((count, value) => {
    counted += count;
    moment += count * value;
    const difference = moment * total - totalSum * counted;
    const weight = counted * (total - counted);
    return weight > 0 ? (difference * difference) / weight : 0;
  });
}

/**
 * @param {number[]} histogram
 * @param {number} quarters
 * @returns {number} the least value that `quarters` of four values do not exceed; 0 if there are none
 */
function quartile(histogram, quarters) {
  const total = sum(histogram);
  let counted = 0;
  return histogram.findIndex((count) => {
    counted += count;
    return 4 * counted >= quarters * total;
  });
}

/**
 * @param {Uint8Array} values
 * @param {number} background becomes 0, and so does less than 1/6 of the contrast
 * @param {number} ink becomes 255
 * @returns {Uint8Array}
 */
export function stretch(values, background, ink) {
  const contrast = ink - background;
  return values.map((value) => {
    const above = value - background;
    return FAINTEST * above < contrast ? 0 : Math.min(divide(255 * above, contrast), 255);
  });
}
