/**
 * Places of latent codes on the map.
 *
 * @typedef {{points: string, axes: string[], isJittered: boolean, plane: {mean: string, axes: string} | null}} MapContent
 *   `points` of all images, the second coordinate `isJittered` in one dimension; `plane` with its origin and two
 *   orthonormal axes, if codes are projected onto one.
 * @typedef {{
 *   points: number[][], axes: string[], is3d: boolean, isJittered: boolean,
 *   place: (latents: Float32Array) => number[],
 *   latentsAt: (place: number[]) => Float32Array | null,
 * }} Projection a place has two or three coordinates; `latentsAt` is null where a place is no code.
 */
import { toFloats } from "./drawing.js";

/** @type {(content: MapContent, latentDim: number) => Projection} */
export function makeProjection(content, latentDim) {
  const numbers = toFloats(content.points);
  const dims = content.axes.length;
  const points = Array.from({ length: numbers.length / dims }, (_, i) =>
    Array.from(numbers.subarray(i * dims, (i + 1) * dims)),
  );
  const plane = content.plane && { mean: toFloats(content.plane.mean), axes: toFloats(content.plane.axes) };
  const middle = points.reduce((sum, point) => sum + point[1], 0) / points.length;
  return {
    points,
    axes: content.axes,
    is3d: dims === 3,
    isJittered: content.isJittered,
    place: (latents) => {
      if (plane) return [0, 1].map((i) => dot(latents, plane.mean, plane.axes, i));
      return latentDim === 1 ? [latents[0], middle] : Array.from(latents);
    },
    latentsAt: (place) => {
      if (plane) return plane.mean.map((x, i) => x + place[0] * plane.axes[i] + place[1] * plane.axes[latentDim + i]);
      return dims === 2 ? Float32Array.from(place.slice(0, latentDim)) : null;
    },
  };
}

/** @type {(latents: Float32Array, mean: Float32Array, axes: Float32Array, axis: number) => number} */
function dot(latents, mean, axes, axis) {
  const offset = axis * latents.length;
  return latents.reduce((sum, value, i) => sum + (value - mean[i]) * axes[offset + i], 0);
}
