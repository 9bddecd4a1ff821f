/** Elements, images on canvases and arrays from text. */
import { SIDE } from "./constants.js";

const probe = document.head.appendChild(document.createElement("i"));

/** The first element that `selector` matches. @type {<T extends Element = HTMLElement>(selector: string, type?: new () => T) => T} */
export function find(selector, type) {
  const element = document.querySelector(selector);
  if (!(element instanceof (type ?? HTMLElement))) throw new Error(`the page has no ${selector}`);
  return /** @type {any} */ (element);
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

/** A new element with properties and children. @type {<K extends keyof HTMLElementTagNameMap>(tag: K, properties?: Partial<HTMLElementTagNameMap[K]>, ...children: (Node | string)[]) => HTMLElementTagNameMap[K]} */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Draw images of 784 pixels in [0, 1] beside each other; without one, clear the canvas. @type {(canvas: HTMLCanvasElement, ...images: Float32Array[]) => void} */
export function drawImages(canvas, ...images) {
  canvas.width = SIDE * Math.max(images.length, 1);
  canvas.height = SIDE;
  images.forEach((image, i) => {
    context2d(canvas).drawImage(imageCanvas(image, SIDE), SIDE * i, 0);
  });
}

/** A canvas of its own for a square image, with the color of each pixel: red, green, blue and alpha. @type {(image: Float32Array, side: number, color?: (pixel: number) => number[]) => HTMLCanvasElement} */
export function imageCanvas(image, side, color = greyColor) {
  const data = new ImageData(side, side);
  image.forEach((pixel, i) => {
    data.data.set(color(pixel), 4 * i);
  });
  const canvas = make("canvas", { width: side, height: side });
  context2d(canvas).putImageData(data, 0, 0);
  return canvas;
}

/** @type {(value: number) => number[]} */
export function greyColor(value) {
  const grey = Math.round(255 * value);
  return [grey, grey, grey, 255];
}

/** The color of a value between -1, blue, and 1, orange; 0 is black. @type {(value: number) => number[]} */
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

/** A colour of the style sheet, as `rgb(…)`. @type {(name: string) => string} */
export function cssColor(name) {
  probe.style.color = `var(${name})`; // a property itself has both the light and the dark one
  return getComputedStyle(probe).color;
}

/** Little-endian float32 numbers in base64. @type {(text: string) => Float32Array} */
export function toFloats(text) {
  return new Float32Array(toBytes(text).buffer); // browsers run on little-endian machines only
}

/** @type {(numbers: Float32Array, length: number) => Float32Array[]} */
export function rows(numbers, length) {
  return Array.from({ length: numbers.length / length }, (_, i) => numbers.subarray(i * length, (i + 1) * length));
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
