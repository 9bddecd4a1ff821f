/** What the map draws, on a canvas in CSS pixels. */
import { GRID_CELL, MARK, MAX_NAMED, RADIUS, SIDE } from "./constants.js";
import { cssColor, drawSegment, imageCanvas } from "./drawing.js";

/**
 * @typedef {import("./map_geometry.js").CanvasPoint} CanvasPoint
 * @typedef {import("./map_geometry.js").UnitPoint} UnitPoint
 * @typedef {{names: string[], colors: string[], indices: number[]}} Labels
 *   names and colours of the distinct labels, and for each point the index of its label
 */

const CUBE = [-1, 1].flatMap((x) => [-1, 1].flatMap((y) => [-1, 1].map((z) => [x, y, z])));

/** Draw the points, from back to front, as their labels if these are digits; `highlighted` is the index of a label. @type {(context: CanvasRenderingContext2D, points: CanvasPoint[], labels: Labels | null, highlighted: number | null) => void} */
export function drawPoints(context, points, labels, highlighted) {
  const order = points.map((_, i) => i).sort((a, b) => points[a].depth - points[b].depth);
  const accent = cssColor("--accent");
  const isText = labels?.names.every((name) => name.length === 1);
  context.strokeStyle = cssColor("--card");
  context.lineWidth = isText ? 1.6 : 0.6;
  context.font = `700 ${MARK}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const i of order) {
    const { x, y, depth } = points[i];
    const isDim = highlighted !== null && labels?.indices[i] !== highlighted;
    context.globalAlpha = isDim ? 0.1 : 1;
    context.fillStyle = labels ? labels.colors[labels.indices[i]] : accent;
    if (isText && labels) {
      context.strokeText(labels.names[labels.indices[i]], x, y);
      context.fillText(labels.names[labels.indices[i]], x, y);
    } else {
      context.beginPath();
      context.arc(x, y, RADIUS * (1 + 0.3 * depth), 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    }
  }
  context.globalAlpha = 1;
}

/** Write each label at the median of its points, beside labels that are there already. @type {(context: CanvasRenderingContext2D, points: CanvasPoint[], labels: Labels, highlighted: number | null) => void} */
export function drawLabels(context, points, labels, highlighted) {
  if (labels.names.length > MAX_NAMED) return;
  context.font = "700 20px system-ui, sans-serif";
  const boxes = labels.names.flatMap((name, index) => {
    const own = points.filter((_, i) => labels.indices[i] === index);
    if (!own.length || (highlighted !== null && index !== highlighted)) return [];
    const half = context.measureText(name).width / 2 + 3;
    return [{ name, half, x: median(own.map(({ x }) => x)), y: median(own.map(({ y }) => y)) }];
  });
  for (let round = 0; round < 100; round++) {
    for (const [i, box] of boxes.entries()) for (const other of boxes.slice(0, i)) separate(box, other);
  }
  for (const { name, x, y } of boxes) {
    drawText(context, "700 20px", name, x, y);
  }
}

/** Move two overlapping labels apart, along the shorter way. @type {(a: {x: number, y: number, half: number}, b: {x: number, y: number, half: number}) => void} */
function separate(a, b) {
  const overlapX = a.half + b.half - Math.abs(a.x - b.x);
  const overlapY = 24 - Math.abs(a.y - b.y);
  if (overlapX <= 0 || overlapY <= 0) return;
  const [axis, overlap] =
    overlapX < overlapY ? [/** @type {const} */ ("x"), overlapX] : [/** @type {const} */ ("y"), overlapY];
  const shift = (a[axis] < b[axis] ? -1 : 1) * (overlap / 2 + 0.5);
  a[axis] += shift;
  b[axis] -= shift;
}

/** Images behind the points, each in a cell round its place: bright pixels as faint ink. @type {(context: CanvasRenderingContext2D, cells: {image: Float32Array, x: number, y: number}[]) => void} */
export function drawGrid(context, cells) {
  const ink = (cssColor("--text").match(/\d+/g) ?? []).map(Number);
  for (const { image, x, y } of cells) {
    const canvas = imageCanvas(image, SIDE, (pixel) => [...ink, 90 * pixel]);
    context.drawImage(canvas, x - GRID_CELL / 2, y - GRID_CELL / 2, GRID_CELL, GRID_CELL);
  }
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
  context.arc(x, y, 9, 0, 2 * Math.PI);
  context.stroke();
  if (name) drawText(context, "700 14px", name, x, y - 19);
}

/** @type {(context: CanvasRenderingContext2D, point: CanvasPoint) => void} */
export function drawCross(context, { x, y }) {
  for (const [color, lineWidth] of /** @type {[string, number][]} */ ([
    ["--card", 7],
    ["--text", 3],
  ])) {
    context.strokeStyle = cssColor(color);
    context.lineWidth = lineWidth;
    drawSegment(context, { x: x - 11, y }, { x: x + 11, y });
    drawSegment(context, { x, y: y - 11 }, { x, y: y + 11 });
  }
}

/** @type {(context: CanvasRenderingContext2D, font: string, text: string, x: number, y: number) => void} */
function drawText(context, font, text, x, y) {
  context.font = `${font} system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = 5;
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
