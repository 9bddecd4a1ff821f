/**
 * From latent codes to data points, unit points and canvas points, and back.
 *
 * @typedef {number[]} DataPoint a code on the map: its coordinates, or their projection; two or three of them
 * @typedef {number[]} UnitPoint the same, scaled so that the data points lie between -1 and 1 along each axis
 * @typedef {{x: number, y: number, depth: number}} CanvasPoint CSS pixels; `depth` from -1, the back, to 1
 * @typedef {{yaw: number, pitch: number, zoom: number, pan: {x: number, y: number}, width: number, height: number}} View
 *   angles in radians; `pan` moves the enlarged map, in CSS pixels
 * @typedef {{points: string, axes: string[], plane: {mean: string, axes: string} | null}} MapContent
 *   `points` of all images; `plane` with its origin and two orthonormal axes, if codes are projected onto one
 * @typedef {{
 *   dataPoints: DataPoint[], axes: string[], is3d: boolean, isJittered: boolean, isPlane: boolean,
 *   toDataPoint: (latents: Float32Array) => DataPoint, toLatents: (dataPoint: DataPoint) => Float32Array,
 * }} Projection the second axis `isJittered` in one latent dimension; `isPlane` in more than three
 * @typedef {{toUnitPoint: (dataPoint: DataPoint) => UnitPoint, toDataPoint: (unitPoint: UnitPoint) => DataPoint}} Scale
 */
import { DEPTH_RADIUS, MARGIN, OUTLIERS } from "./constants.js";
import { clamp, rows, toFloats } from "./drawing.js";

const DIAGONAL = Math.sqrt(3);

/** @type {(content: MapContent, latentDim: number) => Projection} */
export function makeProjection(content, latentDim) {
  const dims = content.axes.length;
  const dataPoints = rows(toFloats(content.points), dims).map((row) => Array.from(row));
  const plane = content.plane && { mean: toFloats(content.plane.mean), axes: toFloats(content.plane.axes) };
  const middle = dataPoints.reduce((sum, point) => sum + point[1], 0) / dataPoints.length;
  return {
    dataPoints,
    axes: content.axes,
    is3d: dims === 3,
    isJittered: latentDim === 1,
    isPlane: plane !== null,
    toDataPoint: (latents) => {
      if (plane) return [0, 1].map((i) => dot(latents, plane.mean, plane.axes, i));
      return latentDim === 1 ? [latents[0], middle] : Array.from(latents);
    },
    toLatents: (dataPoint) => {
      if (!plane) return Float32Array.from(dataPoint.slice(0, latentDim));
      const [x, y] = dataPoint;
      return plane.mean.map((value, i) => value + x * plane.axes[i] + y * plane.axes[latentDim + i]);
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
    toUnitPoint: (dataPoint) => dataPoint.map((value, axis) => (value - low[axis]) / half[axis] - 1),
    toDataPoint: (unitPoint) => unitPoint.map((value, axis) => (value + 1) * half[axis] + low[axis]),
  };
}

/** @type {(unitPoint: UnitPoint, view: View) => CanvasPoint} */
export function toCanvasPoint(unitPoint, view) {
  const [right, up, depth] = unitPoint.length === 2 ? [...unitPoint, 0] : turned(unitPoint, view);
  const [scaleX, scaleY] = canvasScale(view, unitPoint.length);
  return { x: view.width / 2 + view.pan.x + right * scaleX, y: view.height / 2 + view.pan.y - up * scaleY, depth };
}

/**
 * The unit point under (x, y); in three dimensions as deep in the space as the `canvasPoints` around it.
 *
 * @type {(x: number, y: number, view: View, dims: number, canvasPoints: CanvasPoint[]) => UnitPoint}
 */
export function toUnitPoint(x, y, view, dims, canvasPoints) {
  const [scaleX, scaleY] = canvasScale(view, dims);
  const [right, up] = [(x - view.width / 2 - view.pan.x) / scaleX, (view.height / 2 + view.pan.y - y) / scaleY];
  if (dims === 2) return [right, up];
  let [sum, total] = [0, 1e-9];
  for (const point of canvasPoints) {
    const weight = Math.exp(-((point.x - x) ** 2 + (point.y - y) ** 2) / (2 * DEPTH_RADIUS ** 2));
    sum += weight * point.depth;
    total += weight;
  }
  return unturned([right, up, (sum / total) * DIAGONAL], view);
}

/** The index of the point nearest to (x, y), if within `radius`. @type {(points: CanvasPoint[], x: number, y: number, radius: number) => number | null} */
export function nearestPoint(points, x, y, radius) {
  let nearest = null;
  let least = radius ** 2;
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

/** CSS pixels per unit, across and up. @type {(view: View, dims: number) => number[]} */
function canvasScale({ width, height, zoom }, dims) {
  const halves = [width / 2 - MARGIN, height / 2 - MARGIN];
  const size = (Math.min(width, height) / 2 - MARGIN / 4) / DIAGONAL;
  return (dims === 2 ? halves : [size, size]).map((scale) => scale * zoom);
}

/** A point as seen from `view`: right, up, and depth; outliers lie outside the cube. @type {(point: UnitPoint, view: View) => number[]} */
function turned([x, y, z], { yaw, pitch }) {
  const right = x * Math.cos(yaw) - y * Math.sin(yaw);
  const away = x * Math.sin(yaw) + y * Math.cos(yaw);
  const towards = z * Math.sin(pitch) - away * Math.cos(pitch);
  return [right, z * Math.cos(pitch) + away * Math.sin(pitch), clamp(towards / DIAGONAL, -1, 1)];
}

/** The inverse: from right, up and towards the viewer. @type {(point: number[], view: View) => UnitPoint} */
function unturned([right, up, towards], { yaw, pitch }) {
  const z = up * Math.cos(pitch) + towards * Math.sin(pitch);
  const away = up * Math.sin(pitch) - towards * Math.cos(pitch);
  return [right * Math.cos(yaw) + away * Math.sin(yaw), away * Math.cos(yaw) - right * Math.sin(yaw), z];
}

/** @type {(latents: Float32Array, mean: Float32Array, axes: Float32Array, axis: number) => number} */
function dot(latents, mean, axes, axis) {
  const offset = axis * latents.length;
  return latents.reduce((sum, value, i) => sum + (value - mean[i]) * axes[offset + i], 0);
}
