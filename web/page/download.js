/**
 * Downloads the page's files with progress in bytes.
 *
 * @typedef {{ path: string, bytes: number }} Listed
 * @typedef {{ version: string, files: Listed[], model: { path: string, network: unknown } }} List
 */

/** The list of the page's files. @returns {Promise<List>} */
export async function fetchList() {
  const response = await reach('files.json');
  return response.json();
}

/**
 * The bytes of a file.
 * @param {string} path @param {number} expected bytes according to the list
 * @param {(load: { done: number, total: number }) => void} heard
 * @returns {Promise<ArrayBuffer>}
 */
export async function download(path, expected, heard) {
  const response = await reach(path);
  if (!response.body) return response.arrayBuffer();
  // The server's Content-Length is that of the compressed file, or missing; the list has the size.
  const parts = [];
  let done = 0;
  heard({ done, total: expected });
  for (const reader = response.body.getReader(); ;) {
    const { value, done: end } = await reader.read();
    if (end) break;
    parts.push(value);
    done += value.length;
    heard({ done, total: expected });
  }
  return new Blob(parts).arrayBuffer();
}

/** @param {string} path */
async function reach(path) {
  const response = await fetch(new URL(path, document.baseURI)).catch(() => {
    throw new Error(`${path} cannot be downloaded; check the connection`);
  });
  if (!response.ok) throw new Error(`${path}: the server answered ${response.status}`);
  return response;
}
