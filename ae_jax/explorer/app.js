/**
 * The page: a picture becomes a code and a reconstruction, a code becomes an image.
 *
 * @typedef {import("./model.js").Code} Code
 * @typedef {import("./test_images.js").TestImages} TestImages
 * @typedef {{
 *   model: import("./model.js").ModelDescription, weights: string,
 *   sprite: string, spriteColumns: number, numImages: number, labels: number[] | null, colors: string[],
 *   map: import("./projection.js").MapContent, sliders: {mean: string, min: string, max: string}, errors: string,
 * }} Content arrays are in base64
 */
import { drawBars, makeSliders } from "./code_view.js";
import { digitFromPicture } from "./digit.js";
import { drawImages, find, toFloats } from "./drawing.js";
import { makeMap } from "./map.js";
import { makeModel } from "./model.js";
import { makePad } from "./pad.js";
import { makeProjection } from "./projection.js";
import { describeImage, encodeAll, loadTestImages, nearestImages } from "./test_images.js";

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
/** @type {TestImages} */
let images = { pixels: [], labels: content.labels, latents: [] };
/** @type {number[]} */
let chosen = []; // the last two images that were chosen on the map
/** @type {Float32Array | null} */
let drawn = null; // the code of the drawing

const pad = makePad(find("#pad", HTMLCanvasElement), (picture) => {
  const digit = digitFromPicture(picture, 280, 280);
  showInput(digit && Float32Array.from(digit.image, (pixel) => pixel / 255));
});
const setSliders = makeSliders(find("#sliders", HTMLElement), ranges, (latents) => showCode(latents));
const map = makeMap(find("#map", HTMLCanvasElement), projection, content.labels, content.colors, {
  onPoint: showTooltip,
  onChoose: chooseImage,
  onChoosePlace: (place) => {
    const latents = projection.latentsAt(place);
    if (latents) showCode(latents);
  },
});

find("#pad-clear", HTMLButtonElement).addEventListener("click", pad.clear);
find("#pad-example", HTMLButtonElement).addEventListener("click", showRandomImage);
find("#interpolation-position", HTMLInputElement).addEventListener("input", (event) => {
  showCode(interpolate(Number(/** @type {HTMLInputElement} */ (event.target).value)));
});
for (const query of ["(prefers-color-scheme: dark)", "(min-resolution: 1.5dppx)"]) {
  matchMedia(query).addEventListener("change", redraw);
}
new ResizeObserver(redraw).observe(document.body);

Object.assign(window, { aeJax: { encode, decode, reconstruct, digitFromPicture, ready: start() } });

async function start() {
  makeLegend();
  find("#turning", HTMLElement).hidden = projection.axes.length < 3;
  showCode(ranges.mean);
  pad.drawExample();
  images = await loadTestImages(content.sprite, content.spriteColumns, content.numImages, content.labels);
  await encodeAll(images, model);
  showNeighbours();
}

/** @type {(image: Float32Array) => Float32Array} */
function encode(image) {
  return model.encode(image).latents;
}

/** Max unpooling uses the positions of the nearest test image. @type {(latents: Float32Array) => Float32Array} */
function decode(latents) {
  const [nearest] = model.pools ? nearestImages(images, latents, 1) : [];
  const source = nearest === undefined ? new Float32Array(784) : images.pixels[nearest];
  return model.decode({ latents, positions: model.pools ? model.encode(source).positions : [] });
}

/** @type {(image: Float32Array) => Float32Array} */
function reconstruct(image) {
  return model.decode(model.encode(image));
}

/** Show an image, its code and its reconstruction; null: there is none. @type {(image: Float32Array | null) => void} */
function showInput(image) {
  const [input, output] = ["#input", "#reconstruction"].map((selector) => find(selector, HTMLCanvasElement));
  const error = find("#error", HTMLElement);
  if (image) {
    const code = model.encode(image);
    const recon = model.decode(code);
    drawImages(input, image);
    drawImages(output, recon);
    error.textContent = describeError(squaredError(image, recon));
    drawn = code.latents;
    showCode(drawn, recon);
  } else {
    drawImages(input);
    drawImages(output);
    error.textContent = "Draw a digit.";
    drawn = null;
  }
  showDrawnCode();
  showNeighbours();
}

function showDrawnCode() {
  drawBars(find("#code", HTMLCanvasElement), drawn ?? ranges.mean, ranges);
}

/**
 * Show a code on sliders and map, and what it decodes to.
 *
 * @param {Float32Array} latents
 * @param {Float32Array} decoded
 */
function showCode(latents, decoded = decode(latents)) {
  drawImages(find("#decoded", HTMLCanvasElement), decoded);
  setSliders(latents);
  map.mark(projection.place(latents));
}

function showNeighbours() {
  const nearest = drawn ? nearestImages(images, drawn, NUM_NEIGHBOURS) : [];
  const buttons = nearest.map((index) => {
    const button = document.createElement("button");
    const canvas = document.createElement("canvas");
    const caption = document.createElement("span");
    drawImages(canvas, images.pixels[index]);
    caption.textContent = images.labels ? String(images.labels[index]) : `${index + 1}`;
    button.title = describeImage(images, index);
    button.setAttribute("aria-label", button.title);
    button.append(canvas, caption);
    button.addEventListener("click", () => chooseImage(index));
    return button;
  });
  find("#neighbours", HTMLElement).replaceChildren(...buttons);
}

/** @type {(index: number) => void} */
function chooseImage(index) {
  if (!images.pixels.length) return;
  const code = model.encode(images.pixels[index]);
  showCode(code.latents, model.decode(code));
  if (chosen[chosen.length - 1] !== index) chosen = [...chosen, index].slice(-2);
  map.connect(chosen);
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

/** The code at a share of the way from the first chosen image to the second. @type {(share: number) => Float32Array} */
function interpolate(share) {
  const [from, to] = chosen.map((index) => model.encode(images.pixels[index]).latents);
  return from.map((value, i) => (1 - share) * value + share * to[i]);
}

/** @type {(index: number | null, spot: import("./map.js").Spot | null) => void} */
function showTooltip(index, spot) {
  const tooltip = find("#tooltip", HTMLElement);
  tooltip.hidden = index === null || !images.pixels.length;
  if (tooltip.hidden || index === null || !spot) return;
  drawImages(find("#tooltip canvas", HTMLCanvasElement), images.pixels[index]);
  find("#tooltip span", HTMLElement).textContent = describeImage(images, index);
  const width = find("#map", HTMLCanvasElement).clientWidth;
  tooltip.style.left = `${Math.min(Math.max(spot.x, 70), width - 70)}px`;
  tooltip.style.top = `${spot.y}px`;
  tooltip.classList.toggle("below", spot.y < 120);
}

function showRandomImage() {
  if (!images.pixels.length) return;
  const image = images.pixels[Math.floor(Math.random() * images.pixels.length)];
  pad.show(image);
}

function makeLegend() {
  const labels = [...new Set(content.labels ?? [])].sort((a, b) => a - b);
  const buttons = labels.map((label) => {
    const button = document.createElement("button");
    const swatch = document.createElement("i");
    swatch.style.background = content.colors[label % content.colors.length];
    button.setAttribute("aria-pressed", "false");
    button.append(swatch, String(label));
    button.addEventListener("click", () => {
      const isPressed = button.getAttribute("aria-pressed") === "true";
      for (const other of buttons) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", String(!isPressed));
      map.highlight(isPressed ? null : label);
    });
    return button;
  });
  find("#legend", HTMLElement).replaceChildren(...buttons);
}

function redraw() {
  map.redraw();
  showDrawnCode();
}

/** @type {(image: Float32Array, recon: Float32Array) => number} */
function squaredError(image, recon) {
  return image.reduce((sum, pixel, i) => sum + (pixel - recon[i]) ** 2, 0) / image.length;
}

/** @type {(error: number) => string} */
function describeError(error) {
  const smaller = errors.filter((each) => each < error).length / errors.length;
  return `Squared error ${error.toFixed(4)} per pixel. ${Math.round(100 * smaller)} % of test images have a smaller one.`;
}
