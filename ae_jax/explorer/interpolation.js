/**
 * The way from one chosen code to another: frames, a slider, and playing them.
 *
 * @typedef {{latents: Float32Array, name: string}} End
 * @typedef {{set: (ends: End[], decode: (latents: Float32Array) => Float32Array) => void, stop: () => void}} Interpolation
 *   `set` shows it for two ends and hides it for fewer; `stop` ends its playing
 */
import { NUM_FRAMES, PLAY } from "./constants.js";
import { clamp, drawImages, find, findCanvas, onClick } from "./drawing.js";

/** `onMove` gets the code at a fraction of the way, and where that is in words; `onLeave` is Escape. @type {(onMove: (latents: Float32Array, words: string) => void, onLeave: () => void) => Interpolation} */
export function makeInterpolation(onMove, onLeave) {
  const section = find("#interpolation");
  const strip = findCanvas("#interpolation-strip");
  const slider = find("#interpolation-position", HTMLInputElement);
  /** @type {End[]} */
  let ends = [];
  let playing = {}; // its identity: another one stops it

  const setSlider = (/** @type {number} */ t) => {
    slider.value = String(t);
    slider.ariaValueText = `${Math.round(100 * t)} % of the way`;
  };
  const show = (/** @type {number} */ t) => {
    setSlider(t);
    onMove(interpolate(ends, t), wordsFor(ends, t));
  };
  const stop = () => {
    playing = {};
    play.textContent = "Play";
  };
  const play = onClick("#interpolation-play", () => {
    if (play.textContent === "Stop") return stop();
    play.textContent = "Stop";
    playing = {};
    const own = playing;
    const start = performance.now();
    const frame = (/** @type {number} */ now) => {
      if (own !== playing) return;
      const phase = (Math.max(now - start, 0) / PLAY) % 2;
      show(phase < 1 ? phase : 2 - phase);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });
  strip.addEventListener("click", (event) => {
    stop();
    const frame = Math.floor((event.offsetX / strip.clientWidth) * NUM_FRAMES);
    show(clamp(frame, 0, NUM_FRAMES - 1) / (NUM_FRAMES - 1));
  });
  const leave = () => {
    stop();
    onLeave();
  };
  onClick("#interpolation-leave", leave);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || section.hidden) return;
    if (play.textContent === "Stop") stop();
    else leave();
  });
  return {
    stop,
    set: (others, decode) => {
      const isSame = others.length === ends.length && others.every(({ latents }, i) => latents === ends[i].latents);
      if (isSame) return;
      stop();
      ends = others;
      section.hidden = ends.length < 2;
      if (section.hidden) return;
      find("#interpolation-title").textContent = `From ${ends[0].name} to ${ends[1].name}`;
      const fractions = Array.from({ length: NUM_FRAMES }, (_, i) => i / (NUM_FRAMES - 1));
      drawImages(strip, ...fractions.map((t) => decode(interpolate(ends, t))));
      setSlider(1);
    },
  };
}

/** @type {(ends: End[], t: number) => Float32Array} */
function interpolate([from, to], t) {
  return from.latents.map((value, i) => (1 - t) * value + t * to.latents[i]);
}

/** @type {(ends: End[], t: number) => string} */
function wordsFor([from, to], t) {
  const fraction = Math.round(100 * t);
  if (fraction === 50) return `half way between ${from.name} and ${to.name}`;
  return `${fraction} % of the way from ${from.name} to ${to.name}`;
}
