/** The drawing pad: white strokes on black, and an example that is drawn at the start. */
import { context2d, oncePerFrame, toImageData } from "./drawing.js";

const STROKE = 22; // pixels of 280: as wide beside the digit as MNIST's strokes
const EXAMPLE_POINTS_PER_FRAME = 1;

/**
 * @typedef {{
 *   clear: () => void,
 *   show: (image: Float32Array) => void,
 *   drawExample: () => void,
 * }} Pad `show` draws an image of 784 pixels, `drawExample` a digit, stroke by stroke.
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
  const changed = oncePerFrame(() => onChange(picture(canvas, context)));
  let isExample = false;
  /** @type {number[] | null} */
  let last = null;

  const clear = () => {
    isExample = false;
    last = null;
    context.fillStyle = "black";
    context.fillRect(0, 0, canvas.width, canvas.height);
    changed();
  };
  /** @type {(point: number[]) => void} */
  const lineTo = (point) => {
    stroke(context, last ?? point, point);
    last = point;
    changed();
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (isExample) clear();
    canvas.setPointerCapture(event.pointerId);
    last = null;
    lineTo(toPixels(canvas, event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last || !event.buttons || isExample) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) lineTo(toPixels(canvas, each));
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Delete" || event.key === "Backspace") clear();
  });

  clear();
  return {
    clear,
    show: (image) => {
      clear();
      isExample = true;
      drawEnlarged(context, image);
    },
    drawExample: () => {
      isExample = true;
      const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
      drawStepwise(example(canvas.width), isStill, (point) => {
        if (isExample) lineTo(point);
        return isExample;
      });
    },
  };
}

/**
 * Draw points one after the other, per frame or at once, until `draw` returns false.
 *
 * @param {number[][]} points
 * @param {boolean} atOnce
 * @param {(point: number[]) => boolean} draw
 */
function drawStepwise(points, atOnce, draw) {
  const count = atOnce ? points.length : EXAMPLE_POINTS_PER_FRAME;
  const goesOn = points.slice(0, count).every(draw);
  const rest = points.slice(count);
  if (goesOn && rest.length) requestAnimationFrame(() => drawStepwise(rest, atOnce, draw));
}

/** The points of a 3: two arcs, each an ellipse around its centre. @type {(side: number) => number[][]} */
function example(side) {
  const arcs = [
    { center: [0.48, 0.35], radii: [0.19, 0.17], from: -2.6, to: Math.PI / 2 },
    { center: [0.48, 0.68], radii: [0.23, 0.16], from: -Math.PI / 2, to: 2.6 },
  ];
  return arcs.flatMap(({ center, radii, from, to }) =>
    Array.from({ length: 30 }, (_, i) => {
      const angle = from + ((to - from) * i) / 29;
      return [side * (center[0] + radii[0] * Math.cos(angle)), side * (center[1] + radii[1] * Math.sin(angle))];
    }),
  );
}

/** @type {(context: CanvasRenderingContext2D, from: number[], to: number[]) => void} */
function stroke(context, from, to) {
  context.strokeStyle = "white";
  context.lineWidth = STROKE;
  context.lineCap = "round";
  context.beginPath();
  context.moveTo(from[0], from[1]);
  context.lineTo(to[0], to[1]);
  context.stroke();
}

/** @type {(context: CanvasRenderingContext2D, image: Float32Array) => void} */
function drawEnlarged(context, image) {
  const small = document.createElement("canvas");
  small.width = 28;
  small.height = 28;
  context2d(small).putImageData(toImageData(image), 0, 0);
  context.drawImage(small, 0, 0, context.canvas.width, context.canvas.height);
}

/** @type {(canvas: HTMLCanvasElement, event: PointerEvent) => number[]} */
function toPixels(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return [
    ((event.clientX - box.left) / box.width) * canvas.width,
    ((event.clientY - box.top) / box.height) * canvas.height,
  ];
}

/** @type {(canvas: HTMLCanvasElement, context: CanvasRenderingContext2D) => Uint8Array} */
function picture(canvas, context) {
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return Uint8Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]);
}
