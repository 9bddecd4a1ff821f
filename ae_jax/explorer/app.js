/**
 * The page: one choice, which is a drawing, a test image or a code, shown as input, code and output.
 *
 * @typedef {import("./state.js").Choice} Choice
 * @typedef {import("./sample_images.js").SampleImages} SampleImages
 * @typedef {{
 *   model: import("./model.js").ModelDescription, weights: string, areDigits: boolean,
 *   id: string, sprite: string, spriteColumns: number, numImages: number, latents: string,
 *   labels: import("./map_drawing.js").Labels | null, map: import("./map_geometry.js").MapContent,
 *   ranges: {mean: string, min: string, max: string}, errors: string,
 * }} Content arrays are in base64; `id` of this model with these images
 * @typedef {{
 *   choice: Choice, name: string, image: Float32Array | null, code: import("./model.js").Code | null,
 *   latents: Float32Array | null, decoded: import("./model.js").Decoded | null,
 * }} Current a choice and all that the model makes of it; `image` and `code` of the original
 */
import { makeBars } from "./code_bars.js";
import { HASH_PAUSE, MAX_NAMED, NAMED_BARS, NUM_NEIGHBOURS, NUM_PIXELS, SIDE, ZOOM } from "./constants.js";
import { digitFromDrawing } from "./digit.js";
import {
  clamp,
  context2d,
  drawImages,
  find,
  findCanvas,
  imageCanvas,
  make,
  onClick,
  oncePerFrame,
  rows,
  signedColor,
  toFloats,
} from "./drawing.js";
import { makeInterpolation } from "./interpolation.js";
import { makeLayers } from "./layers.js";
import { makeMap } from "./map.js";
import { makeProjection } from "./map_geometry.js";
import { makeModel } from "./model.js";
import { makePad, strokePixels } from "./pad.js";
import { savePicture } from "./picture.js";
import { describeImage, loadSampleImages, nearestImages, randomCode, squaredDistance } from "./sample_images.js";
import { describe, fromHash, isNothing, judge, NOTHING, toHash } from "./state.js";

const content = /** @type {Content} */ (JSON.parse(find("#content", HTMLScriptElement).text));
const model = makeModel(content.model, toFloats(content.weights));
const { latentDim, pools } = content.model;
const { areDigits } = content;
const page = { ...content, latentDim };
const ranges = {
  mean: toFloats(content.ranges.mean),
  min: toFloats(content.ranges.min),
  max: toFloats(content.ranges.max),
};
const errors = toFloats(content.errors); // of test images, sorted
const projection = makeProjection(content.map, latentDim);
/** @type {SampleImages} */
const images = { pixels: [], labels: content.labels, latents: rows(toFloats(content.latents), latentDim), areDigits };

let kept = compute(NOTHING); // what was chosen
let shown = kept; // that, or what is under the pointer
/** @type {Current[]} */
let ends = []; // of the interpolation: the last two things that were chosen
/** @type {Choice | null} */
let drawing = null; // the last one by the user, to come back to
let problem = ""; // of a link

const pad = makePad(findCanvas("#pad"), (strokes) => {
  if (strokes.length) return keep({ ...NOTHING, origin: { strokes } });
  drawing = null;
  ends = [];
  keep(NOTHING);
});
const showCode = makeBars(find("#code"), ranges, (latents) =>
  keep({ origin: kept.choice.origin, latents, source: "hand" }),
);
const map = makeMap(findCanvas("#map"), projection, content.labels, { onPoint: preview, onChoose: keepTarget, decode });
const interpolation = makeInterpolation(
  (latents, words) => keep({ origin: null, latents, source: "between", words }),
  () => {
    ends = ends.slice(1);
    if (kept.choice.source === "between") keep(ends[0].choice);
    else render();
  },
);
const drawLayers = makeLayers(find("#maps"), find("#pixel"), model);
const neighbours = Array.from({ length: NUM_NEIGHBOURS }, makeNeighbour);
const render = oncePerFrame(show);

/** @type {() => Promise<void>} */
async function start() {
  find("#legend").replaceChildren(...makeLegend());
  connectButtons();
  const redraw = () => {
    map.redraw();
    render();
  };
  for (const query of ["(prefers-color-scheme: dark)", "(min-resolution: 1.5dppx)"]) {
    matchMedia(query).addEventListener("change", redraw);
  }
  new ResizeObserver(redraw).observe(document.body);
  find("#layers", HTMLDetailsElement).addEventListener("toggle", render);
  addEventListener("hashchange", openLink);
  images.pixels = await loadSampleImages(content.sprite, content.spriteColumns, content.numImages);
  for (const button of document.querySelectorAll("button")) button.disabled = false;
  if (location.hash.length > 1) openLink();
  else if (!areDigits && isNothing(kept.choice)) keepTarget({ index: 0 });
  render();
}

/** @type {() => void} */
function openLink() {
  const linked = fromHash(location.hash.slice(1), page);
  const origin = linked?.origin;
  if (origin && "strokes" in origin) drawing = { ...NOTHING, origin };
  keep(linked ?? NOTHING);
  if (!linked && location.hash.length > 1)
    problem = "This link does not work here: it is incomplete, or of another model's page. ";
}

/** @type {() => void} */
function connectButtons() {
  onClick("#pad-clear", pad.clear);
  onClick("#pad-undo", pad.undo);
  onClick("#pad-example", () => keepTarget({ index: Math.floor(Math.random() * images.pixels.length) }));
  onClick("#code-mean", () => keep({ origin: null, latents: ranges.mean, source: "mean" }));
  onClick("#code-random", () => keep({ origin: null, latents: randomCode(images, ranges.mean), source: "random" }));
  onClick("#code-back", () => drawing && keep(drawing));
  find(".skip").hidden = latentDim <= NAMED_BARS;
  find(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address is the state's
    find("#after-code").focus();
  });
  onClick("#zoom-in", () => map.zoom(ZOOM.step));
  onClick("#zoom-out", () => map.zoom(1 / ZOOM.step));
  onClick("#save-picture", () =>
    savePicture(shown.image, shown.latents, ranges, shown.decoded?.image ?? null, [status(), document.title]),
  );
  const copy = onClick("#copy-link", async () => {
    const link = `${location.href.split("#")[0]}#${toHash(kept.choice, page)}`;
    const isCopied = await navigator.clipboard.writeText(link).then(
      () => true,
      () => false,
    );
    copy.textContent = isCopied ? "Link copied" : "Copy it from the address bar";
    setTimeout(() => {
      copy.textContent = "Copy link";
    }, 2000);
  });
}

/** @type {(image: Float32Array) => Float32Array} */
function encode(image) {
  return model.encode(checkLength(image, NUM_PIXELS)).latents;
}

/** Max unpooling uses the positions of the nearest test image. @type {(latents: Float32Array) => Float32Array} */
function decode(latents) {
  return decodeLatents(checkLength(latents, latentDim)).image;
}

/** @type {(latents: Float32Array) => import("./model.js").Decoded} */
function decodeLatents(latents) {
  return model.decode({ latents, positions: pools ? positionsFor(latents) : [] });
}

/** @type {(image: Float32Array) => Float32Array} */
function reconstruct(image) {
  return model.decode(model.encode(checkLength(image, NUM_PIXELS))).image;
}

/** @type {(array: Float32Array, length: number) => Float32Array} */
function checkLength(array, length) {
  if (array.length !== length) throw new RangeError(`expected ${length} numbers, got ${array.length}`);
  return array;
}

/** The pooling positions of the test image with the nearest code. @type {(latents: Float32Array) => Int32Array[]} */
function positionsFor(latents) {
  const [nearest] = images.pixels.length ? nearestImages(images, latents, 1) : [];
  return model.encode(nearest === undefined ? new Float32Array(NUM_PIXELS) : images.pixels[nearest]).positions;
}

/** @type {(choice: Choice) => Current} */
function compute(choice) {
  const image = choice.origin && originalOf(choice.origin);
  const code = image && model.encode(image);
  const latents = choice.latents ?? code?.latents ?? null;
  const decoded = choice.latents ? decodeLatents(choice.latents) : code && model.decode(code);
  return { choice, name: describe(choice, images), image, code, latents, decoded };
}

/** @type {(origin: import("./state.js").Origin) => Float32Array | null} */
function originalOf(origin) {
  if ("index" in origin) return images.pixels[origin.index];
  const digit = digitFromDrawing(strokePixels(origin.strokes));
  return digit && Float32Array.from(digit, (pixel) => pixel / 255);
}

/** Make a choice the page's state. @type {(choice: Choice) => void} */
function keep(choice) {
  kept = compute(choice);
  shown = kept;
  problem = "";
  const { origin, source } = choice;
  if (source !== "between") interpolation.stop();
  if (origin && "strokes" in origin && !source) drawing = choice;
  if (kept.latents && (!source || source === "place")) remember(kept);
  writeHash();
  render();
}

/** As an end of the interpolation; more of a drawing replaces it. @type {(current: Current) => void} */
function remember(current) {
  const last = ends[ends.length - 1];
  const isPlace = current.choice.source === "place";
  const isSame = last && (isPlace ? last.latents === current.latents : last.name === current.name);
  ends = [...(isSame ? ends.slice(0, -1) : ends), current].slice(-2);
}

/** @type {(target: import("./map.js").Target) => Choice} */
function choiceOf(target) {
  if ("index" in target) return { ...NOTHING, origin: { index: target.index } };
  return { origin: null, latents: target.latents, source: "place" };
}

/** @type {(target: import("./map.js").Target) => void} */
function keepTarget(target) {
  if (images.pixels.length) keep(choiceOf(target));
}

/** Show what is under the pointer; null: what was chosen. @type {(target: import("./map.js").Target | null, at: import("./pointer.js").Point | null) => void} */
function preview(target, at) {
  const isReady = target && images.pixels.length > 0; // the images come a little after the page
  shown = isReady ? compute(choiceOf(target)) : kept;
  const lens = find("#lens");
  lens.hidden = !isReady || !at;
  if (at && isReady) {
    drawImages(findCanvas("#lens-output"), /** @type {import("./model.js").Decoded} */ (shown.decoded).image);
    const original = findCanvas("#lens-original");
    original.hidden = !shown.image;
    if (shown.image) drawImages(original, shown.image);
    find("#lens span").textContent = shown.name;
    lens.style.left = `${clamp(at.x, 100, findCanvas("#map").clientWidth - 100)}px`;
    lens.style.top = `${at.y}px`;
    lens.classList.toggle("below", at.y < 150);
  }
  render();
}

/** @type {() => void} */
function show() {
  const { choice, image, code, latents, decoded } = shown;
  const { origin } = choice;
  pad.show(origin && "strokes" in origin ? origin.strokes : image);
  find("#pad-undo").hidden = !(kept.choice.origin && "strokes" in kept.choice.origin);
  find("#hint").hidden = origin !== null;
  find("#hint").classList.toggle("elsewhere", latents !== null);
  drawImages(findCanvas("#input"), ...(image ? [image] : []));
  showCode(latents, choice.latents && (code?.latents ?? null));
  drawImages(findCanvas("#output"), ...(decoded ? [decoded.image] : []));
  const difference = findCanvas("#difference");
  drawImages(difference);
  if (decoded && image) {
    const excess = decoded.image.map((pixel, i) => pixel - image[i]);
    context2d(difference).drawImage(imageCanvas(excess, SIDE, signedColor), 0, 0);
  }
  const text = status();
  if (find("#status").textContent !== text) find("#status").textContent = text;
  showNeighbours();
  map.mark({
    current: latents && projection.toDataPoint(latents),
    ends: ends.map((end) => projection.toDataPoint(/** @type {Float32Array} */ (end.latents))),
  });
  interpolation.set(
    ends.map((end) => ({ latents: /** @type {Float32Array} */ (end.latents), name: end.name })),
    decode,
  );
  if (find("#layers", HTMLDetailsElement).open) drawLayers({ encoded: code?.layers ?? [], decoded });
  find("#code-back", HTMLButtonElement).hidden = !drawing || kept.choice === drawing;
}

/** @type {() => string} */
function status() {
  const { choice, name, image, decoded } = shown;
  if (isNothing(choice))
    return (
      problem + (areDigits ? "Draw a digit, or choose one on the map." : "Choose an image on the map, or draw one.")
    );
  const sentence = `${name[0].toUpperCase()}${name.slice(1)}`;
  if (!image || !decoded) return `${sentence}. No original to compare with.`;
  const error = squaredDistance(image, decoded.image) / NUM_PIXELS;
  const verdict = choice.latents ? " from the original" : `, ${judge(error, errors, areDigits)}`;
  return `${sentence}. Mean squared error ${error.toFixed(4)} per pixel${verdict}.`;
}

/** @type {() => void} */
function showNeighbours() {
  const isReady = shown.latents && images.pixels.length;
  const nearest = isReady ? nearestImages(images, /** @type {Float32Array} */ (shown.latents), NUM_NEIGHBOURS) : [];
  for (const [i, { button, canvas, caption }] of neighbours.entries()) {
    const index = nearest[i];
    button.hidden = index === undefined;
    if (button.hidden || button.value === String(index)) continue;
    drawImages(canvas, images.pixels[index]);
    caption.textContent = images.labels?.names[images.labels.indices[index]] ?? `${index + 1}`;
    button.value = String(index);
    button.title = describeImage(images, index);
  }
}

/** @type {() => {button: HTMLButtonElement, canvas: HTMLCanvasElement, caption: HTMLElement}} */
function makeNeighbour() {
  const [canvas, caption] = [make("canvas"), make("span")];
  const button = make("button", {}, canvas, caption);
  button.addEventListener("click", () => keepTarget({ index: Number(button.value) }));
  find("#neighbours").append(button);
  return { button, canvas, caption };
}

/** A button per label, which makes it stand out on the map. @type {() => HTMLButtonElement[]} */
function makeLegend() {
  const { names, colors } = content.labels ?? { names: [], colors: [] };
  const buttons = names.map((name, index) => {
    const button = make("button", { ariaPressed: "false" }, name);
    button.style.borderBottom = `4px solid ${colors[index]}`;
    button.addEventListener("click", () => {
      const isPressed = button.ariaPressed === "true";
      for (const other of buttons) other.ariaPressed = "false";
      button.ariaPressed = String(!isPressed);
      map.mark({ highlighted: isPressed ? null : index });
    });
    return button;
  });
  return names.length > MAX_NAMED ? [] : buttons;
}

let timer = 0;

/** Put the state into the address after a pause, since browsers limit how often. @type {() => void} */
function writeHash() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    try {
      history.replaceState(null, "", `#${toHash(kept.choice, page)}`);
    } catch {
      // a page in a notebook's frame has no address of its own
    }
  }, HASH_PAUSE);
}

const ready = start();
const state = () => ({ code: shown.latents?.slice() ?? null, source: shown.name });
/** @type {any} */ (window).aeJax = { encode, decode, reconstruct, state, ready };
