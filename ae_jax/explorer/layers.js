/**
 * Look inside: the feature maps of every layer, and what made a pixel of the output.
 *
 * @typedef {import("./arithmetic.js").Activations} Activations
 * @typedef {import("./model.js").LayerDescription} LayerDescription
 * @typedef {import("./model.js").Model} Model
 * @typedef {{figure: HTMLElement, canvas: HTMLCanvasElement, shape: HTMLElement}} Picture
 * @typedef {{encoded: Activations[], decoded: import("./model.js").Decoded | null}} Inside
 *   the encoder's layers, none where a code comes from no image
 */
import { SIDE, STRONGEST, TILE } from "./constants.js";
import { clamp, context2d, greyColor, imageCanvas, make, prepare, signedColor } from "./drawing.js";

/** Add a picture per layer to `container`, and give a function that draws them. @type {(container: HTMLElement, explanation: HTMLElement, model: Model) => (inside: Inside) => void} */
export function makeLayers(container, explanation, model) {
  const { encoder, decoder, latentDim } = model.description;
  const captions = [
    ...encoder.slice(0, -1).map((layer) => `Encoder: ${nameLayer(layer, model)}`),
    `Latent code: ${latentDim} ${latentDim === 1 ? "value" : "values"}`,
    ...decoder.slice(0, -1).map((layer) => `Decoder: ${nameLayer(layer, model)}`),
    "Output: point at a pixel to see what made it",
  ];
  const pictures = captions.map((caption) => addPicture(container, caption));
  const [last, { canvas }] = pictures.slice(-2);
  /** @type {Inside} */
  let inside = { encoded: [], decoded: null };
  /** @type {number | null} */
  let pixel = null;

  const update = () => {
    const { encoded, decoded } = inside;
    const output = decoded && { data: Float64Array.from(decoded.image), height: SIDE, width: SIDE, channels: 1 };
    const encoderLayers = encoder.slice(0, -1).map((_, i) => encoded[i]);
    const decoderLayers = output ? [...decoded.layers, output] : [];
    for (const [i, picture] of pictures.entries()) drawMaps(picture, [...encoderLayers, ...decoderLayers][i]);
    explanation.textContent = "";
    if (!output || pixel === null) return;
    const before = decoded.layers[decoded.layers.length - 1];
    const contributions = model.contributions(decoded, pixel);
    const strongest = strongestOf(contributions);
    outline(canvas, output, [pixel], () => "white");
    outline(last.canvas, before, strongest, (i) => (contributions[i] > 0 ? "#ffaa3c" : "#5aaaff"));
    explanation.textContent = explain(pixel, decoded.image[pixel], before, contributions, strongest);
  };
  const select = (/** @type {number | null} */ other) => {
    if (other === pixel) return;
    pixel = other;
    update();
  };
  const ariaLabel = "Output: arrow keys choose the pixel that is explained";
  Object.assign(canvas, { tabIndex: 0, role: "application", ariaLabel });
  const at = (/** @type {PointerEvent} */ event) => {
    const [column, row] = [event.offsetX / canvas.clientWidth, event.offsetY / canvas.clientHeight].map((share) =>
      clamp(Math.floor(share * SIDE), 0, SIDE - 1),
    );
    select(row * SIDE + column);
  };
  canvas.addEventListener("pointermove", at);
  canvas.addEventListener("pointerdown", at);
  canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && select(null)); // a finger is lifted to read
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -SIDE, ArrowDown: SIDE }[event.key];
    if (!step) return;
    event.preventDefault();
    select(clamp((pixel ?? (SIDE / 2) * (SIDE + 1)) + step, 0, SIDE * SIDE - 1));
  });
  return (current) => {
    inside = current;
    update();
  };
}

/** @type {(container: HTMLElement, caption: string) => Picture} */
function addPicture(container, caption) {
  const canvas = make("canvas", { role: "img", ariaLabel: caption });
  const shape = make("span");
  const figure = make("figure", {}, canvas, make("figcaption", {}, `${caption} `, shape));
  container.append(figure);
  return { figure, canvas, shape };
}

/** @type {(layer: LayerDescription, model: Model) => string} */
function nameLayer({ type, size, stride, outputs }, { description: { activation, pools } }) {
  const kernel = `${size} × ${size}${stride > 1 ? `, stride ${stride}` : ""}`;
  const name = {
    linear: `${outputs} units`,
    conv: `convolution ${kernel}`,
    convTranspose: `transposed convolution ${kernel}`,
  }[type];
  const pooling = type === "conv" ? ", then max pooling" : ", then unpooling";
  return `${name}, ${activation === "relu" ? "ReLU" : "tanh"}${pools ? pooling : ""}`;
}

/** Draw the maps beside and below each other, bright where a number is large; blue are negative ones. @type {(picture: Picture, x: Activations | undefined) => void} */
function drawMaps({ figure, canvas, shape }, x) {
  figure.hidden = !x;
  if (!x) return;
  const { context, width } = prepare(canvas);
  shape.textContent = x.channels > 1 && x.height > 1 ? `(${x.channels} maps of ${x.height} × ${x.width})` : "";
  const { side, toCell } = layOut(x);
  const most = x.data.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
  const cells = new Float32Array(side * side).fill(Number.NaN);
  x.data.forEach((value, i) => {
    const { row, column } = toCell(i);
    cells[row * side + column] = value / most;
  });
  context.imageSmoothingEnabled = false;
  context.drawImage(imageCanvas(cells, side, mapColor), 0, 0, width, width);
}

/** Of gaps, which are not a number: transparent. @type {(value: number) => number[]} */
function mapColor(value) {
  if (Number.isNaN(value)) return [0, 0, 0, 0];
  return value < 0 ? signedColor(value) : greyColor(Math.sqrt(value));
}

/** @type {(canvas: HTMLCanvasElement, x: Activations, indices: number[], color: (index: number) => string) => void} */
function outline(canvas, x, indices, color) {
  const context = context2d(canvas);
  const { side, toCell } = layOut(x);
  const scale = canvas.clientWidth / side;
  context.lineWidth = 2;
  for (const i of indices) {
    const { row, column } = toCell(i);
    context.strokeStyle = color(i);
    context.strokeRect(column * scale, row * scale, scale, scale);
  }
}

/** The cells of a square picture of all maps. @type {(x: Activations) => {side: number, toCell: (index: number) => {row: number, column: number}}} */
function layOut({ height, width, channels }) {
  const columns = Math.ceil(Math.sqrt(channels));
  const gap = height > 1 ? TILE : 0;
  const toCell = (/** @type {number} */ index) => {
    const [channel, place] = [index % channels, Math.floor(index / channels)];
    return {
      row: Math.floor(channel / columns) * (height + gap) + Math.floor(place / width),
      column: (channel % columns) * (width + gap) + (place % width),
    };
  };
  return { side: columns * (width + gap) - gap, toCell };
}

/** @type {(contributions: Float64Array) => number[]} */
function strongestOf(contributions) {
  const order = Array.from(contributions.keys()).filter((i) => contributions[i] !== 0);
  return order.sort((a, b) => Math.abs(contributions[b]) - Math.abs(contributions[a])).slice(0, STRONGEST);
}

/** @type {(pixel: number, value: number, before: Activations, contributions: Float64Array, strongest: number[]) => string} */
function explain(pixel, value, { height, width, channels }, contributions, strongest) {
  const count = contributions.filter((each) => each !== 0).length;
  const names = strongest.slice(0, 3).map((i) => {
    const place = Math.floor(i / channels);
    const where = height > 1 ? ` at row ${Math.floor(place / width) + 1}, column ${(place % width) + 1}` : "";
    const sign = contributions[i] > 0 ? "+" : "−";
    return `${height > 1 ? "map" : "unit"} ${(i % channels) + 1}${where} (${sign}${Math.abs(contributions[i]).toFixed(2)})`;
  });
  const position = `Pixel at row ${Math.floor(pixel / SIDE) + 1}, column ${(pixel % SIDE) + 1}: ${value.toFixed(2)}.`;
  return `${position} ${count} nonzero activations of the layer before reach it; strongest: ${names.join(", ")}. Outlined: orange brightens, blue darkens.`;
}
