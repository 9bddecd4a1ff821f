/**
 * What is chosen: a drawing, a test image, a code; as words and as part of the page's address.
 *
 * @typedef {import("./pad.js").Stroke} Stroke
 * @typedef {import("./sample_images.js").SampleImages} SampleImages
 * @typedef {{strokes: Stroke[]} | {index: number}} Origin an original
 * @typedef {keyof typeof SOURCES} Source of a code that is no original's own
 * @typedef {{origin: Origin | null, latents: Float32Array | null, source: Source | null, words?: string}} Choice
 *   `latents` only of a code that is not the origin's own; nothing is chosen if both are null
 * @typedef {{id: string, latentDim: number, numImages: number}} Page what a link must be of
 */
import { fromBytes, toBytes, toFloats } from "./drawing.js";
import { describeImage } from "./sample_images.js";

const SOURCES = {
  hand: "code changed by hand",
  place: "a place on the map",
  mean: "the mean code",
  random: "a random code",
  between: "a code between two others",
};
/** @type {Choice} */
export const NOTHING = { origin: null, latents: null, source: null };

/** @type {(choice: Choice) => boolean} */
export function isNothing({ origin, latents }) {
  return !origin && !latents;
}

/** What is chosen, in words; empty for nothing. @type {(choice: Choice, images: SampleImages) => string} */
export function describe({ origin, source, words }, images) {
  const original = origin && ("index" in origin ? describeImage(images, origin.index) : "your drawing");
  if (!source) return original ?? "";
  return words ?? SOURCES[source] + (original ? `, from ${original}` : "");
}

/** The part of the page's address after `#`; a drawing alone is the same on every page. @type {(choice: Choice, page: Page) => string} */
export function toHash({ origin, latents, source, words }, { id }) {
  const parts = new URLSearchParams();
  if (origin && "index" in origin) parts.set("image", String(origin.index + 1));
  if (origin && "strokes" in origin)
    parts.set("drawing", origin.strokes.map((each) => fromBytes(Uint8Array.from(each))).join("."));
  if (latents && source) {
    parts.set("code", fromBytes(new Uint8Array(Float32Array.from(latents).buffer)));
    parts.set("source", source);
  }
  if (words) parts.set("words", words);
  if (latents || (origin && "index" in origin)) parts.set("page", id);
  return parts.toString();
}

/** What such a part says; null if it is incomplete or of another page. @type {(hash: string, page: Page) => Choice | null} */
export function fromHash(hash, { id, latentDim, numImages }) {
  const parts = new URLSearchParams(hash);
  try {
    const index = Number(parts.get("image") ?? 1) - 1;
    const strokes = parts
      .get("drawing")
      ?.split(".")
      .map((text) => Array.from(toBytes(text)));
    const code = parts.get("code");
    const latents = code === null ? null : toFloats(code);
    const source = /** @type {Source} */ (parts.get("source"));
    if (strokes?.some((stroke) => !stroke.length || stroke.length % 2)) return null;
    const isCode = latents?.length === latentDim && latents.every(Number.isFinite) && Object.hasOwn(SOURCES, source);
    if (
      Number.isInteger(index) &&
      index >= 0 &&
      index < numImages &&
      (isCode || !latents) &&
      (parts.get("page") ?? id) === id
    ) {
      const origin = strokes ? { strokes } : parts.has("image") ? { index } : null;
      if (origin || latents)
        return { origin, latents, source: latents && source, words: parts.get("words") ?? undefined };
    }
  } catch {
    // no base64
  }
  return null;
}

/** What an error says beside those of the test images, which are sorted. @type {(error: number, errors: Float32Array, areDigits: boolean) => string} */
export function judge(error, errors, areDigits) {
  const share = errors.filter((each) => each > error).length / errors.length;
  if (share === 1) return "better than every test image";
  if (share === 0) {
    return `worse than every test image: to this model it is ${areDigits ? "not a digit" : "unlike all that it has seen"}`;
  }
  const [word, part] = share >= 0.5 ? ["better", share] : ["worse", 1 - share];
  return `${word} than ${Math.min(Math.round(100 * part), 99)} % of the test images`;
}
