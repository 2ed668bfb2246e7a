/**
 * The worker: the program, compiled to WebAssembly, behind messages.
 *
 * A request `{ id, type, ... }` gets one answer, `{ id, ok: true, ... }` or
 * `{ id, ok: false, code, message }`; messages with an `event` are unsolicited. Requests to the
 * network are served one after another; training runs between them in short slices.
 *
 * @import { Code, Device } from './client.js'
 */

import init, { PageDevice, Training } from './pyr_wgpu_web.js';

/** Number of times per epoch that the test images of the grid are classified. */
const EXAMS = 8;

/** A queue of tasks that run one after another. */
class Line {
  /** @type {Promise<unknown>} */ #last = Promise.resolve();

  /** @template T @param {() => T | Promise<T>} work @returns {Promise<T>} */
  add(work) {
    const next = this.#last.then(work);
    this.#last = next.catch(() => {});
    return next;
  }
}

/** An error with a code that the page handles. */
class Fault extends Error {
  /** @param {Code} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const ready = init({ module_or_path: new URL('pyr_wgpu_web_bg.wasm', import.meta.url) });
const line = new Line();
/** @type {PageDevice | null} */ let opened = null;
/** @type {Device | null} */ let device = null;
/** The checkpoint in use, to be loaded again elsewhere. @type {Uint8Array | null} */ let model = null;
/** Whether nothing has been classified since network or device changed. */ let first = true;
/** The class of the last answer. */ let answered = 0;
/** Id of the newest request for a classification. */ let newest = 0;
/** @type {Run | null} */ let run = null;

/** @type {Record<string, (request: any) => any>} */
const answers = {
  open: (request) => line.add(() => open(request.device)),
  prepare: ({ network }) => line.add(() => need().prepare(JSON.stringify(network)).then(() => ({}))),
  load: ({ bytes, name }) => line.add(() => load(new Uint8Array(bytes), name)),
  classify: (request) => {
    newest = request.id;
    return line.add(() => {
      if (request.id !== newest) throw new Fault('superseded', 'a newer picture supersedes this one');
      return classify(request);
    });
  },
  inspect: (request) => line.add(() => inspect(request.class)),
  train: ({ seed }) => line.add(() => train(seed)),
  pause: () => running().pause(),
  resume: () => running().resume(),
  checkpoint: () => running().checkpoint(),
  lose: () => line.add(() => {
    need().lose();
    return {};
  }),
};

addEventListener('message', ({ data }) => void answer(data));

/** @param {any} request */
async function answer(request) {
  try {
    await ready;
    const result = await answers[request.type](request);
    postMessage({ ...result, id: request.id, ok: true }, { transfer: result.transfer ?? [] });
  } catch (error) {
    refuse(request.id, error);
  }
}

/** @param {number} id @param {unknown} error */
function refuse(id, error) {
  const { code, message } = told(error);
  postMessage({ id, ok: false, code, message });
  if (code === 'lost') lost();
}

/** Code and message of an error. @param {any} error @returns {{ code: Code, message: string }} */
function told(error) {
  if (error instanceof WebAssembly.RuntimeError) {
    // The program panicked, so its state cannot be trusted: crash, and the page restarts the worker.
    setTimeout(() => {
      throw error;
    });
  }
  return { code: error?.code ?? 'failed', message: error?.message ?? String(error) };
}

function need() {
  if (!opened) throw new Fault('failed', 'no device is open');
  return opened;
}

/** @param {'auto' | 'gpu' | 'cpu'} wanted */
async function open(wanted) {
  const found = wanted === 'cpu' ? { adapter: null, why: null } : await look();
  if (wanted === 'gpu' && found.why) throw new Fault('no-adapter', found.why);
  let note = found.why && `${found.why} The processor is used instead.`;
  let next;
  try {
    next = await PageDevice.open(found.adapter ? 'gpu' : 'cpu');
  } catch (error) {
    if (wanted === 'gpu' || !found.adapter) throw error;
    note = `The graphics device could not be opened (${told(error).message}), so the processor is used.`;
    next = await PageDevice.open('cpu');
  }
  run?.end();
  run = null;
  opened?.free();
  opened = next;
  const kind = /** @type {Device['kind']} */ (next.kind());
  device = kind === 'cpu'
    ? { kind, name: 'the processor', detail: next.name() }
    : { kind, name: named(found.adapter?.info), detail: 'WebGPU' };
  if (model) {
    next.load(model);
    first = true;
  }
  return { device, note };
}

/** The browser's adapter, or the reason why there is none. */
async function look() {
  if (!('gpu' in navigator)) return { adapter: null, why: 'This browser has no WebGPU.' };
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  return adapter ? { adapter, why: null } : { adapter, why: 'This browser has WebGPU, but found no graphics adapter for it.' };
}

/** The name of an adapter; browsers reveal little of it. @param {any} info */
function named(info) {
  const words = [info?.vendor, info?.architecture].filter(Boolean).join(' ');
  return info?.description || info?.device || words || 'a graphics adapter';
}

/** @param {Uint8Array} bytes @param {string} name */
function load(bytes, name) {
  const start = performance.now();
  const card = { ...JSON.parse(need().load(bytes)), name };
  model = bytes;
  first = true;
  return { card, readyMs: performance.now() - start };
}

/** @param {{ bytes?: ArrayBuffer, pixels?: { width: number, height: number, rgba: Uint8ClampedArray } }} request */
async function classify({ bytes, pixels }) {
  const network = need();
  const input = bytes ? network.decode(new Uint8Array(bytes))
    : pixels ? network.fit(pixels.width, pixels.height, new Uint8Array(pixels.rgba.buffer, pixels.rgba.byteOffset, pixels.rgba.length))
      : null;
  if (!input) throw new Fault('picture', 'there is no picture in the request');
  const start = performance.now();
  const { predictions, uncertain } = JSON.parse(await network.classify(input));
  const ms = performance.now() - start;
  const result = { predictions, uncertain, ms, first };
  first = false;
  answered = predictions[0].index;
  const rgba = opaque(input);
  return { ...result, input: { size: network.size(), rgba }, transfer: [rgba.buffer] };
}

/** @param {Uint8Array} rgb */
function opaque(rgb) {
  const rgba = new Uint8ClampedArray(rgb.length / 3 * 4).fill(255);
  for (let i = 0; i < rgb.length / 3; i++) rgba.set(rgb.subarray(3 * i, 3 * i + 3), 4 * i);
  return rgba;
}

/** @param {number | undefined} wanted class */
async function inspect(wanted) {
  const network = need();
  const index = wanted ?? answered;
  const values = await network.class_activation_map(index);
  const activationMap = { class: index, size: Math.sqrt(values.length), values };
  return wanted === undefined ? { stages: await network.stages(), activationMap } : { activationMap };
}

/** Recovers from a lost device, once, although several requests may fail because of it. */
function lost() {
  const gone = opened;
  void line.add(() => opened === gone && recover());
}

/** Opens the device again, or the processor if that fails. */
async function recover() {
  postMessage({ event: 'lost', message: 'The browser closed it, or its driver was reset.' });
  try {
    postMessage({ event: 'recovered', ...await open(device?.kind === 'cpu' ? 'cpu' : 'auto') });
  } catch (error) {
    // Without a device nothing can run: crash, and the page restarts the worker.
    setTimeout(() => {
      throw error;
    });
  }
}

function running() {
  if (!run) throw new Fault('failed', 'no training is running');
  return run;
}

/** @param {number} seed */
function train(seed) {
  run?.end();
  run = new Run(need().train(seed));
  run.resume();
  return {};
}

/** A training run: posts its events to the page, and classifies some test images now and then. */
class Run {
  #training;
  #line = new Line();
  /** The training loop while it runs. @type {Promise<void> | null} */ #loop = null;
  #paused = false;
  #ended = false;
  /** Whether an evaluation is running, which a pause lets finish. */ #testing = false;
  /** Number of times that the test images were classified in this epoch. */ #exams = 0;

  /** @param {Training} training */
  constructor(training) {
    this.#training = training;
  }

  /** Starts or resumes the loop. */
  resume() {
    this.#paused = false;
    // If a pause is revoked at once, the previous loop is still running.
    this.#loop ??= this.#go();
    return {};
  }

  /** Stops the loop; resolves when nothing is being computed. */
  async pause() {
    this.#paused = true;
    await this.#loop;
    return {};
  }

  /** @returns {Promise<any>} */
  async checkpoint() {
    const bytes = await this.#line.add(() => this.#training.checkpoint());
    return { bytes: bytes.buffer, name: 'demo-shapes.safetensors', transfer: [bytes.buffer] };
  }

  /** Ends the run and frees it. */
  end() {
    this.#ended = true;
    void this.#line.add(() => this.#training.free());
  }

  async #go() {
    try {
      while (!this.#ended && (!this.#paused || this.#testing)) {
        if (!await this.#line.add(() => this.#next())) break;
        await breathe();
      }
    } catch (error) {
      if (this.#ended) return;
      const { code, message } = told(error);
      if (code === 'lost') lost();
      else postMessage({ event: 'failed', error: message });
    } finally {
      this.#loop = null;
    }
  }

  /** Posts the next event; returns whether there may be another. */
  async #next() {
    if (this.#ended) return false;
    const json = await this.#training.next();
    if (json === undefined) return false;
    const event = JSON.parse(json);
    postMessage(event);
    this.#testing = event.event === 'testing' || (event.event === 'progress' && event.step === event.steps);
    const exams = event.event === 'progress' ? Math.floor(event.step / event.steps * EXAMS) : 0;
    if (event.event === 'started' || exams > this.#exams) await this.#examine();
    this.#exams = exams;
    return true;
  }

  async #examine() {
    const results = JSON.parse(await this.#training.examine());
    const rgb = this.#training.images;
    const length = rgb.length / results.length;
    const pictures = results.map((/** @type {object} */ result, /** @type {number} */ i) =>
      ({ ...result, rgba: opaque(rgb.subarray(i * length, (i + 1) * length)) }));
    postMessage({ event: 'grid', pictures });
  }
}

/** Yields to the event loop, so that messages are received. */
function breathe() {
  return new Promise((resolve) => setTimeout(resolve));
}
