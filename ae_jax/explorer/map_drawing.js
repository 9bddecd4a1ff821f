/** What the map draws, on a canvas in CSS pixels. */
import { cssColor, drawSegment } from "./drawing.js";
import { MARGIN } from "./map_geometry.js";

/**
 * @typedef {import("./map_geometry.js").CanvasPoint} CanvasPoint
 * @typedef {import("./map_geometry.js").UnitPoint} UnitPoint
 * @typedef {import("./map_geometry.js").Scale} Scale
 * @typedef {import("./map_geometry.js").Projection} Projection
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
 * @param {CanvasPoint[]} points
 * @param {Labels | null} labels
 * @param {number | null} highlighted
 */
export function drawPoints(context, points, labels, highlighted) {
  const order = points.map((_, i) => i).sort((a, b) => points[a].depth - points[b].depth);
  const unlabelled = cssColor("--accent");
  context.strokeStyle = cssColor("--outline");
  context.lineWidth = 0.6;
  for (const i of order) {
    const isDim = highlighted !== null && labels?.indices[i] !== highlighted;
    context.globalAlpha = isDim ? 0.08 : 0.75 + 0.25 * points[i].depth;
    context.fillStyle = labels ? labels.colors[labels.indices[i]] : unlabelled;
    context.beginPath();
    context.arc(points[i].x, points[i].y, RADIUS * (1 + 0.3 * points[i].depth), 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }
  context.globalAlpha = 1;
}

/**
 * Write each label at the median of its points, unless there are too many to read.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {CanvasPoint[]} points
 * @param {Labels} labels
 * @param {number | null} highlighted
 */
export function drawLabels(context, points, labels, highlighted) {
  if (labels.names.length > MAX_NAMED) return;
  for (const [index, name] of labels.names.entries()) {
    if (highlighted !== null && index !== highlighted) continue;
    const own = points.filter((_, i) => labels.indices[i] === index);
    drawText(context, "700 17px", name, median(own.map((point) => point.x)), median(own.map((point) => point.y)));
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

/** @type {(context: CanvasRenderingContext2D, name: string, ends: string[], ...position: number[]) => void} */
function writeAxis(context, name, [low, high], left, right, y) {
  context.textAlign = "left";
  context.fillText(low, left, y);
  context.textAlign = "right";
  context.fillText(high, right, y);
  context.textAlign = "center";
  const isShort = context.measureText(name).width + 80 > right - left;
  context.fillText(isShort ? name.replace("principal component", "PC") : name, (left + right) / 2, y);
}

/** @type {(context: CanvasRenderingContext2D, toCanvas: (unitPoint: UnitPoint) => CanvasPoint) => void} */
export function drawCube(context, toCanvas) {
  context.strokeStyle = cssColor("--line");
  context.lineWidth = 1;
  for (const corner of CUBE) {
    for (const axis of [0, 1, 2].filter((axis) => corner[axis] < 0)) {
      drawSegment(context, toCanvas(corner), toCanvas(replaced(corner, axis, 1)));
    }
  }
}

/** @type {(context: CanvasRenderingContext2D, axes: string[], toCanvas: (unitPoint: UnitPoint) => CanvasPoint) => void} */
export function nameEdges(context, axes, toCanvas) {
  for (const axis of [0, 1, 2]) {
    const { x, y } = toCanvas(replaced([-1.1, -1.1, -1.1], axis, axis === 2 ? 1 : 0)); // the upright edge stands among points
    drawText(context, "13px", axes[axis].replace("latent dimension ", "z"), x, y);
  }
}

/** @type {(context: CanvasRenderingContext2D, from: CanvasPoint, to: CanvasPoint) => void} */
export function drawLine(context, from, to) {
  context.strokeStyle = cssColor("--text");
  context.lineWidth = 1.5;
  context.setLineDash([5, 4]);
  drawSegment(context, from, to);
  context.setLineDash([]);
}

/** @type {(context: CanvasRenderingContext2D, point: CanvasPoint, name: string) => void} */
export function drawRing(context, { x, y }, name) {
  context.strokeStyle = cssColor("--text");
  context.lineWidth = 2;
  context.beginPath();
  context.arc(x, y, 7, 0, 2 * Math.PI);
  context.stroke();
  if (name) drawText(context, "700 14px", name, x, y - 17);
}

/** @type {(context: CanvasRenderingContext2D, point: CanvasPoint) => void} */
export function drawCross(context, { x, y }) {
  for (const [color, lineWidth] of /** @type {[string, number][]} */ ([
    ["--card", 6],
    ["--accent", 3],
  ])) {
    context.strokeStyle = cssColor(color);
    context.lineWidth = lineWidth;
    drawSegment(context, { x: x - 9, y }, { x: x + 9, y });
    drawSegment(context, { x, y: y - 9 }, { x, y: y + 9 });
  }
}

/** @type {(context: CanvasRenderingContext2D, font: string, text: string, x: number, y: number) => void} */
function drawText(context, font, text, x, y) {
  context.font = `${font} system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
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
