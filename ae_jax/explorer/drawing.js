/** Elements, images on canvases and arrays from text. */

/**
 * The only element that `selector` matches.
 *
 * @template {Element} T
 * @param {string} selector
 * @param {new () => T} type
 * @returns {T}
 */
export function find(selector, type) {
  const element = document.querySelector(selector);
  if (!(element instanceof type)) throw new Error(`the page has no ${selector}`);
  return element;
}

/** @type {(canvas: HTMLCanvasElement) => CanvasRenderingContext2D} */
export function context2d(canvas) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("the browser has no 2d canvas");
  return context;
}

/**
 * Draw images of 784 pixels in [0, 1] beside each other; without one, clear the canvas.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {...Float32Array} images
 */
export function drawImages(canvas, ...images) {
  canvas.width = 28 * Math.max(images.length, 1);
  canvas.height = 28;
  const context = context2d(canvas);
  images.forEach((image, i) => {
    context.putImageData(toImageData(image), 28 * i, 0);
  });
}

/** @type {(image: Float32Array) => ImageData} */
export function toImageData(image) {
  const data = new ImageData(28, 28);
  image.forEach((pixel, i) => {
    data.data.fill(Math.round(255 * pixel), 4 * i, 4 * i + 3);
    data.data[4 * i + 3] = 255;
  });
  return data;
}

/**
 * A canvas's context in CSS pixels, cleared, sharp on screens of any density.
 *
 * @param {HTMLCanvasElement} canvas
 * @returns {{context: CanvasRenderingContext2D, width: number, height: number}}
 */
export function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = context2d(canvas);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}

/** @type {(context: CanvasRenderingContext2D, from: {x: number, y: number}, to: {x: number, y: number}) => void} */
export function drawSegment(context, from, to) {
  context.beginPath();
  context.moveTo(from.x, from.y);
  context.lineTo(to.x, to.y);
  context.stroke();
}

/** @type {(name: string) => string} */
export function cssColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Little-endian float32 numbers in base64. @type {(text: string) => Float32Array} */
export function toFloats(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

/** Call `draw` once before the next frame, however often it is asked for. @type {(draw: () => void) => () => void} */
export function oncePerFrame(draw) {
  let isScheduled = false;
  return () => {
    if (isScheduled) return;
    isScheduled = true;
    requestAnimationFrame(() => {
      isScheduled = false;
      draw();
    });
  };
}
