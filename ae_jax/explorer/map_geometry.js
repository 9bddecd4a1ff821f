/**
 * From places of latent codes to spots on the canvas, and back.
 *
 * @typedef {{yaw: number, pitch: number}} View angles in radians
 * @typedef {{x: number, y: number, depth: number}} Spot CSS pixels; `depth` from -1, the back, to 1
 * @typedef {{
 *   low: number[], high: number[],
 *   toUnit: (place: number[]) => number[], fromUnit: (unit: number[]) => number[],
 * }} Scale between places and the unit cube, from -1 to 1 along each axis; `low` and `high` are its ends
 */

export const MARGIN = 34; // CSS pixels around the points, for the names of the axes
const HIT_RADIUS = 14; // CSS pixels
const OUTLIERS = 0.005; // share of points beyond either end of an axis of the cube, in three dimensions
const DIAGONAL = Math.sqrt(3);

/** @type {(points: number[][]) => Scale} */
export function makeScale(points) {
  const sorted = points[0].map((_, axis) => points.map((point) => point[axis]).sort((a, b) => a - b));
  const rank = Math.floor(points.length * (points[0].length === 3 ? OUTLIERS : 0));
  const low = sorted.map((values) => values[rank]);
  const high = sorted.map((values) => values[values.length - 1 - rank]);
  const half = low.map((value, axis) => Math.max((high[axis] - value) / 2, 1e-6));
  return {
    low,
    high,
    toUnit: (place) => place.map((value, axis) => (value - low[axis]) / half[axis] - 1),
    fromUnit: (unit) => unit.map((value, axis) => (value + 1) * half[axis] + low[axis]),
  };
}

/** @type {(unit: number[], view: View, width: number, height: number) => Spot} */
export function toSpot(unit, view, width, height) {
  if (unit.length === 2) {
    return {
      x: width / 2 + unit[0] * (width / 2 - MARGIN),
      y: height / 2 - unit[1] * (height / 2 - MARGIN),
      depth: 0,
    };
  }
  const [right, up, towards] = rotate(unit, view);
  const size = (Math.min(width, height) / 2 - MARGIN / 2) / 1.5;
  const depth = Math.max(-1, Math.min(1, towards / DIAGONAL)); // outliers lie outside the cube
  return { x: width / 2 + right * size, y: height / 2 - up * size, depth };
}

/** The inverse of `toSpot` in two dimensions. @type {(x: number, y: number, width: number, height: number) => number[]} */
export function toUnit2d(x, y, width, height) {
  return [(x - width / 2) / (width / 2 - MARGIN), (height / 2 - y) / (height / 2 - MARGIN)];
}

/** The index of the spot next to a point, if it is near. @type {(spots: Spot[], x: number, y: number) => number | null} */
export function nearestSpot(spots, x, y) {
  let nearest = null;
  let least = HIT_RADIUS ** 2;
  for (const [i, spot] of spots.entries()) {
    const distance = (spot.x - x) ** 2 + (spot.y - y) ** 2;
    if (distance < least) [nearest, least] = [i, distance];
  }
  return nearest;
}

/** The nearest spot in a direction, or the same. @type {(spots: Spot[], from: number, direction: number[]) => number} */
export function nextSpot(spots, from, [dx, dy]) {
  let next = from;
  let least = Infinity;
  for (const [i, spot] of spots.entries()) {
    const along = (spot.x - spots[from].x) * dx + (spot.y - spots[from].y) * dy;
    const across = Math.abs((spot.x - spots[from].x) * dy) + Math.abs((spot.y - spots[from].y) * dx);
    if (along > 0.5 && along >= across && along + across < least) [next, least] = [i, along + across];
  }
  return next;
}

/** A point as seen from `view`: right, up and towards the viewer. @type {(point: number[], view: View) => number[]} */
function rotate([x, y, z], { yaw, pitch }) {
  const right = x * Math.cos(yaw) - y * Math.sin(yaw);
  const away = x * Math.sin(yaw) + y * Math.cos(yaw);
  return [right, z * Math.cos(pitch) + away * Math.sin(pitch), z * Math.sin(pitch) - away * Math.cos(pitch)];
}
