/** One PNG of input, code and output, to keep. */
import { cssColor, drawImages } from "./drawing.js";

const SIZE = 280;
const GAP = 40;
const FONT = "system-ui, sans-serif";

/** @type {(image: Float32Array | null, latents: Float32Array | null, ranges: import("./code_bars.js").Ranges, recon: Float32Array | null, caption: string) => void} */
export function savePicture(image, latents, ranges, recon, caption) {
  const canvas = document.createElement("canvas");
  canvas.width = 3 * SIZE + 4 * GAP;
  canvas.height = SIZE + 3 * GAP;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = cssColor("--card");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  const titles = ["input: 784 pixels", `latent code: ${ranges.mean.length} numbers`, "output: 784 pixels"];
  for (const [i, title] of titles.entries()) {
    const left = GAP + i * (SIZE + GAP);
    context.fillStyle = cssColor("--text");
    context.font = `600 17px ${FONT}`;
    context.fillText(title, left, GAP - 12);
    if (i === 1) drawBars(context, latents, ranges, left, GAP);
    else drawImage(context, i ? recon : image, left, GAP);
  }
  context.fillStyle = cssColor("--muted");
  context.font = `15px ${FONT}`;
  context.fillText(caption, GAP, SIZE + 2 * GAP, canvas.width - 2 * GAP);
  context.fillText(document.title, GAP, SIZE + 2 * GAP + 24, canvas.width - 2 * GAP);
  const link = document.createElement("a");
  link.download = "autoencoder.png";
  link.href = canvas.toDataURL("image/png");
  link.click();
}

/** @type {(context: CanvasRenderingContext2D, image: Float32Array | null, left: number, top: number) => void} */
function drawImage(context, image, left, top) {
  const small = document.createElement("canvas");
  drawImages(small, ...(image ? [image] : []));
  context.fillStyle = "black";
  context.fillRect(left, top, SIZE, SIZE);
  context.drawImage(small, left, top, SIZE, SIZE);
}

/** @type {(context: CanvasRenderingContext2D, latents: Float32Array | null, ranges: import("./code_bars.js").Ranges, left: number, top: number) => void} */
function drawBars(context, latents, { mean, min, max }, left, top) {
  context.fillStyle = cssColor("--accent");
  const pitch = SIZE / mean.length;
  latents?.forEach((value, i) => {
    const share = Math.max(-1, Math.min(1, (2 * (value - mean[i])) / (max[i] - min[i])));
    context.fillRect(
      left + i * pitch,
      top + (SIZE / 2) * (1 - Math.max(share, 0)),
      pitch * 0.8,
      (SIZE / 2) * Math.abs(share),
    );
  });
}
