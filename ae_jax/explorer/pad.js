/**
 * The drawing pad: white strokes on black, kept as points, so that a link can carry them and the last can be undone.
 *
 * @typedef {number[]} Stroke x, y, x, y, … from 0 to 255 across the pad
 * @typedef {import("./pointer.js").Point} Point
 * @typedef {{clear: () => void, undo: () => void, show: (content: Stroke[] | Float32Array | null) => void}} Pad
 *   `show` displays strokes, an image of 784 pixels, or nothing, without a call of `onDraw`
 */
import { PAD, SIDE, STROKE } from "./constants.js";
import { clamp, context2d, imageCanvas, make, oncePerFrame } from "./drawing.js";
import { listenToPointer } from "./pointer.js";

/** Let the user draw on `canvas`; `onDraw` gets all strokes after each change. @type {(canvas: HTMLCanvasElement, onDraw: (strokes: Stroke[]) => void) => Pad} */
export function makePad(canvas, onDraw) {
  /** @type {Stroke[]} */
  let strokes = [];
  let width = STROKE.max;
  /** @type {Stroke[] | Float32Array | null} */
  let shown = null;
  const changed = oncePerFrame(() => onDraw(shown === strokes ? strokes : []));
  const replace = (/** @type {Stroke[]} */ others) => {
    show(others);
    changed();
  };
  const show = (/** @type {Stroke[] | Float32Array | null} */ content) => {
    if (content === shown) return; // strokes are drawn as they come
    shown = content;
    strokes = Array.isArray(content) ? content : [];
    if (Array.isArray(content)) width = strokeWidth(content);
    render(canvas, content, width);
  };
  const append = (/** @type {Point} */ { x, y }) => {
    const toByte = (/** @type {number} */ share) => clamp(Math.round(255 * share), 0, 255);
    const point = [toByte(x / canvas.clientWidth), toByte(y / canvas.clientHeight)];
    const stroke = strokes[strokes.length - 1];
    if (stroke.length && stroke.slice(-2).every((value, i) => value === point[i])) return;
    stroke.push(...point);
    drawStroke(context2d(canvas), stroke.slice(-4), width);
    changed();
  };
  listenToPointer(canvas, {
    press: (point) => {
      if (shown !== strokes) {
        strokes = [];
        width = STROKE.max;
        render(canvas, strokes, width);
      }
      strokes = [...strokes, []];
      shown = strokes;
      append(point);
      onDraw(strokes); // at once, which ends the playing of an interpolation
    },
    drag: append,
    release: () => replace([...strokes]), // with strokes as wide as suits the size of the drawing
  });
  const clear = () => replace([]);
  const undo = () => {
    if (shown === strokes) replace(strokes.slice(0, -1));
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Delete" || event.key === "Backspace") clear();
    if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
  });
  render(canvas, null, width);
  return { clear, undo, show };
}

/** The pixels of strokes as the pad shows them, row by row. @type {(strokes: Stroke[]) => Uint8Array} */
export function strokePixels(strokes) {
  const canvas = make("canvas", { width: PAD, height: PAD });
  render(canvas, strokes, strokeWidth(strokes));
  const { data } = context2d(canvas).getImageData(0, 0, PAD, PAD);
  return Uint8Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]);
}

/** @type {(canvas: HTMLCanvasElement, content: Stroke[] | Float32Array | null, width: number) => void} */
function render(canvas, content, width) {
  const context = context2d(canvas);
  context.fillStyle = "black";
  context.fillRect(0, 0, PAD, PAD);
  if (Array.isArray(content)) for (const stroke of content) drawStroke(context, stroke, width);
  else if (content) context.drawImage(imageCanvas(content, SIDE), 0, 0, PAD, PAD);
}

/** @type {(context: CanvasRenderingContext2D, stroke: Stroke, width: number) => void} */
function drawStroke(context, stroke, width) {
  context.strokeStyle = "white";
  context.lineWidth = width;
  context.lineCap = "round";
  context.lineJoin = "round";
  context.beginPath();
  for (let i = 0; i < stroke.length; i += 2) context.lineTo((stroke[i] * PAD) / 255, (stroke[i + 1] * PAD) / 255);
  if (stroke.length === 2) context.lineTo((stroke[0] * PAD) / 255 + 0.01, (stroke[1] * PAD) / 255); // a dot
  context.stroke();
}

/** Strokes of a small drawing are thinner, or they would close its loops. @type {(strokes: Stroke[]) => number} */
function strokeWidth(strokes) {
  const points = strokes.flat();
  const extents = [0, 1].map((axis) => {
    const values = points.filter((_, i) => i % 2 === axis);
    return Math.max(...values) - Math.min(...values);
  });
  const extent = points.length ? (Math.max(...extents) * PAD) / 255 : PAD;
  return clamp(STROKE.perExtent * extent, STROKE.min, STROKE.max);
}
