/**
 * From latent codes to data points, unit points and canvas points, and back.
 *
 * @typedef {number[]} DataPoint a code on the map: its coordinates, or their projection; two or three of them
 * @typedef {number[]} UnitPoint the same, scaled so that the data points lie between -1 and 1 along each axis
 * @typedef {{x: number, y: number, depth: number}} CanvasPoint CSS pixels; `depth` from -1, the back, to 1
 * @typedef {{yaw: number, pitch: number}} View angles in radians
 * @typedef {{points: string, axes: string[], plane: {mean: string, axes: string} | null}} MapContent
 *   `points` of all images; `plane` with its origin and two orthonormal axes, if codes are projected onto one
 * @typedef {{
 *   dataPoints: DataPoint[], axes: string[], is3d: boolean, isJittered: boolean,
 *   toDataPoint: (latents: Float32Array) => DataPoint, toLatents: (dataPoint: DataPoint) => Float32Array,
 * }} Projection the second axis `isJittered` in one latent dimension; `toLatents` is for two-dimensional maps
 * @typedef {{
 *   low: DataPoint, high: DataPoint,
 *   toUnitPoint: (dataPoint: DataPoint) => UnitPoint, toDataPoint: (unitPoint: UnitPoint) => DataPoint,
 * }} Scale `low` and `high` are the ends of the axes
 */
import { toFloats } from "./drawing.js";

export const MARGIN = 34; // CSS pixels around the points, for the names of the axes
const HIT_RADIUS = 14; // CSS pixels
const OUTLIERS = 0.005; // share of points beyond either end of an axis of the cube, in three dimensions
const DIAGONAL = Math.sqrt(3);

/** @type {(content: MapContent, latentDim: number) => Projection} */
export function makeProjection(content, latentDim) {
  const numbers = toFloats(content.points);
  const dims = content.axes.length;
  const dataPoints = Array.from({ length: numbers.length / dims }, (_, i) =>
    Array.from(numbers.subarray(i * dims, (i + 1) * dims)),
  );
  const plane = content.plane && { mean: toFloats(content.plane.mean), axes: toFloats(content.plane.axes) };
  const middle = dataPoints.reduce((sum, point) => sum + point[1], 0) / dataPoints.length;
  return {
    dataPoints,
    axes: content.axes,
    is3d: dims === 3,
    isJittered: latentDim === 1,
    toDataPoint: (latents) => {
      if (plane) return [0, 1].map((i) => dot(latents, plane.mean, plane.axes, i));
      return latentDim === 1 ? [latents[0], middle] : Array.from(latents);
    },
    toLatents: ([x, y]) => {
      if (plane) return plane.mean.map((value, i) => value + x * plane.axes[i] + y * plane.axes[latentDim + i]);
      return Float32Array.from([x, y].slice(0, latentDim));
    },
  };
}

/** @type {(dataPoints: DataPoint[]) => Scale} */
export function makeScale(dataPoints) {
  const sorted = dataPoints[0].map((_, axis) => dataPoints.map((point) => point[axis]).sort((a, b) => a - b));
  const rank = Math.floor(dataPoints.length * (dataPoints[0].length === 3 ? OUTLIERS : 0));
  const low = sorted.map((values) => values[rank]);
  const high = sorted.map((values) => values[values.length - 1 - rank]);
  const half = low.map((value, axis) => Math.max((high[axis] - value) / 2, 1e-6));
  return {
    low,
    high,
    toUnitPoint: (dataPoint) => dataPoint.map((value, axis) => (value - low[axis]) / half[axis] - 1),
    toDataPoint: (unitPoint) => unitPoint.map((value, axis) => (value + 1) * half[axis] + low[axis]),
  };
}

/** @type {(unitPoint: UnitPoint, view: View, width: number, height: number) => CanvasPoint} */
export function toCanvasPoint(unitPoint, view, width, height) {
  if (unitPoint.length === 2) {
    return {
      x: width / 2 + unitPoint[0] * (width / 2 - MARGIN),
      y: height / 2 - unitPoint[1] * (height / 2 - MARGIN),
      depth: 0,
    };
  }
  const [right, up, towards] = rotate(unitPoint, view);
  const size = (Math.min(width, height) / 2 - MARGIN / 2) / 1.5;
  const depth = Math.max(-1, Math.min(1, towards / DIAGONAL)); // outliers lie outside the cube
  return { x: width / 2 + right * size, y: height / 2 - up * size, depth };
}

/**
 * The inverse of `toCanvasPoint` in two dimensions.
 *
 * @type {(x: number, y: number, width: number, height: number) => UnitPoint}
 */
export function toUnitPoint(x, y, width, height) {
  return [(x - width / 2) / (width / 2 - MARGIN), (height / 2 - y) / (height / 2 - MARGIN)];
}

/** The index of the point nearest to (x, y), if it is near. @type {(points: CanvasPoint[], x: number, y: number) => number | null} */
export function nearestPoint(points, x, y) {
  let nearest = null;
  let least = HIT_RADIUS ** 2;
  for (const [i, point] of points.entries()) {
    const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
    if (distance < least) [nearest, least] = [i, distance];
  }
  return nearest;
}

/** The nearest point in a direction, or the same. @type {(points: CanvasPoint[], from: number, direction: number[]) => number} */
export function nextPoint(points, from, [dx, dy]) {
  let next = from;
  let least = Infinity;
  for (const [i, point] of points.entries()) {
    const along = (point.x - points[from].x) * dx + (point.y - points[from].y) * dy;
    const across = Math.abs((point.x - points[from].x) * dy) + Math.abs((point.y - points[from].y) * dx);
    if (along > 0.5 && along >= across && along + across < least) [next, least] = [i, along + across];
  }
  return next;
}

/** A point as seen from `view`: right, up and towards the viewer. @type {(point: UnitPoint, view: View) => number[]} */
function rotate([x, y, z], { yaw, pitch }) {
  const right = x * Math.cos(yaw) - y * Math.sin(yaw);
  const away = x * Math.sin(yaw) + y * Math.cos(yaw);
  return [right, z * Math.cos(pitch) + away * Math.sin(pitch), z * Math.sin(pitch) - away * Math.cos(pitch)];
}

/** @type {(latents: Float32Array, mean: Float32Array, axes: Float32Array, axis: number) => number} */
function dot(latents, mean, axes, axis) {
  const offset = axis * latents.length;
  return latents.reduce((sum, value, i) => sum + (value - mean[i]) * axes[offset + i], 0);
}
