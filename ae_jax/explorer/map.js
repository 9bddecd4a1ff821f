/**
 * The map of latent codes: what is under the pointer is decoded, images and places can be chosen; it zooms and turns.
 *
 * @typedef {import("./map_drawing.js").Labels} Labels
 * @typedef {import("./map_geometry.js").CanvasPoint} CanvasPoint
 * @typedef {import("./map_geometry.js").DataPoint} DataPoint
 * @typedef {import("./map_geometry.js").Projection} Projection
 * @typedef {import("./map_geometry.js").UnitPoint} UnitPoint
 * @typedef {{index: number} | {latents: Float32Array}} Target a test image, or the code of a place
 * @typedef {{
 *   onPoint: (target: Target | null, at: import("./pointer.js").Point | null) => void, onChoose: (target: Target) => void,
 *   decode: (latents: Float32Array) => Float32Array,
 * }} MapHandlers `decode` for the latent grid of a map of two dimensions
 * @typedef {{current: DataPoint | null, ends: DataPoint[], highlighted: number | null}} Marks
 *   the current code, codes that a line connects, and the label that stands out
 * @typedef {{mark: (marks: Partial<Marks>) => void, redraw: () => void, zoom: (factor: number) => void}} CodeMap
 */
import { GRID_CELL, KEY_TURN, MARGIN, MOVED, ON_MARK, TAP, TURN, ZOOM } from "./constants.js";
import { clamp, oncePerFrame, prepare, resize } from "./drawing.js";
import { drawCross, drawCube, drawGrid, drawLabels, drawLine, drawPoints, drawRing, nameEdges } from "./map_drawing.js";
import { makeScale, nearestPoint, nextPoint, toCanvasPoint, toUnitPoint } from "./map_geometry.js";
import { listenToPointer } from "./pointer.js";

const ARROWS = new Map([
  ["ArrowLeft", [-1, 0]],
  ["ArrowRight", [1, 0]],
  ["ArrowUp", [0, -1]],
  ["ArrowDown", [0, 1]],
]);

/** @type {(canvas: HTMLCanvasElement, projection: Projection, labels: Labels | null, handlers: MapHandlers) => CodeMap} */
export function makeMap(canvas, projection, labels, handlers) {
  const { is3d, isJittered, isPlane, axes } = projection;
  const dims = is3d ? 3 : 2;
  const scale = makeScale(projection.dataPoints);
  const unitPoints = projection.dataPoints.map(scale.toUnitPoint);
  const view = { yaw: 0.6, pitch: 0.35, zoom: 1, pan: { x: 0, y: 0 }, width: 1, height: 1 };
  const background = document.createElement("canvas"); // what the pointer does not change
  /** @type {Marks} */
  const marks = { current: null, ends: [], highlighted: null };
  /** @type {CanvasPoint[]} */
  let canvasPoints = [];
  /** @type {number | null} */
  let pointed = null; // a test image
  let isStale = true;

  const toCanvas = (/** @type {UnitPoint} */ unitPoint) => toCanvasPoint(unitPoint, view);
  const toPlace = (/** @type {number} */ x, /** @type {number} */ y) =>
    scale.toDataPoint(toUnitPoint(x, y, view, dims, canvasPoints));

  const draw = oncePerFrame(() => {
    const { context, width, height } = prepare(canvas);
    if (isStale) {
      Object.assign(view, { width, height });
      canvasPoints = unitPoints.map(toCanvas);
      drawBackground(resize(background, width, height));
      isStale = false;
    }
    context.drawImage(background, 0, 0, width, height);
    const at = (/** @type {DataPoint} */ dataPoint) => toCanvas(scale.toUnitPoint(dataPoint));
    const ends = marks.ends.map(at);
    if (ends.length === 2) drawLine(context, ends[0], ends[1]);
    for (const [i, end] of ends.entries()) drawRing(context, end, ends.length === 2 ? "AB"[i] : "");
    if (pointed !== null) drawRing(context, canvasPoints[pointed], "");
    if (marks.current) drawCross(context, at(marks.current));
  });
  const drawBackground = (/** @type {CanvasRenderingContext2D} */ context) => {
    if (is3d) drawCube(context, toCanvas);
    else if (!isJittered && !isPlane) drawGrid(context, gridCells());
    drawPoints(context, canvasPoints, labels, marks.highlighted);
    if (labels) drawLabels(context, canvasPoints, labels, marks.highlighted);
    if (is3d) nameEdges(context, axes, toCanvas);
  };
  const gridCells = () => {
    const cells = [];
    for (let y = MARGIN + GRID_CELL / 2; y < view.height - MARGIN; y += GRID_CELL) {
      for (let x = MARGIN + GRID_CELL / 2; x < view.width - MARGIN; x += GRID_CELL) {
        cells.push({ image: handlers.decode(projection.toLatents(toPlace(x, y))), x, y });
      }
    }
    return cells;
  };
  const redraw = () => {
    isStale = true;
    draw();
  };
  const targetAt = (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ radius) => {
    const index = nearestPoint(canvasPoints, x, y, radius);
    return index === null ? { latents: projection.toLatents(toPlace(x, y)) } : { index };
  };
  const pointAt = (/** @type {Target | null} */ target, /** @type {import("./pointer.js").Point | null} */ at) => {
    pointed = target && "index" in target ? target.index : null;
    handlers.onPoint(target, at);
    draw();
  };
  const turn = (/** @type {number} */ yaw, /** @type {number} */ pitch) => {
    view.yaw += yaw;
    view.pitch = clamp(view.pitch + pitch, -Math.PI / 2, Math.PI / 2);
    redraw();
  };
  const zoomAt = (/** @type {number} */ factor, /** @type {{x: number, y: number}} */ { x, y }) => {
    const before = view.zoom;
    view.zoom = clamp(before * factor, 1, ZOOM.max);
    const ratio = view.zoom / before;
    const [fromX, fromY] = [x - view.width / 2, y - view.height / 2];
    moveTo(fromX - (fromX - view.pan.x) * ratio, fromY - (fromY - view.pan.y) * ratio);
  };
  const moveTo = (/** @type {number} */ x, /** @type {number} */ y) => {
    const [mostX, mostY] = [view.width, view.height].map((side) => (side / 2) * (view.zoom - 1));
    view.pan = { x: clamp(x, -mostX, mostX), y: clamp(y, -mostY, mostY) };
    redraw();
  };

  let distance = 0;
  let last = { x: 0, y: 0 };
  listenToPointer(canvas, {
    press: (point) => {
      distance = 0;
      last = point;
    },
    drag: ({ x, y }, isTouch) => {
      const [dx, dy] = [x - last.x, y - last.y];
      distance += Math.abs(dx) + Math.abs(dy);
      last = { x, y };
      if (distance <= MOVED) return;
      if (!is3d && isTouch) return pointAt(targetAt(x, y, ON_MARK), last);
      pointAt(null, null);
      if (is3d) turn(dx * TURN, dy * TURN);
      else moveTo(view.pan.x + dx, view.pan.y + dy);
    },
    release: ({ x, y }, isTouch) => {
      if (distance <= MOVED) handlers.onChoose(targetAt(x, y, isTouch ? TAP : ON_MARK));
      else if (isTouch && !is3d) handlers.onChoose(targetAt(x, y, ON_MARK));
    },
    hover: ({ x, y }) => pointAt(targetAt(x, y, ON_MARK), { x, y }),
    leave: () => pointAt(null, null),
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey) return; // the page scrolls; pinching on a touchpad counts as Ctrl
      event.preventDefault();
      zoomAt(Math.exp(-event.deltaY * ZOOM.perWheel), { x: event.offsetX, y: event.offsetY });
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    const direction = ARROWS.get(event.key);
    if (direction && event.shiftKey && is3d) turn(direction[0] * KEY_TURN, direction[1] * KEY_TURN);
    else if (direction) {
      const index = pointed === null ? 0 : nextPoint(canvasPoints, pointed, direction);
      pointAt({ index }, canvasPoints[index]);
    } else if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? ZOOM.step : 1 / ZOOM.step);
    else if ((event.key === "Enter" || event.key === " ") && pointed !== null) handlers.onChoose({ index: pointed });
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => pointAt(null, null));

  const zoom = (/** @type {number} */ factor) => {
    const centre =
      pointed !== null ? canvasPoints[pointed] : marks.current && toCanvas(scale.toUnitPoint(marks.current));
    zoomAt(factor, centre ?? { x: view.width / 2, y: view.height / 2 });
  };
  const mark = (/** @type {Partial<Marks>} */ changes) => {
    if (changes.highlighted !== undefined) isStale = true;
    Object.assign(marks, changes);
    draw();
  };
  return { mark, redraw, zoom };
}
