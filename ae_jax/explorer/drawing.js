/** Elements, images on canvases and arrays from text. */
import { SIDE } from "./constants.js";

/**
 * The first element that `selector` matches.
 *
 * @type {<T extends Element>(selector: string, type: new () => T) => T}
 */
export function find(selector, type) {
  const element = document.querySelector(selector);
  if (!(element instanceof type)) throw new Error(`the page has no ${selector}`);
  return element;
}

/** @type {(selector: string) => HTMLElement} */
export function findHtml(selector) {
  return find(selector, HTMLElement);
}

/** @type {(selector: string) => HTMLCanvasElement} */
export function findCanvas(selector) {
  return find(selector, HTMLCanvasElement);
}

/** @type {(selector: string, onClick: () => void) => HTMLButtonElement} */
export function onClick(selector, handler) {
  const button = find(selector, HTMLButtonElement);
  button.addEventListener("click", handler);
  return button;
}

/** @type {(canvas: HTMLCanvasElement) => CanvasRenderingContext2D} */
export function context2d(canvas) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("the browser has no 2d canvas");
  return context;
}

/** Draw images of 784 pixels in [0, 1] beside each other; without one, clear the canvas. @type {(canvas: HTMLCanvasElement, ...images: Float32Array[]) => void} */
export function drawImages(canvas, ...images) {
  canvas.width = SIDE * Math.max(images.length, 1);
  canvas.height = SIDE;
  const context = context2d(canvas);
  images.forEach((image, i) => {
    context.putImageData(toImageData(image), SIDE * i, 0);
  });
}

/** A canvas of its own for images beside each other. @type {(...images: Float32Array[]) => HTMLCanvasElement} */
export function imageCanvas(...images) {
  const canvas = document.createElement("canvas");
  drawImages(canvas, ...images);
  return canvas;
}

/** @type {(image: Float32Array) => ImageData} */
function toImageData(image) {
  const data = new ImageData(SIDE, SIDE);
  image.forEach((pixel, i) => {
    data.data.fill(Math.round(255 * pixel), 4 * i, 4 * i + 3);
    data.data[4 * i + 3] = 255;
  });
  return data;
}

/** Where `image` is brighter than `original` in orange, where darker in blue. @type {(canvas: HTMLCanvasElement, image: Float32Array, original: Float32Array) => void} */
export function drawDifference(canvas, image, original) {
  const data = new ImageData(SIDE, SIDE);
  image.forEach((pixel, i) => {
    data.data.set(signedColor(pixel - original[i]), 4 * i);
  });
  canvas.width = SIDE;
  canvas.height = SIDE;
  context2d(canvas).putImageData(data, 0, 0);
}

/** Red, green, blue and alpha of a value between -1, blue, and 1, orange; 0 is black. @type {(value: number) => number[]} */
export function signedColor(value) {
  const strength = Math.sqrt(Math.min(Math.abs(value), 1));
  const color = value > 0 ? [255, 170, 60] : [90, 170, 255];
  return [...color.map((channel) => channel * strength), 255];
}

/** A canvas's context in CSS pixels, cleared, sharp on screens of any density. @type {(canvas: HTMLCanvasElement) => {context: CanvasRenderingContext2D, width: number, height: number}} */
export function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  return { context: resize(canvas, width, height), width, height };
}

/** @type {(canvas: HTMLCanvasElement, width: number, height: number) => CanvasRenderingContext2D} */
export function resize(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = context2d(canvas);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
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
  const bytes = toBytes(text);
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

/** Base64 of files or of addresses. @type {(text: string) => Uint8Array<ArrayBuffer>} */
export function toBytes(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
}

/** Base64 of addresses. @type {(bytes: Uint8Array) => string} */
export function fromBytes(bytes) {
  const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @type {(value: number, low: number, high: number) => number} */
export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
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
