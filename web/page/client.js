/**
 * The page's side of the worker: requests with one answer each, events, and restarting.
 *
 * All computation happens in a worker; this class numbers requests and dispatches the answers.
 * If the worker crashes, every open request fails, and the client emits `crashed`; `restart`
 * starts a new worker.
 *
 * @typedef {'no-adapter' | 'out-of-memory' | 'lost' | 'checkpoint' | 'picture' | 'superseded' | 'failed'} Code
 * @typedef {{ kind: 'gpu' | 'software' | 'cpu', name: string, detail: string }} Device
 * @typedef {{ device: Device, note: string | null }} Opened
 * @typedef {{
 *   name: string, network: string, depth: number, alpha: number, parameters: number, macs: number,
 *   classes: string[], imageSize: number, largestFile: number, trained: Record<string, unknown> | null, bytes: number,
 * }} Card
 * @typedef {{ index: number, class: string, probability: number }} Prediction
 * @typedef {{ width: number, height: number, rgba: Uint8ClampedArray<ArrayBuffer> }} Pixels
 * @typedef {{
 *   input: { size: number, rgba: Uint8ClampedArray<ArrayBuffer> }, predictions: Prediction[],
 *   ms: number, first: boolean, uncertain: boolean,
 * }} Answer
 * @typedef {{ name: string, size: number, channels: number, maps: Uint8ClampedArray }} Stage
 * @typedef {{ class: number, size: number, values: Float32Array }} ActivationMap
 * @typedef {{ stages?: Stage[], activationMap: ActivationMap }} Insight
 */

/** A request that the worker refused, with the reason in plain words. */
export class Refusal extends Error {
  /** @param {Code} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = 'Refusal';
    /** @type {Code} */
    this.code = code;
  }
}

export class WorkerClient {
  /** @type {Worker | null} */ #worker = null;
  /** @type {Map<number, { resolve: (answer: any) => void, reject: (error: Refusal) => void }>} */
  #open = new Map();
  /** @type {Map<string, Set<(message: any) => void>>} */
  #listeners = new Map();
  #next = 1;
  #url;

  /** @param {URL} url of the worker's module */
  constructor(url) {
    this.#url = url;
    this.restart();
  }

  /** Terminates the worker, if there is one, and starts a new one without any state. */
  restart() {
    this.#worker?.terminate();
    this.#failAll('the worker was restarted');
    const worker = new Worker(this.#url, { type: 'module', name: 'pyr-wgpu' });
    worker.addEventListener('message', ({ data }) => this.#receive(data));
    worker.addEventListener('error', (event) => {
      event.preventDefault();
      this.#crash(worker, event.message || 'the worker could not be loaded');
    });
    worker.addEventListener('messageerror', () => this.#crash(worker, 'a message could not be read'));
    this.#worker = worker;
  }

  /**
   * Sends a request to the worker. Buffers in `transfer` move there and are empty here afterwards.
   * @param {string} type @param {Record<string, unknown>} [fields] @param {Transferable[]} [transfer]
   * @returns {Promise<any>}
   */
  request(type, fields = {}, transfer = []) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#open.set(id, { resolve, reject });
      this.#worker?.postMessage({ id, type, ...fields }, transfer);
    });
  }

  /** Calls back on each event of the given name. @param {string} name @param {(message: any) => void} heard */
  on(name, heard) {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set.add(heard));
  }

  /** @param {any} data */
  #receive(data) {
    if (data.event) return this.#tell(data.event, data);
    const open = this.#open.get(data.id);
    this.#open.delete(data.id);
    if (data.ok) open?.resolve(data);
    else open?.reject(new Refusal(data.code ?? 'failed', data.message ?? 'no reason was given'));
  }

  /** @param {Worker} worker @param {string} message */
  #crash(worker, message) {
    if (worker !== this.#worker) return;
    this.#failAll(message);
    this.#tell('crashed', { message });
  }

  /** @param {string} message */
  #failAll(message) {
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const { reject } of open) reject(new Refusal('failed', message));
  }

  /** @param {string} name @param {any} message */
  #tell(name, message) {
    for (const heard of this.#listeners.get(name) ?? []) heard(message);
  }
}
