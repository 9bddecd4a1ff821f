/**
 * The map of latent codes: points that can be pointed at, chosen, and, in three dimensions, turned.
 *
 * @typedef {import("./map_drawing.js").Labels} Labels
 * @typedef {import("./map_geometry.js").CanvasPoint} CanvasPoint
 * @typedef {import("./map_geometry.js").DataPoint} DataPoint
 * @typedef {import("./map_geometry.js").Projection} Projection
 * @typedef {import("./map_geometry.js").UnitPoint} UnitPoint
 * @typedef {{
 *   onPoint: (index: number | null, canvasPoint: CanvasPoint | null) => void,
 *   onChoose: (index: number) => void,
 *   onChooseBetween: (dataPoint: DataPoint) => void,
 * }} MapHandlers `onChooseBetween` for a click between the points of a two-dimensional map
 * @typedef {{marked: DataPoint | null, ends: number[], pointed: number | null, highlighted: number | null}} Marks
 *   a code, two images that a line connects, the image that is pointed at, and the label that stands out
 * @typedef {{mark: (marks: Partial<Marks>) => void, redraw: () => void}} CodeMap
 */
import { oncePerFrame, prepare } from "./drawing.js";
import {
  drawCross,
  drawCube,
  drawFrame,
  drawLabels,
  drawLine,
  drawPoints,
  drawRing,
  nameEdges,
} from "./map_drawing.js";
import { makeScale, nearestPoint, nextPoint, toCanvasPoint, toUnitPoint } from "./map_geometry.js";
import { listenToPointer } from "./pointer.js";

const TURN = 0.008; // radians per CSS pixel of dragging
const KEY_TURN = 0.15; // radians
const CLICK = 4; // CSS pixels that a click may move
const ARROWS = new Map([
  ["ArrowLeft", [-1, 0]],
  ["ArrowRight", [1, 0]],
  ["ArrowUp", [0, -1]],
  ["ArrowDown", [0, 1]],
]);

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Projection} projection
 * @param {Labels | null} labels
 * @param {MapHandlers} handlers
 * @returns {CodeMap}
 */
export function makeMap(canvas, projection, labels, handlers) {
  const scale = makeScale(projection.dataPoints);
  const unitPoints = projection.dataPoints.map(scale.toUnitPoint);
  const view = { yaw: 0.6, pitch: 0.35 };
  /** @type {Marks} */
  const marks = { marked: null, ends: [], pointed: null, highlighted: null };
  /** @type {CanvasPoint[]} */
  let canvasPoints = [];

  const redraw = oncePerFrame(() => {
    const { context, width, height } = prepare(canvas);
    const toCanvas = (/** @type {UnitPoint} */ unitPoint) => toCanvasPoint(unitPoint, view, width, height);
    canvasPoints = unitPoints.map(toCanvas);
    draw(context, projection, scale, labels, canvasPoints, marks, toCanvas);
  });
  const mark = (/** @type {Partial<Marks>} */ changes) => {
    Object.assign(marks, changes);
    redraw();
  };
  const point = (/** @type {number | null} */ index) => {
    mark({ pointed: index });
    handlers.onPoint(index, index === null ? null : canvasPoints[index]);
  };
  const turn = (/** @type {number} */ yaw, /** @type {number} */ pitch) => {
    view.yaw += yaw;
    view.pitch = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, view.pitch + pitch));
    redraw();
  };
  const choose = (/** @type {number} */ x, /** @type {number} */ y) => {
    const index = nearestPoint(canvasPoints, x, y);
    if (index !== null) handlers.onChoose(index);
    else if (!projection.is3d) {
      handlers.onChooseBetween(scale.toDataPoint(toUnitPoint(x, y, canvas.clientWidth, canvas.clientHeight)));
    }
  };

  canvas.style.touchAction = projection.is3d ? "none" : "pan-y";
  listenToDragging(canvas, {
    drag: (dx, dy) => {
      if (!projection.is3d) return;
      point(null);
      turn(dx * TURN, dy * TURN);
    },
    click: choose,
    hover: (x, y) => point(nearestPoint(canvasPoints, x, y)),
    leave: () => point(null),
  });
  listenToKeys(canvas, {
    move: (direction) => point(marks.pointed === null ? 0 : nextPoint(canvasPoints, marks.pointed, direction)),
    turn: ([x, y]) => projection.is3d && turn(x * KEY_TURN, y * KEY_TURN),
    choose: () => marks.pointed !== null && handlers.onChoose(marks.pointed),
  });
  canvas.addEventListener("blur", () => point(null));
  return { mark, redraw };
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Projection} projection
 * @param {import("./map_geometry.js").Scale} scale
 * @param {Labels | null} labels
 * @param {CanvasPoint[]} points
 * @param {Marks} marks
 * @param {(unitPoint: UnitPoint) => CanvasPoint} toCanvas
 */
function draw(context, projection, scale, labels, points, { marked, ends, pointed, highlighted }, toCanvas) {
  if (projection.is3d) drawCube(context, toCanvas);
  else drawFrame(context, projection, scale);
  drawPoints(context, points, labels, highlighted);
  if (labels) drawLabels(context, points, labels, highlighted);
  if (projection.is3d) nameEdges(context, projection.axes, toCanvas);
  if (ends.length === 2) drawLine(context, points[ends[0]], points[ends[1]]);
  for (const [i, end] of ends.entries()) drawRing(context, points[end], ends.length === 2 ? "AB"[i] : "");
  if (pointed !== null) drawRing(context, points[pointed], "");
  if (marked) drawCross(context, toCanvas(scale.toUnitPoint(marked)));
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {{
 *   drag: (dx: number, dy: number) => void, click: (x: number, y: number) => void,
 *   hover: (x: number, y: number) => void, leave: () => void,
 * }} handlers
 */
function listenToDragging(canvas, { drag, click, hover, leave }) {
  let distance = 0;
  let last = { x: 0, y: 0 };
  listenToPointer(canvas, {
    press: (point) => {
      distance = 0;
      last = point;
    },
    drag: (point) => {
      const [dx, dy] = [point.x - last.x, point.y - last.y];
      distance += Math.abs(dx) + Math.abs(dy);
      last = point;
      if (distance > CLICK) drag(dx, dy);
    },
    release: ({ x, y }) => {
      if (distance <= CLICK) click(x, y);
    },
    hover: ({ x, y }) => hover(x, y),
    leave,
  });
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {{move: (direction: number[]) => void, turn: (direction: number[]) => void, choose: () => void}} handlers
 */
function listenToKeys(canvas, { move, turn, choose }) {
  canvas.addEventListener("keydown", (event) => {
    const direction = ARROWS.get(event.key);
    if (direction) (event.shiftKey ? turn : move)(direction);
    else if (event.key === "Enter" || event.key === " ") choose();
    else return;
    event.preventDefault();
  });
}
