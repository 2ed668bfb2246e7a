/**
 * The sample pictures: one for each class that the shipped model knows, drawn when the page opens.
 *
 * They are not photographs and the page says so. The names are those of the scenes, not of the
 * network's classes: what the network makes of them is its own business.
 *
 * @typedef {{ name: string, size: number, rgba: Uint8ClampedArray<ArrayBuffer> }} Sample
 */

import { scenes } from './scenes.js';

/** Names of all samples. */
export const names = Object.keys(scenes);

/** Rows and columns of a sample: sharp beside its 32x32 copy, and drawn in a fraction of a second. */
const SIZE = 160;

/** @type {Map<string, Promise<Sample>>} */
const drawn = new Map();
/** @type {Map<string, (sample: Sample) => void>} */
const waiting = new Map();
/** @type {Worker | null} */
let painter = null;

/** A sample by name; drawn once. @param {string} name @returns {Promise<Sample>} */
export function sample(name) {
  let promise = drawn.get(name);
  if (!promise) {
    promise = new Promise((resolve, reject) => {
      painter ??= start();
      painter.addEventListener('error', () => reject(new Error('the samples could not be drawn')), { once: true });
      waiting.set(name, resolve);
      painter.postMessage({ name, size: SIZE });
    });
    drawn.set(name, promise);
  }
  return promise;
}

function start() {
  const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'samples' });
  worker.addEventListener('message', ({ data }) => {
    waiting.get(data.name)?.(data);
    waiting.delete(data.name);
  });
  return worker;
}
