/**
 * Greyscale pixels, labels or masses, row by row, and arithmetic with integers.
 *
 * @template {Uint8Array | Int32Array} Values
 * @typedef {{values: Values, height: number, width: number}} Grid
 */

/** @typedef {{top: number, bottom: number, left: number, right: number}} Box without `bottom` and `right` */

/**
 * @param {number} numerator
 * @param {number} denominator
 * @returns {number} the quotient of integers, rounded half up
 */
export function divide(numerator, denominator) {
  return Math.floor((2 * numerator + denominator) / (2 * denominator));
}

/**
 * @param {number[]} numbers
 * @returns {number}
 */
export function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}
