/** The largest of the separate shapes in a picture. */
import { divide } from "./grid.js";

/**
 * @template {Uint8Array | Int32Array} Values
 * @typedef {import("./grid.js").Grid<Values>} Grid
 */

/** @typedef {import("./grid.js").Box} Box */

const GAP = 10;
const SPECK = 20;

/**
 * The shape with most pixels, cropped to its bounding box, and the number of shapes.
 * @param {Grid<Uint8Array>} ink
 * @returns {{shape: Grid<Uint8Array>, numShapes: number}}
 */
export function largestShape(ink) {
  const undilated = components(ink, ink.values);
  const { top, bottom, left, right } = boundingBox(undilated.labels, undilated.largest);
  const radius = divide(Math.max(bottom - top, right - left), GAP);
  const { labels, largest, areas } = components(dilate(ink, radius), ink.values);
  const numShapes = areas.filter((area) => area > 0 && SPECK * area >= areas[largest]).length;
  return { shape: crop(ink, labels, largest), numShapes };
}

/**
 * The 8-connected components of a mask, in the order of their first pixels, and how many pixels of ink each has.
 * @param {Grid<Uint8Array>} mask
 * @param {Uint8Array} ink is 0 where labels are
 * @returns {{labels: Grid<Int32Array>, largest: number, areas: number[]}} labels are from 1 on
 */
function components(mask, ink) {
  const labels = { ...mask, values: new Int32Array(mask.values.length) };
  const stack = new Int32Array(mask.values.length);
  const areas = [0];
  for (let i = 0; i < mask.values.length; i++) {
    if (mask.values[i] && !labels.values[i]) areas.push(fill(mask.values, labels, i, areas.length, ink, stack));
  }
  for (let i = 0; i < ink.length; i++) if (!ink[i]) labels.values[i] = 0;
  return { labels, largest: areas.indexOf(Math.max(...areas)), areas };
}

/**
 * Label the component of a pixel.
 * @param {Uint8Array} mask
 * @param {Grid<Int32Array>} labels
 * @param {number} start index of the pixel
 * @param {number} label
 * @param {Uint8Array} ink
 * @param {Int32Array} stack of indices, used for the time of the call
 * @returns {number} its pixels of ink
 */
function fill(mask, { values, height, width }, start, label, ink, stack) {
  let area = 0;
  let size = 1;
  stack[0] = start;
  values[start] = label;
  while (size > 0) {
    const i = stack[--size];
    const y = Math.floor(i / width);
    const x = i - y * width;
    if (ink[i]) area++;
    const right = Math.min(x + 1, width - 1);
    for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, height - 1); row++) {
      for (let j = row * width + Math.max(x - 1, 0); j <= row * width + right; j++) {
        if (mask[j] && !values[j]) {
          values[j] = label;
          stack[size++] = j;
        }
      }
    }
  }
  return area;
}

/**
 * The mask of pixels with ink at most `radius` rows and columns away.
 * @param {Grid<Uint8Array>} ink
 * @param {number} radius
 * @returns {Grid<Uint8Array>}
 */
function dilate({ values, height, width }, radius) {
  const along = new Uint8Array(values.length);
  const dilated = new Uint8Array(values.length);
  for (let y = 0; y < height; y++) dilateLine(values, along, y * width, 1, width, radius);
  for (let x = 0; x < width; x++) dilateLine(along, dilated, x, width, height, radius);
  return { values: dilated, height, width };
}

/**
 * @param {Uint8Array} from
 * @param {Uint8Array} to
 * @param {number} start index of the line's first pixel
 * @param {number} stride between its pixels
 * @param {number} length
 * @param {number} radius
 */
function dilateLine(from, to, start, stride, length, radius) {
  let marked = 0; // pixels before this one are written
  for (let i = 0; i < length; i++) {
    if (!from[start + i * stride]) continue;
    const stop = Math.min(i + radius + 1, length);
    for (let j = Math.max(i - radius, marked); j < stop; j++) to[start + j * stride] = 1;
    marked = stop;
  }
}

/**
 * @param {Grid<Int32Array>} labels
 * @param {number} label
 * @returns {Box}
 */
function boundingBox({ values, height, width }, label) {
  const box = { top: height, bottom: 0, left: width, right: 0 };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (values[y * width + x] !== label) continue;
      box.top = Math.min(box.top, y);
      box.bottom = y + 1;
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x + 1);
    }
  }
  return box;
}

/**
 * @param {Grid<Uint8Array>} ink
 * @param {Grid<Int32Array>} labels
 * @param {number} label of what remains
 * @returns {Grid<Uint8Array>}
 */
function crop(ink, labels, label) {
  const { top, bottom, left, right } = boundingBox(labels, label);
  const shape = { values: new Uint8Array((bottom - top) * (right - left)), height: bottom - top, width: right - left };
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const i = y * ink.width + x;
      if (labels.values[i] === label) shape.values[(y - top) * shape.width + x - left] = ink.values[i];
    }
  }
  return shape;
}
