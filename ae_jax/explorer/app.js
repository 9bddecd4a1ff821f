/**
 * The page: a drawing becomes a code and a reconstruction, a code becomes an image.
 *
 * @typedef {import("./model.js").Code} Code
 * @typedef {import("./sample_images.js").SampleImages} SampleImages
 * @typedef {{
 *   model: import("./model.js").ModelDescription, weights: string,
 *   sprite: string, spriteColumns: number, numImages: number, labels: import("./map_drawing.js").Labels | null,
 *   latents: string | null, map: import("./map_geometry.js").MapContent,
 *   sliders: {mean: string, min: string, max: string}, errors: string,
 * }} Content arrays are in base64; `latents` of the test images only where decoding needs them at once
 */
import { drawBars, makeSliders } from "./code_view.js";
import { digitFromPicture } from "./digit.js";
import { drawImages, find, toFloats } from "./drawing.js";
import { makeMap } from "./map.js";
import { MAX_NAMED } from "./map_drawing.js";
import { makeProjection } from "./map_geometry.js";
import { makeModel } from "./model.js";
import { makePad } from "./pad.js";
import {
  describeImage,
  encodeAll,
  labelOf,
  loadSampleImages,
  nearestImages,
  squaredDistance,
} from "./sample_images.js";

const NUM_NEIGHBOURS = 5;
const NUM_STEPS = 9; // of an interpolation

const content = /** @type {Content} */ (JSON.parse(find("#content", HTMLScriptElement).text));
const model = makeModel(content.model, toFloats(content.weights));
const ranges = {
  mean: toFloats(content.sliders.mean),
  min: toFloats(content.sliders.min),
  max: toFloats(content.sliders.max),
};
const errors = toFloats(content.errors); // of test images, sorted
const projection = makeProjection(content.map, model.latentDim);
/** @type {SampleImages} */
const images = { pixels: [], labels: content.labels, latents: splitLatents(content.latents) };
/** @type {number[]} */
let chosen = []; // the last two images that were chosen on the map
/** @type {Float32Array | null} */
let drawn = null; // the code of the drawing

const pad = makePad(find("#pad", HTMLCanvasElement), showPicture);
const setSliders = makeSliders(find("#sliders", HTMLElement), ranges, showLatents);
const map = makeMap(find("#map", HTMLCanvasElement), projection, content.labels, {
  onPoint: showTooltip,
  onChoose: chooseImage,
  onChooseBetween: (dataPoint) => showLatents(projection.toLatents(dataPoint)),
});

find("#pad-clear", HTMLButtonElement).addEventListener("click", pad.clear);
find("#pad-example", HTMLButtonElement).addEventListener("click", showRandomImage);
find("#interpolation-position", HTMLInputElement).addEventListener("input", (event) => {
  showLatents(interpolate(Number(/** @type {HTMLInputElement} */ (event.target).value)));
});
for (const query of ["(prefers-color-scheme: dark)", "(min-resolution: 1.5dppx)"]) {
  matchMedia(query).addEventListener("change", redraw);
}
new ResizeObserver(redraw).observe(document.body);

Object.assign(window, { aeJax: { encode, decode, reconstruct, digitFromPicture, ready: start() } });

async function start() {
  makeLegend();
  find("#turning", HTMLElement).hidden = !projection.is3d;
  find("#between", HTMLElement).hidden = projection.is3d;
  showLatents(ranges.mean);
  pad.drawExample();
  images.pixels = await loadSampleImages(content.sprite, content.spriteColumns, content.numImages);
  await encodeAll(images, model);
  showNeighbours();
}

/** @type {(image: Float32Array) => Float32Array} */
function encode(image) {
  return model.encode(checkLength(image, 784)).latents;
}

/** Max unpooling uses the positions of the nearest test image. @type {(latents: Float32Array) => Float32Array} */
function decode(latents) {
  checkLength(latents, model.latentDim);
  return model.decode({ latents, positions: model.pools ? positionsFor(latents) : [] });
}

/** @type {(image: Float32Array) => Float32Array} */
function reconstruct(image) {
  return model.decode(model.encode(checkLength(image, 784)));
}

/** @type {(array: Float32Array, length: number) => Float32Array} */
function checkLength(array, length) {
  if (array.length !== length) throw new RangeError(`expected ${length} numbers, got ${array.length}`);
  return array;
}

/** The pooling positions of the test image with the nearest code. @type {(latents: Float32Array) => Int32Array[]} */
function positionsFor(latents) {
  const [nearest] = images.pixels.length ? nearestImages(images, latents, 1) : [];
  return model.encode(nearest === undefined ? new Float32Array(784) : images.pixels[nearest]).positions;
}

/** @type {(latents: string | null) => Float32Array[]} */
function splitLatents(latents) {
  const numbers = toFloats(latents ?? "");
  const count = numbers.length / model.latentDim;
  return Array.from({ length: count }, (_, i) => numbers.subarray(i * model.latentDim, (i + 1) * model.latentDim));
}

/** @type {(picture: Uint8Array) => void} */
function showPicture(picture) {
  const digit = digitFromPicture(picture, 280, 280);
  showInput(digit && Float32Array.from(digit, (pixel) => pixel / 255));
}

/**
 * Show an image, its code and its reconstruction; null: there is none.
 *
 * @param {Float32Array | null} image
 */
function showInput(image) {
  const [input, output] = ["#input", "#reconstruction"].map((selector) => find(selector, HTMLCanvasElement));
  const code = image && model.encode(image);
  const recon = code && model.decode(code);
  drawn = code?.latents ?? null;
  drawImages(input, ...(image ? [image] : []));
  drawImages(output, ...(recon ? [recon] : []));
  find("#error", HTMLElement).textContent =
    image && recon ? describeError(squaredDistance(image, recon) / image.length) : "Draw a digit.";
  if (code && recon) showCode(code.latents, recon, "the drawing");
  showDrawnCode();
  showNeighbours();
}

/** @type {(latents: Float32Array) => void} */
function showLatents(latents) {
  showCode(latents, decode(latents), "the nearest test image");
}

/**
 * Show a code on sliders and map, and what it decodes to.
 *
 * @param {Float32Array} latents
 * @param {Float32Array} decoded
 * @param {string} source of the pooling positions
 */
function showCode(latents, decoded, source) {
  drawImages(find("#decoded", HTMLCanvasElement), decoded);
  find("#positions", HTMLElement).textContent = model.pools ? `with the pooling positions of ${source}` : "";
  setSliders(latents);
  map.mark({ marked: projection.toDataPoint(latents) });
}

function showDrawnCode() {
  drawBars(find("#code", HTMLCanvasElement), drawn ?? ranges.mean, ranges);
}

function showNeighbours() {
  const nearest = drawn && images.pixels.length ? nearestImages(images, drawn, NUM_NEIGHBOURS) : [];
  find("#neighbours", HTMLElement).replaceChildren(...nearest.map(neighbourButton));
}

/** @type {(index: number) => HTMLButtonElement} */
function neighbourButton(index) {
  const button = document.createElement("button");
  const canvas = document.createElement("canvas");
  const caption = document.createElement("span");
  drawImages(canvas, images.pixels[index]);
  caption.textContent = labelOf(images, index) ?? `${index + 1}`;
  button.title = describeImage(images, index);
  button.setAttribute("aria-label", button.title);
  button.append(canvas, caption);
  button.addEventListener("click", () => chooseImage(index));
  return button;
}

/** @type {(index: number) => void} */
function chooseImage(index) {
  if (!images.pixels.length) return;
  const code = model.encode(images.pixels[index]);
  showCode(code.latents, model.decode(code), "that image");
  if (chosen[chosen.length - 1] !== index) chosen = [...chosen, index].slice(-2);
  map.mark({ ends: chosen });
  const names = chosen.map((each) => describeImage(images, each));
  find("#chosen", HTMLElement).textContent = `Chosen: ${names.join(" → ")}`;
  showInterpolation();
}

function showInterpolation() {
  const section = find("#interpolation", HTMLElement);
  section.hidden = chosen.length < 2;
  if (section.hidden) return;
  const steps = Array.from({ length: NUM_STEPS }, (_, i) => decode(interpolate(i / (NUM_STEPS - 1))));
  drawImages(find("#interpolation-strip", HTMLCanvasElement), ...steps);
  find("#interpolation-position", HTMLInputElement).value = "1";
}

/** The code at fraction `t` of the way from the first chosen image to the second. @type {(t: number) => Float32Array} */
function interpolate(t) {
  const [from, to] = chosen.map((index) => model.encode(images.pixels[index]).latents);
  return from.map((value, i) => (1 - t) * value + t * to[i]);
}

/** @type {(index: number | null, canvasPoint: import("./map_geometry.js").CanvasPoint | null) => void} */
function showTooltip(index, canvasPoint) {
  const tooltip = find("#tooltip", HTMLElement);
  tooltip.hidden = index === null || !images.pixels.length;
  if (tooltip.hidden || index === null || !canvasPoint) return;
  drawImages(find("#tooltip canvas", HTMLCanvasElement), images.pixels[index]);
  find("#tooltip span", HTMLElement).textContent = describeImage(images, index);
  const width = find("#map", HTMLCanvasElement).clientWidth;
  tooltip.style.left = `${Math.min(Math.max(canvasPoint.x, 70), width - 70)}px`;
  tooltip.style.top = `${canvasPoint.y}px`;
  tooltip.classList.toggle("below", canvasPoint.y < 120);
}

function showRandomImage() {
  if (!images.pixels.length) return;
  const image = images.pixels[Math.floor(Math.random() * images.pixels.length)];
  pad.show(image);
  showInput(image);
}

function makeLegend() {
  const { names, colors } = content.labels ?? { names: [], colors: [] };
  if (names.length > MAX_NAMED) return;
  const buttons = names.map((name, index) => {
    const button = document.createElement("button");
    const swatch = document.createElement("i");
    swatch.style.background = colors[index];
    button.setAttribute("aria-pressed", "false");
    button.append(swatch, name);
    button.addEventListener("click", () => {
      const isPressed = button.getAttribute("aria-pressed") === "true";
      for (const other of buttons) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", String(!isPressed));
      map.mark({ highlighted: isPressed ? null : index });
    });
    return button;
  });
  find("#legend", HTMLElement).replaceChildren(...buttons);
}

function redraw() {
  map.redraw();
  showDrawnCode();
}

/** @type {(error: number) => string} */
function describeError(error) {
  const smaller = errors.filter((each) => each < error).length / errors.length;
  return `Mean squared error ${error.toFixed(4)} per pixel. ${Math.round(100 * smaller)} % of test images have a smaller one.`;
}
