/**
 * What is chosen: a drawing, a test image, a code; as words and as part of the page's address.
 *
 * @typedef {import("./pad.js").Stroke} Stroke
 * @typedef {import("./sample_images.js").SampleImages} SampleImages
 * @typedef {{strokes: Stroke[], isExample?: boolean} | {index: number, isExample?: false}} Origin an original
 * @typedef {keyof typeof SOURCES} Source of a code that is no original's own
 * @typedef {{origin: Origin | null, latents: Float32Array | null, source: Source | null, words?: string}} Choice
 *   `latents` only of a code that is not the origin's own; nothing is chosen if both are null
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
  const original = origin ? describeOrigin(origin, images) : "";
  if (!source) return original;
  return words ?? SOURCES[source] + (origin ? `, from ${original}` : "");
}

/** @type {(origin: Origin, images: SampleImages) => string} */
function describeOrigin(origin, images) {
  if ("index" in origin) return describeImage(images, origin.index);
  return origin.isExample ? "an example drawing" : "your drawing";
}

/** The part of the page's address after `#`. @type {(choice: Choice) => string} */
export function toHash({ origin, latents, source }) {
  const parts = [];
  if (origin && "index" in origin) parts.push(`image=${origin.index + 1}`);
  if (origin && "strokes" in origin)
    parts.push(`drawing=${origin.strokes.map((each) => fromBytes(Uint8Array.from(each))).join(".")}`);
  if (latents) {
    const view = new DataView(new ArrayBuffer(4 * latents.length));
    latents.forEach((value, i) => {
      view.setFloat32(4 * i, value, true);
    });
    parts.push(`code=${fromBytes(new Uint8Array(view.buffer))}`, `source=${source}`);
  }
  return parts.join("&");
}

/** What such a part says; null if nothing, or if it is of another model's page. @type {(hash: string, latentDim: number, numImages: number) => Choice | null} */
export function fromHash(hash, latentDim, numImages) {
  const parts = new URLSearchParams(hash);
  try {
    const index = Number(parts.get("image")) - 1;
    const strokes = (parts.get("drawing") ?? "").split(".").map((text) => Array.from(toBytes(text)));
    const latents = toFloats(parts.get("code") ?? "");
    const source = /** @type {Source} */ (parts.get("source"));
    /** @type {Origin | null} */
    let origin = null;
    if (Number.isInteger(index) && index >= 0 && index < numImages) origin = { index };
    else if (strokes[0].length) origin = { strokes };
    const isCode = latents.length === latentDim && latents.every(Number.isFinite) && Object.hasOwn(SOURCES, source);
    const choice = isCode ? { origin, latents, source } : { origin, latents: null, source: null };
    return isNothing(choice) ? null : choice;
  } catch {
    return null; // no base64
  }
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
