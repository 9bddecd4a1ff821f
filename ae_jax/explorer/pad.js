/** The drawing pad: white strokes on black, and an example that is drawn at the start. */
import { context2d, drawSegment, oncePerFrame, toImageData } from "./drawing.js";
import { listenToPointer } from "./pointer.js";

const STROKE = 22; // pixels of 280: as wide beside the digit as MNIST's strokes
const POINTS_PER_ARC = 30;

/**
 * @typedef {import("./pointer.js").Point} Point
 * @typedef {{clear: () => void, show: (image: Float32Array) => void, drawExample: () => void}} Pad
 *   `show` displays an image of 784 pixels without a call of `onChange`; `drawExample` draws a digit, point by point.
 */

/**
 * Let the user draw on `canvas`; `onChange` gets the picture, one byte per pixel, after each change.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {(picture: Uint8Array) => void} onChange
 * @returns {Pad}
 */
export function makePad(canvas, onChange) {
  const context = context2d(canvas);
  let isShown = false; // an image, which is not to be read back
  const changed = oncePerFrame(() => {
    if (!isShown) onChange(picture(canvas, context));
  });
  let isDrawing = false; // by the user, on a pad without an example
  let example = {}; // its identity: another one stops the drawing of the former
  /** @type {Point | null} */
  let last = null;

  const fillBlack = () => {
    example = {};
    isShown = false;
    last = null;
    context.fillStyle = "black";
    context.fillRect(0, 0, canvas.width, canvas.height);
  };
  const clear = () => {
    fillBlack();
    isDrawing = true;
    changed();
  };
  const lineTo = (/** @type {Point} */ point) => {
    stroke(context, last ?? point, point);
    last = point;
    changed();
  };
  const toPixels = (/** @type {Point} */ { x, y }) => ({
    x: (x / canvas.clientWidth) * canvas.width,
    y: (y / canvas.clientHeight) * canvas.height,
  });

  listenToPointer(canvas, {
    press: (point) => {
      if (!isDrawing) clear();
      last = null;
      lineTo(toPixels(point));
    },
    drag: (point) => lineTo(toPixels(point)),
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Delete" || event.key === "Backspace") clear();
  });

  fillBlack();
  return {
    clear,
    show: (image) => {
      fillBlack();
      isDrawing = false;
      isShown = true;
      drawEnlarged(context, image);
    },
    drawExample: () => {
      fillBlack();
      const own = example;
      const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
      drawPoints(examplePoints(canvas.width), isStill, lineTo, () => own === example);
    },
  };
}

/**
 * Draw one point per frame, or all at once.
 *
 * @param {Point[]} points
 * @param {boolean} isStill
 * @param {(point: Point) => void} draw
 * @param {() => boolean} shouldContinue
 */
function drawPoints(points, isStill, draw, shouldContinue) {
  if (isStill) points.forEach(draw);
  else if (points.length && shouldContinue()) {
    draw(points[0]);
    requestAnimationFrame(() => drawPoints(points.slice(1), isStill, draw, shouldContinue));
  }
}

/** The points of a 3: two arcs of ellipses. @type {(side: number) => Point[]} */
function examplePoints(side) {
  const arcs = [
    { x: 0.48, y: 0.35, radii: [0.19, 0.17], from: -2.6, to: Math.PI / 2 },
    { x: 0.48, y: 0.68, radii: [0.23, 0.16], from: -Math.PI / 2, to: 2.6 },
  ];
  return arcs.flatMap(({ x, y, radii, from, to }) =>
    Array.from({ length: POINTS_PER_ARC }, (_, i) => {
      const angle = from + ((to - from) * i) / (POINTS_PER_ARC - 1);
      return { x: side * (x + radii[0] * Math.cos(angle)), y: side * (y + radii[1] * Math.sin(angle)) };
    }),
  );
}

/** @type {(context: CanvasRenderingContext2D, from: Point, to: Point) => void} */
function stroke(context, from, to) {
  context.strokeStyle = "white";
  context.lineWidth = STROKE;
  context.lineCap = "round";
  drawSegment(context, from, to);
}

/** @type {(context: CanvasRenderingContext2D, image: Float32Array) => void} */
function drawEnlarged(context, image) {
  const small = document.createElement("canvas");
  small.width = 28;
  small.height = 28;
  context2d(small).putImageData(toImageData(image), 0, 0);
  context.drawImage(small, 0, 0, context.canvas.width, context.canvas.height);
}

/** @type {(canvas: HTMLCanvasElement, context: CanvasRenderingContext2D) => Uint8Array} */
function picture(canvas, context) {
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return Uint8Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]);
}
