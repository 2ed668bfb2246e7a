/**
 * The sample pictures: one for each class of the shipped model.
 *
 * They are rendered, not photographs, as the page states. Their names describe the scenes; the
 * network may classify them differently.
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

/** The URL of a sample's file. @param {string} name */
export function address(name) {
  return new URL(`./${name}.webp`, import.meta.url).href;
}

/** @param {string} name */
async function bring(name) {
  const response = await fetch(address(name));
  if (!response.ok) throw new Error(`the sample ${name} could not be fetched: ${response.status}`);
  return { name: `sample, ${name}`, blob: await response.blob() };
}
