/**
 * A latent code as bars that can be pulled up and down: sliders, which the pointer paints across.
 *
 * @typedef {{mean: Float32Array, min: Float32Array, max: Float32Array}} Ranges per latent dimension
 * @typedef {(latents: Float32Array | null, original: Float32Array | null) => void} ShowCode
 *   a bar per dimension, and a line where the code of the original stands
 */
import { BARS_PER_ROW, NAMED_BARS, NARROW } from "./constants.js";
import { clamp, make } from "./drawing.js";
import { listenToPointer } from "./pointer.js";

/** Add a slider per latent dimension to `container`; `onInput` gets the code that they are set to. @type {(container: HTMLElement, ranges: Ranges, onInput: (latents: Float32Array) => void) => ShowCode} */
export function makeBars(container, { mean, min, max }, onInput) {
  /** @type {Float32Array} */
  let current = mean.slice();
  const isNamed = mean.length <= NAMED_BARS;
  const bars = Array.from(mean, (_, i) => addBar(container, i, min[i], max[i], isNamed));
  const share = (/** @type {number} */ value, /** @type {number} */ i) =>
    clamp((100 * (value - min[i])) / (max[i] - min[i]), 0, 100);
  const set = (/** @type {number} */ i, /** @type {number} */ value) => {
    if (value === current[i]) return;
    current = current.slice();
    current[i] = value;
    onInput(current);
  };
  for (const [i, { input }] of bars.entries()) {
    input.addEventListener("input", () => set(i, Number(input.value)));
  }
  listenToBars(
    container,
    bars.map(({ input }) => input),
    (i, height) => set(i, min[i] + height * (max[i] - min[i])),
  );
  new ResizeObserver(() => arrange(container, mean.length)).observe(container);
  return (latents, original) => {
    current = latents ?? mean;
    for (const [i, { input, number }] of bars.entries()) {
      const [value, centre] = [share(current[i], i), share(mean[i], i)];
      input.value = String(current[i]);
      input.ariaValueText = current[i].toFixed(2);
      number.textContent = current[i].toFixed(2);
      input.style.setProperty("--from", `${Math.min(value, centre)}%`);
      input.style.setProperty("--to", `${Math.max(value, centre)}%`);
      input.style.setProperty("--original", original ? `${share(original[i], i)}%` : "-9%");
    }
  };
}

/** @type {(container: HTMLElement, index: number, min: number, max: number, isNamed: boolean) => {input: HTMLInputElement, number: HTMLElement}} */
function addBar(container, index, min, max, isNamed) {
  const title = `latent dimension ${index + 1}`;
  const range = { type: "range", min: String(min), max: String(max), step: "any" };
  const input = make("input", { ...range, title, ariaLabel: title, ariaOrientation: "vertical" });
  const number = make("span", { ariaHidden: "true" }); // the slider says it
  const name = make("span", { ariaHidden: "true" }, `z${index + 1}`);
  container.append(make("label", {}, ...(isNamed ? [number, input, name] : [input])));
  return { input, number };
}

/** @type {(container: HTMLElement, count: number) => void} */
function arrange(container, count) {
  const most = container.clientWidth < NARROW ? BARS_PER_ROW.narrow : BARS_PER_ROW.wide;
  const rows = Math.ceil(count / most);
  container.style.setProperty("--columns", String(Math.ceil(count / rows)));
  container.style.setProperty("--rows", String(rows));
}

/** Call `pull` with the index of the bar at the pointer and the height, 0 to 1, at which it is. @type {(container: HTMLElement, inputs: HTMLInputElement[], pull: (index: number, height: number) => void) => void} */
function listenToBars(container, inputs, pull) {
  let row = 0; // the top of the bars that were pressed, in which a stroke across stays
  let last = 0; // the bar that was pulled last
  const at = (/** @type {import("./pointer.js").Point} */ { x, y }, /** @type {boolean} */ isPress) => {
    const corner = container.getBoundingClientRect();
    const boxes = inputs.map((input) => input.getBoundingClientRect());
    const nearest = (/** @type {number[]} */ distances) => distances.indexOf(Math.min(...distances));
    if (isPress) row = boxes[nearest(boxes.map((box) => Math.abs(corner.top + y - box.top - box.height / 2)))].top;
    const across = boxes.map((box) => Math.abs(corner.left + x - box.left - box.width / 2));
    const index = nearest(across.map((distance, i) => (boxes[i].top === row ? distance : Infinity)));
    if (isPress) inputs[index].focus({ preventScroll: true });
    const height = clamp((boxes[index].bottom - corner.top - y) / boxes[index].height, 0, 1);
    for (let i = isPress ? index : last; i !== index; i += Math.sign(index - i)) pull(i, height); // skipped by a quick stroke
    pull(index, height);
    last = index;
  };
  container.addEventListener("mousedown", (event) => event.preventDefault()); // which would move the focus away
  listenToPointer(container, { press: (point) => at(point, true), drag: (point) => at(point, false) });
}
