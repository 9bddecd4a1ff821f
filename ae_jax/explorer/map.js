/**
 * The map of latent codes: points that can be pointed at, chosen, and, in three dimensions, turned.
 *
 * @typedef {import("./projection.js").Projection} Projection
 * @typedef {import("./projection.js").View} View
 * @typedef {{x: number, y: number, depth: number}} Spot a place on the canvas, in CSS pixels; `depth` in [-1, 1]
 * @typedef {{
 *   onPoint: (index: number | null, spot: Spot | null) => void,
 *   onChoose: (index: number) => void,
 *   onChoosePlace: (place: number[]) => void,
 * }} Handlers
 * @typedef {{
 *   mark: (place: number[]) => void, connect: (ends: number[]) => void, highlight: (label: number | null) => void,
 *   redraw: () => void,
 * }} CodeMap `mark` the present code, `connect` two images by a line, `highlight` those of a label
 */
import { cssColor, oncePerFrame, prepare } from "./drawing.js";
import { rotate } from "./projection.js";

const MARGIN = 34; // CSS pixels around the points, for the names of the axes
const REACH = 14; // CSS pixels within which a point is meant
const RADIUS = 2.6;
const OUTLIERS = 0.005; // share of points beyond either end of an axis of the cube
const TURN = 0.008; // radians per CSS pixel of dragging
const KEY_TURN = 0.15; // radians
const ARROWS = new Map([
  ["ArrowLeft", [-1, 0]],
  ["ArrowRight", [1, 0]],
  ["ArrowUp", [0, -1]],
  ["ArrowDown", [0, 1]],
]);
const CUBE = [-1, 1].flatMap((x) => [-1, 1].flatMap((y) => [-1, 1].map((z) => [x, y, z])));

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Projection} projection
 * @param {number[] | null} labels
 * @param {string[]} colors per label, repeated
 * @param {Handlers} handlers
 * @returns {CodeMap}
 */
export function makeMap(canvas, projection, labels, colors, handlers) {
  const is3d = projection.axes.length === 3;
  const scale = makeScale(projection.points);
  /** @type {View} */
  const view = { yaw: 0.6, pitch: 0.35 };
  /** @type {Spot[]} */
  let spots = [];
  /** @type {number[] | null} */
  let marked = null;
  /** @type {number[]} */
  let ends = [];
  /** @type {number | null} */
  let pointed = null;
  /** @type {number | null} */
  let highlighted = null;

  const redraw = oncePerFrame(() => {
    const { context, width, height } = prepare(canvas);
    const toSpot = (/** @type {number[]} */ place) => placeOnCanvas(scale.toUnit(place), view, width, height);
    spots = projection.points.map(toSpot);
    const unitToSpot = (/** @type {number[]} */ unit) => placeOnCanvas(unit, view, width, height);
    if (is3d) drawCube(context, unitToSpot);
    else drawFrame(context, projection.axes, scale);
    drawPoints(context, spots, labels, colors, highlighted);
    if (labels) drawLabels(context, spots, labels, highlighted);
    if (is3d) nameEdges(context, projection.axes, unitToSpot);
    if (ends.length === 2) drawLine(context, spots[ends[0]], spots[ends[1]]);
    for (const [i, end] of ends.entries()) drawRing(context, spots[end], ends.length === 2 ? "AB"[i] : "");
    if (pointed !== null) drawRing(context, spots[pointed], "");
    if (marked) drawCross(context, toSpot(marked));
  });
  const point = (/** @type {number | null} */ index) => {
    pointed = index;
    handlers.onPoint(index, index === null ? null : spots[index]);
    redraw();
  };
  const turn = (/** @type {number} */ yaw, /** @type {number} */ pitch) => {
    view.yaw += yaw;
    view.pitch = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, view.pitch + pitch));
    redraw();
  };

  listenToPointer(canvas, {
    drag: (dx, dy) => {
      if (!is3d) return;
      point(null);
      turn(dx * TURN, dy * TURN);
    },
    hover: (x, y) => point(nearestSpot(spots, x, y)),
    leave: () => point(null),
    click: (x, y) => {
      const index = nearestSpot(spots, x, y);
      if (index !== null) handlers.onChoose(index);
      else if (!is3d) handlers.onChoosePlace(scale.fromUnit(unitAt(x, y, canvas.clientWidth, canvas.clientHeight)));
    },
  });
  canvas.addEventListener("keydown", (event) => {
    const direction = ARROWS.get(event.key);
    if (direction && event.shiftKey && is3d) turn(direction[0] * KEY_TURN, direction[1] * KEY_TURN);
    else if (direction) point(pointed === null ? 0 : nextSpot(spots, pointed, direction));
    else if ((event.key === "Enter" || event.key === " ") && pointed !== null) handlers.onChoose(pointed);
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => point(null));
  canvas.style.touchAction = is3d ? "none" : "pan-y";

  return {
    mark: (place) => {
      marked = place;
      redraw();
    },
    connect: (indices) => {
      ends = indices;
      redraw();
    },
    highlight: (label) => {
      highlighted = label;
      redraw();
    },
    redraw,
  };
}

/**
 * Between places and the unit cube, in which all points lie, but for a few outliers in three dimensions.
 *
 * @typedef {{
 *   low: number[], high: number[],
 *   toUnit: (place: number[]) => number[], fromUnit: (unit: number[]) => number[],
 * }} Scale
 * @param {number[][]} points
 * @returns {Scale}
 */
function makeScale(points) {
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
function placeOnCanvas(unit, view, width, height) {
  if (unit.length === 2) {
    return {
      x: width / 2 + unit[0] * (width / 2 - MARGIN),
      y: height / 2 - unit[1] * (height / 2 - MARGIN),
      depth: 0,
    };
  }
  const [right, up, towards] = rotate(unit, view);
  const size = (Math.min(width, height) / 2 - MARGIN / 2) / 1.5;
  return { x: width / 2 + right * size, y: height / 2 - up * size, depth: towards / Math.sqrt(3) };
}

/** The inverse of `placeOnCanvas` in two dimensions. @type {(...place: number[]) => number[]} */
function unitAt(x, y, width, height) {
  return [(x - width / 2) / (width / 2 - MARGIN), (height / 2 - y) / (height / 2 - MARGIN)];
}

/** @type {(spots: Spot[], x: number, y: number) => number | null} */
function nearestSpot(spots, x, y) {
  let nearest = null;
  let least = REACH ** 2;
  for (const [i, spot] of spots.entries()) {
    const distance = (spot.x - x) ** 2 + (spot.y - y) ** 2;
    if (distance < least) [nearest, least] = [i, distance];
  }
  return nearest;
}

/** The nearest spot in a direction, or the same. @type {(spots: Spot[], from: number, direction: number[]) => number} */
function nextSpot(spots, from, [dx, dy]) {
  let next = from;
  let least = Infinity;
  for (const [i, spot] of spots.entries()) {
    const along = (spot.x - spots[from].x) * dx + (spot.y - spots[from].y) * dy;
    const across = Math.abs((spot.x - spots[from].x) * dy) + Math.abs((spot.y - spots[from].y) * dx);
    if (along > 0.5 && along >= across && along + across < least) [next, least] = [i, along + across];
  }
  return next;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {{
 *   drag: (dx: number, dy: number) => void, hover: (x: number, y: number) => void, leave: () => void,
 *   click: (x: number, y: number) => void,
 * }} handlers
 */
function listenToPointer(canvas, { drag, hover, leave, click }) {
  let moved = 0;
  let [lastX, lastY] = [0, 0];
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    [lastX, lastY, moved] = [event.offsetX, event.offsetY, 0];
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!event.buttons) {
      hover(event.offsetX, event.offsetY);
      return;
    }
    const [dx, dy] = [event.offsetX - lastX, event.offsetY - lastY];
    [lastX, lastY, moved] = [event.offsetX, event.offsetY, moved + Math.abs(dx) + Math.abs(dy)];
    if (moved > 4) drag(dx, dy);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (moved <= 4) click(event.offsetX, event.offsetY);
  });
  canvas.addEventListener("pointerleave", leave);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Spot[]} spots
 * @param {number[] | null} labels
 * @param {string[]} colors
 * @param {number | null} highlighted
 */
function drawPoints(context, spots, labels, colors, highlighted) {
  const order = spots.map((_, i) => i).sort((a, b) => spots[a].depth - spots[b].depth);
  for (const i of order) {
    const label = labels ? labels[i] : 0;
    const isDim = highlighted !== null && label !== highlighted;
    context.globalAlpha = isDim ? 0.08 : 0.75 + 0.25 * spots[i].depth;
    context.fillStyle = colors[label % colors.length];
    context.beginPath();
    context.arc(spots[i].x, spots[i].y, RADIUS * (1 + 0.3 * spots[i].depth), 0, 2 * Math.PI);
    context.fill();
  }
  context.globalAlpha = 1;
}

/**
 * Write each label at the median of its points.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Spot[]} spots
 * @param {number[]} labels
 * @param {number | null} highlighted
 */
function drawLabels(context, spots, labels, highlighted) {
  context.font = "700 17px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const label of new Set(labels)) {
    if (highlighted !== null && label !== highlighted) continue;
    const own = spots.filter((_, i) => labels[i] === label);
    const [x, y] = [median(own.map((spot) => spot.x)), median(own.map((spot) => spot.y))];
    drawText(context, String(label), x, y);
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

/**
 * @param {CanvasRenderingContext2D} context
 * @param {string[]} axes
 * @param {Scale} scale
 */
function drawFrame(context, axes, { low, high }) {
  const { clientWidth: width, clientHeight: height } = context.canvas;
  const margin = MARGIN - 8;
  context.strokeStyle = cssColor("--line");
  context.strokeRect(margin, margin, width - 2 * margin, height - 2 * margin);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = cssColor("--muted");
  context.textBaseline = "middle";
  writeAxis(context, axes[0], low[0], high[0], margin, width - margin, height - margin / 2);
  context.save();
  context.rotate(-Math.PI / 2);
  writeAxis(context, axes[1], low[1], high[1], margin - height, -margin, margin / 2);
  context.restore();
}

/** @type {(context: CanvasRenderingContext2D, name: string, low: number, high: number, ...place: number[]) => void} */
function writeAxis(context, name, low, high, left, right, y) {
  context.textAlign = "left";
  context.fillText(low.toPrecision(2), left, y);
  context.textAlign = "right";
  context.fillText(high.toPrecision(2), right, y);
  context.textAlign = "center";
  const isShort = context.measureText(name).width + 80 > right - left;
  context.fillText(isShort ? name.replace("principal component", "PC") : name, (left + right) / 2, y);
}

/** @type {(context: CanvasRenderingContext2D, toSpot: (unit: number[]) => Spot) => void} */
function drawCube(context, toSpot) {
  context.strokeStyle = cssColor("--line");
  context.lineWidth = 1;
  for (const corner of CUBE) {
    for (const axis of [0, 1, 2].filter((axis) => corner[axis] < 0)) {
      const [from, to] = [toSpot(corner), toSpot(corner.with(axis, 1))];
      context.beginPath();
      context.moveTo(from.x, from.y);
      context.lineTo(to.x, to.y);
      context.stroke();
    }
  }
}

/** @type {(context: CanvasRenderingContext2D, axes: string[], toSpot: (unit: number[]) => Spot) => void} */
function nameEdges(context, axes, toSpot) {
  context.font = "13px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const axis of [0, 1, 2]) {
    const { x, y } = toSpot([-1.1, -1.1, -1.1].with(axis, axis === 2 ? 1 : 0)); // the upright edge stands among points
    drawText(context, axes[axis].replace("latent dimension ", "z"), x, y);
  }
}

/** @type {(context: CanvasRenderingContext2D, from: Spot, to: Spot) => void} */
function drawLine(context, from, to) {
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
function drawRing(context, { x, y }, name) {
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
function drawCross(context, { x, y }) {
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

/** @type {(values: number[]) => number} */
function median(values) {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
}
