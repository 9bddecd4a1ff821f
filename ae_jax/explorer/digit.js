/**
 * A picture of a digit, brought to MNIST's form: the same function as `ae_jax.digit_from_picture`, bit for bit.
 * `ae_jax/data/digit.py` describes and justifies the steps.
 */

const SIZE = 28;
const BOX = 20;
const CENTRE = 14;
const MAX_SIDE = 256;
const MIN_CONTRAST = 32;
const FAINTEST = 6;
const GAP = 10;
const SPECK = 20;

/**
 * Pixels, labels or masses, row by row.
 * @template {Uint8Array | Int32Array} Values
 * @typedef {{values: Values, height: number, width: number}} Grid
 */

/** @typedef {{top: number, bottom: number, left: number, right: number}} Box without `bottom` and `right` */

/** @typedef {{image: Uint8Array, numShapes: number}} Digit 28 × 28 pixels; the shapes, of which it is the largest */

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
 * @param {Grid<Uint8Array>} picture
 * @returns {Grid<Uint8Array>} reduced and evenly lit
 */
function prepare(picture) {
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
function isDarkOnLight(picture) {
  const [top, bottom, left, right] = sidesOf(picture);
  const border = [...top, ...bottom, ...left.slice(1, -1), ...right.slice(1, -1)];
  return twiceMedian(border) > twiceOtsuThreshold(histogramOf(picture.values));
}

/**
 * The background's level and that of the ink in a picture that is light on dark; null if they are too close.
 * @param {Uint8Array} values
 * @returns {{background: number, ink: number} | null}
 */
function levelsOf(values) {
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
function stretch(values, background, ink) {
  const contrast = ink - background;
  return values.map((value) => {
    const above = value - background;
    return FAINTEST * above < contrast ? 0 : Math.min(divide(255 * above, contrast), 255);
  });
}

/**
 * The shape with most pixels, cropped to its bounding box, and the number of shapes.
 * @param {Grid<Uint8Array>} ink
 * @returns {{shape: Grid<Uint8Array>, numShapes: number}}
 */
function largestShape(ink) {
  const pieces = components(ink, ink.values);
  const { top, bottom, left, right } = boundingBox(pieces.labels, pieces.largest);
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

/**
 * @param {number} numerator
 * @param {number} denominator
 * @returns {number} the quotient of integers, rounded half up
 */
function divide(numerator, denominator) {
  return Math.floor((2 * numerator + denominator) / (2 * denominator));
}

/**
 * @param {number[]} numbers
 * @returns {number}
 */
function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}
