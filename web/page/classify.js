/**
 * Classifies pictures and shows the answers; a newer picture always supersedes an older one.
 *
 * @import { Answer, Card, Pixels, WorkerClient } from './client.js'
 * @import { States } from './states.js'
 * @import { Inspect } from './inspect.js'
 * @typedef {{ name: string, blob: Blob } | { name: string, pixels: Pixels, moving?: boolean }} Source
 */

import { brush, find, make } from './dom.js';
import { Refusal } from './client.js';
import { median, percent, time } from './words.js';

/** Number of classes with a bar. */
const SHOWN = 5;
/** Shortest interval between announcements of live camera pictures to screen readers, in milliseconds. */
const TELL_EVERY = 4000;

export class Classify {
  #client;
  #states;
  #inspect;
  #picture = find('picture', HTMLImageElement);
  #drawn = find('drawn', HTMLCanvasElement);
  #blank = find('picture-blank', HTMLElement);
  #name = find('picture-name', HTMLElement);
  #input = find('input', HTMLCanvasElement);
  #verdict = find('verdict', HTMLElement);
  #note = find('verdict-note', HTMLElement);
  #bars = find('bars', HTMLElement);
  #again = find('again', HTMLButtonElement);
  /** @type {Card | null} */ #card = null;
  /** @type {Source | null} */ #source = null;
  /** Number of the newest picture. */ #newest = 0;
  /** @type {number[]} */ #later = [];
  #told = 0;
  #address = '';

  /** @param {WorkerClient} client @param {States} states @param {Inspect} inspect */
  constructor(client, states, inspect) {
    this.#client = client;
    this.#states = states;
    this.#inspect = inspect;
    this.#again.addEventListener('click', () => void this.repeat());
    this.#bars.replaceChildren(...Array.from({ length: SHOWN }, (_, rank) => this.#bar(rank)));
  }

  /** Sets the network and its device, and classifies the picture that waits, if any. @param {Card} card @param {string} device */
  async network(card, device) {
    this.#card = card;
    this.#forgetTimes();
    find('time-device', HTMLElement).textContent = device;
    const named = card.classes.length <= 20 ? card.classes.join(', ') : `${card.classes.slice(0, 12).join(', ')} and ${card.classes.length - 12} more`;
    find('classes', HTMLElement).textContent = `It distinguishes ${card.classes.length} classes: ${named}. Every answer is one of these.`;
    find('input-size', HTMLElement).textContent = `${card.imageSize}×${card.imageSize} pixels`;
    this.#inspect.network(card, (index) => this.#choose(index));
    await this.repeat();
  }

  /** Forgets the network; pictures wait until the next one. */
  unload() {
    this.#card = null;
    this.#again.disabled = true;
  }

  /** Whether a picture is shown or waiting. */
  get busy() {
    return this.#source !== null;
  }

  /** Classifies the picture again, for instance on another device. */
  async repeat() {
    if (this.#source) await this.look(this.#source, false);
  }

  /** Shows a picture and classifies it; without a network, the picture waits. @param {Source} source @param {boolean} [preview] */
  async look(source, preview = true) {
    const mine = ++this.#newest;
    const current = () => mine === this.#newest;
    this.#source = source;
    if (preview) this.#preview(source);
    if (!this.#card) return;
    document.body.dataset.asked = String(mine);
    try {
      const answer = await this.#ask(source);
      if (!current()) return;
      this.#states.clear('picture');
      this.#show(answer, source);
      document.body.dataset.answered = String(mine);
      await this.#inspect.show(answer, current);
    } catch (error) {
      if (error instanceof Refusal && error.code === 'superseded') return;
      if (current()) this.#refuse(error, source);
    }
  }

  /** @param {Source} source @returns {Promise<Answer>} */
  async #ask(source) {
    if ('pixels' in source) return this.#client.request('classify', { pixels: source.pixels });
    try {
      // A larger file is left to the browser.
      if (this.#card && source.blob.size > this.#card.largestFile) throw new Refusal('picture', `${source.blob.size} bytes are too large for a picture.`);
      const bytes = await source.blob.arrayBuffer();
      return await this.#client.request('classify', { bytes }, [bytes]);
    } catch (error) {
      if (!(error instanceof Refusal) || error.code !== 'picture') throw error;
      // The browser may read what the program does not: HEIC, AVIF, SVG, and very large pictures.
      const pixels = await decode(source.blob).catch(() => null);
      if (!pixels) throw error;
      this.#name.textContent = `${source.name}, decoded by the browser`;
      return this.#client.request('classify', { pixels });
    }
  }

  /** @param {Source} source */
  #preview(source) {
    URL.revokeObjectURL(this.#address);
    this.#name.textContent = source.name;
    const moving = 'moving' in source && Boolean(source.moving);
    this.#blank.hidden = true;
    this.#picture.hidden = !('blob' in source);
    this.#drawn.hidden = 'blob' in source || moving;
    if ('blob' in source) {
      this.#address = URL.createObjectURL(source.blob);
      this.#picture.src = this.#address;
      this.#picture.alt = `Your picture, ${source.name}`;
      this.#picture.onerror = () => {
        this.#picture.hidden = true;
        this.#blank.hidden = false;
        this.#blank.textContent = 'The browser cannot show this file';
      };
    } else if (!moving) {
      const { width, height, rgba } = source.pixels;
      Object.assign(this.#drawn, { width, height });
      brush(this.#drawn).putImageData(new ImageData(rgba, width, height), 0, 0);
    }
  }

  /** @param {Answer} answer @param {Source} source */
  #show({ input, predictions, ms, first, uncertain }, source) {
    Object.assign(this.#input, { width: input.size, height: input.size });
    brush(this.#input).putImageData(new ImageData(input.rgba, input.size, input.size), 0, 0);
    this.#input.setAttribute('aria-label', `The input of the network, ${input.size} by ${input.size} pixels`);
    const [best] = predictions;
    this.#verdict.textContent = uncertain ? 'Probably none of these' : best.class;
    this.#verdict.classList.toggle('uncertain', uncertain);
    this.#note.textContent = uncertain
      ? `No class is likely; the closest is ${best.class}, with ${percent(best.probability)}.`
      : best.probability > 0.9 ? `High confidence: ${percent(best.probability)}.`
        : best.probability > 0.6 ? `Moderate confidence: ${percent(best.probability)}.`
          : `Low confidence: ${percent(best.probability)}.`;
    [...this.#bars.children].forEach((row, rank) => {
      const prediction = predictions[rank];
      const button = /** @type {HTMLButtonElement} */ (row.firstElementChild);
      /** @type {HTMLElement} */ (row).hidden = !prediction;
      if (!prediction) return;
      const [name, share, track] = /** @type {HTMLElement[]} */ ([...button.children]);
      name.textContent = prediction.class;
      share.textContent = percent(prediction.probability);
      /** @type {HTMLElement} */ (track.firstElementChild).style.transform = `scaleX(${prediction.probability})`;
      button.disabled = false;
      button.dataset.class = String(prediction.index);
      button.dataset.probability = String(prediction.probability);
      button.title = `Class activation map of ${prediction.class}`;
    });
    this.#again.disabled = false;
    if (first) find('time-first', HTMLElement).textContent = time(ms);
    else {
      this.#later = [...this.#later.slice(-19), ms];
      const many = this.#later.length > 1 ? `, median of ${this.#later.length}` : '';
      find('time-later', HTMLElement).textContent = `${time(median(this.#later))}${many}`;
    }
    this.#tell(`${uncertain ? 'Probably none of these. ' : ''}${predictions.slice(0, 3).map((p) => `${p.class} ${percent(p.probability)}`).join(', ')}`, source);
  }

  /** Announces the answer to screen readers. @param {string} words @param {Source} source */
  #tell(words, source) {
    if ('moving' in source && source.moving && performance.now() - this.#told < TELL_EVERY) return;
    this.#told = performance.now();
    find('spoken', HTMLElement).textContent = words;
  }

  /** @param {unknown} error @param {Source} source */
  #refuse(error, source) {
    const reason = error instanceof Error ? error.message : String(error);
    const code = error instanceof Refusal ? error.code : 'failed';
    if (code === 'lost') return;
    const states = {
      picture: { kind: 'error', title: `${source.name} is not a picture that can be read.`, text: reason },
      'out-of-memory': { kind: 'error', title: 'The device is out of memory.', text: `${reason} Closing other tabs may help.` },
    };
    const state = states[/** @type {'picture'} */ (code)] ?? { kind: 'error', title: 'The picture could not be classified.', text: reason };
    this.#states.pass({ .../** @type {import('./states.js').State} */ (state), id: 'picture' });
    this.#source = null;
    this.#verdict.textContent = 'No answer';
    this.#verdict.classList.add('uncertain');
    this.#note.textContent = 'Try another picture.';
    this.#again.disabled = true;
    for (const row of this.#bars.children) {
      const button = /** @type {HTMLButtonElement} */ (row.firstElementChild);
      button.disabled = true;
      const [name, share, track] = /** @type {HTMLElement[]} */ ([...button.children]);
      name.textContent = share.textContent = '–';
      /** @type {HTMLElement} */ (track.firstElementChild).style.transform = 'scaleX(0)';
    }
    document.body.dataset.answered = document.body.dataset.asked ?? '';
  }

  #forgetTimes() {
    this.#later = [];
    find('time-first', HTMLElement).textContent = find('time-later', HTMLElement).textContent = '–';
  }

  /** @param {number} rank */
  #bar(rank) {
    const fill = make('i');
    const button = make('button', { type: 'button', class: 'bar', 'aria-pressed': 'false', 'data-rank': String(rank) },
      make('span', { class: 'name' }, '–'), make('span', { class: 'share' }, ''),
      make('span', { class: 'track', 'aria-hidden': 'true' }, fill));
    button.disabled = true;
    button.addEventListener('click', () => this.#choose(Number(button.dataset.class)));
    return make('li', {}, button);
  }

  /** @param {number} index */
  #choose(index) {
    this.#inspect.choose(index).catch((error) => {
      if (error instanceof Refusal && (error.code === 'superseded' || error.code === 'lost')) return;
      this.#states.pass({ kind: 'error', title: 'The class activation map cannot be shown.', text: error.message, id: 'picture' });
    });
  }
}

/** Pixels of a picture that only the browser can read. @param {Blob} blob @returns {Promise<Pixels>} */
async function decode(blob) {
  const bitmap = await createImageBitmap(blob);
  // A shorter side of 1024 pixels is more than enough for the network's input.
  const scale = Math.min(1, 1024 / Math.min(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * scale)), height = Math.max(1, Math.round(bitmap.height * scale));
  const canvas = make('canvas', { width: String(width), height: String(height) });
  const context = brush(canvas);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return { width, height, rgba: /** @type {Uint8ClampedArray<ArrayBuffer>} */ (context.getImageData(0, 0, width, height).data) };
}
