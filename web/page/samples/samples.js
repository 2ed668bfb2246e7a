/**
 * The sample images: one for each class that the shipped model knows.
 *
 * They are rendered, not photographs, and the page says so. The names are those of the scenes, not
 * of the network's classes: what the network makes of them is its own business.
 */

/** Names of all samples. */
export const names = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'];

/** @type {Map<string, Promise<{ name: string, blob: Blob }>>} */
const fetched = new Map();

/** A sample by name; fetched once. @param {string} name */
export function sample(name) {
  const promise = fetched.get(name) ?? bring(name);
  fetched.set(name, promise);
  return promise;
}

/** Where the file of a sample is. @param {string} name */
export function address(name) {
  return new URL(`./${name}.webp`, import.meta.url).href;
}

/** @param {string} name */
async function bring(name) {
  const response = await fetch(address(name));
  if (!response.ok) throw new Error(`the sample ${name} could not be fetched: ${response.status}`);
  return { name: `sample, ${name}`, blob: await response.blob() };
}
