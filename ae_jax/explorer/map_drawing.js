/** What the map draws, on a canvas in CSS pixels. */
import { cssColor } from "./drawing.js";
import { MARGIN } from "./map_geometry.js";

/**
 * @typedef {import("./map_geometry.js").Spot} Spot
 * @typedef {import("./map_geometry.js").Scale} Scale
 * @typedef {import("./projection.js").Projection} Projection
 * @typedef {{names: string[], colors: string[], indices: number[]}} Labels
 *   names and colours of the distinct labels, and for each point the index of its label
 */

export const MAX_NAMED = 30; // labels in the legend and on the map
const RADIUS = 2.6; // CSS pixels
const CUBE = [-1, 1].flatMap((x) => [-1, 1].flatMap((y) => [-1, 1].map((z) => [x, y, z])));

/**
 * Draw the points, from back to front; `highlighted` is the index of a label.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Spot[]} spots
 * @param {Labels | null} labels
 * @param {number | null} highlighted
 */
export function drawPoints(context, spots, labels, highlighted) {
  const order = spots.map((_, i) => i).sort((a, b) => spots[a].depth - spots[b].depth);
  const unlabelled = cssColor("--accent");
  context.strokeStyle = cssColor("--outline");
  context.lineWidth = 0.6;
  for (const i of order) {
    const isDim = highlighted !== null && labels?.indices[i] !== highlighted;
    context.globalAlpha = isDim ? 0.08 : 0.75 + 0.25 * spots[i].depth;
    context.fillStyle = labels ? labels.colors[labels.indices[i]] : unlabelled;
    context.beginPath();
    context.arc(spots[i].x, spots[i].y, RADIUS * (1 + 0.3 * spots[i].depth), 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }
  context.globalAlpha = 1;
}

/**
 * Write each label at the median of its points, unless there are too many to read.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Spot[]} spots
 * @param {Labels} labels
 * @param {number | null} highlighted
 */
export function drawLabels(context, spots, labels, highlighted) {
  context.font = "700 17px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  if (labels.names.length > MAX_NAMED) return;
  for (const [index, name] of labels.names.entries()) {
    if (highlighted !== null && index !== highlighted) continue;
    const own = spots.filter((_, i) => labels.indices[i] === index);
    drawText(context, name, median(own.map((spot) => spot.x)), median(own.map((spot) => spot.y)));
  }
}

/** @type {(context: CanvasRenderingContext2D, projection: Projection, scale: Scale) => void} */
export function drawFrame(context, { axes, isJittered }, { low, high }) {
  const { clientWidth: width, clientHeight: height } = context.canvas;
  const margin = MARGIN - 8;
  context.strokeStyle = cssColor("--line");
  context.strokeRect(margin, margin, width - 2 * margin, height - 2 * margin);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = cssColor("--muted");
  context.textBaseline = "middle";
  const ends = low.map((value, axis) => [value, high[axis]].map((end) => end.toPrecision(2)));
  writeAxis(context, axes[0], ends[0], margin, width - margin, height - margin / 2);
  context.save();
  context.rotate(-Math.PI / 2);
  writeAxis(context, axes[1], isJittered ? ["", ""] : ends[1], margin - height, -margin, margin / 2);
  context.restore();
}

/** @type {(context: CanvasRenderingContext2D, name: string, ends: string[], ...place: number[]) => void} */
function writeAxis(context, name, [low, high], left, right, y) {
  context.textAlign = "left";
  context.fillText(low, left, y);
  context.textAlign = "right";
  context.fillText(high, right, y);
  context.textAlign = "center";
  const isShort = context.measureText(name).width + 80 > right - left;
  context.fillText(isShort ? name.replace("principal component", "PC") : name, (left + right) / 2, y);
}

/** @type {(context: CanvasRenderingContext2D, toSpot: (unit: number[]) => Spot) => void} */
export function drawCube(context, toSpot) {
  context.strokeStyle = cssColor("--line");
  context.lineWidth = 1;
  for (const corner of CUBE) {
    for (const axis of [0, 1, 2].filter((axis) => corner[axis] < 0)) {
      const [from, to] = [toSpot(corner), toSpot(replaced(corner, axis, 1))];
      context.beginPath();
      context.moveTo(from.x, from.y);
      context.lineTo(to.x, to.y);
      context.stroke();
    }
  }
}

/** @type {(context: CanvasRenderingContext2D, axes: string[], toSpot: (unit: number[]) => Spot) => void} */
export function nameEdges(context, axes, toSpot) {
  context.font = "13px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const axis of [0, 1, 2]) {
    const { x, y } = toSpot(replaced([-1.1, -1.1, -1.1], axis, axis === 2 ? 1 : 0)); // the upright edge stands among points
    drawText(context, axes[axis].replace("latent dimension ", "z"), x, y);
  }
}

/** @type {(context: CanvasRenderingContext2D, from: Spot, to: Spot) => void} */
export function drawLine(context, from, to) {
  context.strokeStyle = cssColor("--text");
  context.lineWidth = 1.5;
  context.setLineDash([5, 4]);
  context.beginPath();
  context.moveTo(from.x, from.y);
  context.lineTo(to.x, to.y);
  context.stroke();
  context.setLineDash([]);
}

/** @type {(context: CanvasRenderingContext2D, spot: Spot, name: string) => void} */
export function drawRing(context, { x, y }, name) {
  context.strokeStyle = cssColor("--text");
  context.lineWidth = 2;
  context.beginPath();
  context.arc(x, y, 7, 0, 2 * Math.PI);
  context.stroke();
  context.font = "700 14px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  if (name) drawText(context, name, x, y - 17);
}

/** @type {(context: CanvasRenderingContext2D, spot: Spot) => void} */
export function drawCross(context, { x, y }) {
  for (const [color, lineWidth] of /** @type {[string, number][]} */ ([
    ["--card", 6],
    ["--accent", 3],
  ])) {
    context.strokeStyle = cssColor(color);
    context.lineWidth = lineWidth;
    context.beginPath();
    context.moveTo(x - 9, y);
    context.lineTo(x + 9, y);
    context.moveTo(x, y - 9);
    context.lineTo(x, y + 9);
    context.stroke();
  }
}

/** @type {(context: CanvasRenderingContext2D, text: string, x: number, y: number) => void} */
function drawText(context, text, x, y) {
  context.lineWidth = 4;
  context.lineJoin = "round";
  context.strokeStyle = cssColor("--card");
  context.strokeText(text, x, y);
  context.fillStyle = cssColor("--text");
  context.fillText(text, x, y);
}

/** @type {(corner: number[], axis: number, value: number) => number[]} */
function replaced(corner, axis, value) {
  return corner.map((each, i) => (i === axis ? value : each));
}

/** @type {(values: number[]) => number} */
function median(values) {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
}
