/** One PNG of input, code and output, to keep. */
import { PICTURE, SIDE } from "./constants.js";
import { clamp, context2d, cssColor, imageCanvas, make } from "./drawing.js";

const { size: SIZE, gap: GAP } = PICTURE;

/** @type {(image: Float32Array | null, latents: Float32Array | null, ranges: import("./code_bars.js").Ranges, recon: Float32Array | null, lines: string[]) => void} */
export function savePicture(image, latents, { mean, min, max }, recon, lines) {
  const canvas = make("canvas", { width: 3 * SIZE + 4 * GAP, height: SIZE + 4 * GAP });
  const context = context2d(canvas);
  const write = (/** @type {string} */ text, /** @type {number} */ x, /** @type {number} */ y) => {
    context.fillStyle = cssColor("--text");
    context.font = "16px system-ui, sans-serif";
    context.fillText(text, x, y, canvas.width - x - GAP);
  };
  context.imageSmoothingEnabled = false;
  context.fillStyle = cssColor("--card");
  context.fillRect(0, 0, canvas.width, canvas.height);
  const titles = ["input: 784 pixels", `latent code: ${mean.length}`, "output: 784 pixels"];
  for (const [i, title] of titles.entries()) {
    const left = GAP + i * (SIZE + GAP);
    write(title, left, GAP - 12);
    if (i === 1) continue;
    const content = i ? recon : image;
    context.fillStyle = "black";
    context.fillRect(left, GAP, SIZE, SIZE);
    if (content) context.drawImage(imageCanvas(content, SIDE), left, GAP, SIZE, SIZE);
  }
  context.fillStyle = cssColor("--accent");
  latents?.forEach((value, i) => {
    const height = (SIZE / 2) * clamp((2 * (value - mean[i])) / (max[i] - min[i]), -1, 1);
    const pitch = SIZE / mean.length;
    context.fillRect(2 * GAP + SIZE + i * pitch, GAP + SIZE / 2, pitch * 0.8, -height);
  });
  for (const [i, line] of lines.entries()) write(line, GAP, SIZE + (2 + 0.7 * i) * GAP);
  make("a", { download: "autoencoder.png", href: canvas.toDataURL("image/png") }).click();
}
