/** A latent code as bars and as sliders. */
import { cssColor, prepare } from "./drawing.js";

const FEW = 8; // sliders, which have one column

/**
 * @typedef {{mean: Float32Array, min: Float32Array, max: Float32Array}} Ranges per latent dimension
 */

/**
 * Draw one bar per latent dimension, from the mean code up or down; the height of the canvas is the sliders' range.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} latents
 * @param {Ranges} ranges
 */
export function drawBars(canvas, latents, { mean, min, max }) {
  const { context, width, height } = prepare(canvas);
  const pitch = width / latents.length;
  const gap = Math.min(pitch / 4, 6);
  context.fillStyle = cssColor("--line");
  context.fillRect(0, height / 2 - 0.5, width, 1);
  context.fillStyle = cssColor("--accent");
  latents.forEach((value, i) => {
    const share = Math.max(-1, Math.min(1, (value - mean[i]) / ((max[i] - min[i]) / 2)));
    const length = Math.max(Math.abs(share) * (height / 2 - 4), 1);
    const top = share > 0 ? height / 2 - length : height / 2;
    context.fillRect(i * pitch + gap / 2, top, Math.max(pitch - gap, 0.5), length);
  });
}

/**
 * Add one slider per latent dimension to `container`; `onInput` gets the code that they are set to.
 *
 * @param {HTMLElement} container
 * @param {Ranges} ranges
 * @param {(latents: Float32Array) => void} onInput
 * @returns {(latents: Float32Array) => void} sets the sliders
 */
export function makeSliders(container, { mean, min, max }, onInput) {
  /** @type {Float32Array} */
  let current = mean.slice();
  container.classList.toggle("few", mean.length <= FEW);
  const sliders = Array.from(mean, (value, i) => {
    const { input, number } = addSlider(container, `z${i + 1}`, min[i], max[i]);
    input.setAttribute("aria-label", `latent dimension ${i + 1}`);
    input.addEventListener("input", () => {
      current = current.slice();
      current[i] = Number(input.value);
      onInput(current);
    });
    input.value = String(value);
    return { input, number };
  });
  return (latents) => {
    current = latents;
    latents.forEach((value, i) => {
      sliders[i].input.value = String(value);
      sliders[i].number.textContent = value.toFixed(2);
      sliders[i].input.setAttribute("aria-valuetext", value.toFixed(2));
    });
  };
}

/**
 * @param {HTMLElement} container
 * @param {string} name
 * @param {number} min
 * @param {number} max
 */
function addSlider(container, name, min, max) {
  const label = document.createElement("label");
  const text = document.createElement("span");
  const input = document.createElement("input");
  const number = document.createElement("span");
  text.textContent = name;
  Object.assign(input, { type: "range", min: String(min), max: String(max), step: "any" });
  number.setAttribute("aria-hidden", "true"); // the slider says it
  label.append(text, input, number);
  container.append(label);
  return { input, number };
}
