/**
 * Colour maps: a ramp for feature maps, and the two colours of class activation maps.
 *
 * @typedef {[number, number, number]} Rgb
 */

/** From dark to light with evenly rising lightness, so that it also works in greyscale. */
const DUSK = [[18, 21, 42], [66, 41, 104], [150, 58, 108], [219, 99, 82], [246, 169, 104], [252, 228, 182]];

/** The ramp in 256 steps, as RGB triples. */
export const dusk = new Uint8ClampedArray(256 * 3);
for (let i = 0; i < 256; i++) {
  const at = i / 255 * (DUSK.length - 1), low = Math.min(Math.floor(at), DUSK.length - 2);
  for (let c = 0; c < 3; c++) dusk[i * 3 + c] = DUSK[low][c] + (DUSK[low + 1][c] - DUSK[low][c]) * (at - low);
}

/** Colours of positive and negative values of a class activation map. @type {{ for: Rgb, against: Rgb }} */
export const activation = { for: [255, 122, 41], against: [46, 84, 196] };
