/**
 * The second tab: training runs in the worker, and its events are shown here.
 *
 * @import { WorkerClient } from './client.js'
 * @import { States } from './states.js'
 * The names and units of events are those of `src/train/event.rs`: errors in percent.
 * @typedef {{
 *   epoch: number, epochs: number, step: number, steps: number, recent_loss: number,
 *   images_per_second: number, device_bytes: number,
 * }} StepProgress
 * @typedef {{ rgba: Uint8ClampedArray<ArrayBuffer>, class: string | number, truth: string | number, probability: number }} Examined
 */

import { Chart } from './chart.js';
import { brush, find, make } from './dom.js';
import { percent, size } from './words.js';

/** Test images in the grid. */
const EXAM = 64;

export class Train {
  #client;
  #states;
  #chart = new Chart(find('curve', HTMLCanvasElement));
  #start = find('train-start', HTMLButtonElement);
  #pause = find('train-pause', HTMLButtonElement);
  #stop = find('train-stop', HTMLButtonElement);
  #save = find('train-save', HTMLButtonElement);
  #state = find('train-state', HTMLElement);
  #progress = find('train-progress', HTMLProgressElement);
  /** @type {'idle' | 'starting' | 'running' | 'paused' | 'stopped' | 'finished'} */ #phase = 'idle';
  #seed = 1;

  /** @param {WorkerClient} client @param {States} states */
  constructor(client, states) {
    this.#client = client;
    this.#states = states;
    this.#start.addEventListener('click', () => void this.#begin());
    this.#pause.addEventListener('click', () => void this.#toggle());
    this.#stop.addEventListener('click', () => void this.#end());
    this.#save.addEventListener('click', () => void this.#download());
    find('exam', HTMLElement).replaceChildren(...Array.from({ length: EXAM }, () =>
      make('li', {}, make('canvas', { width: '32', height: '32', role: 'img', 'aria-label': 'not shown yet' }))));
    client.on('progress', (event) => this.#step(event));
    client.on('epoch', (event) => this.#epoch(event));
    client.on('finished', () => this.#finished());
    client.on('failed', ({ error }) => this.#fail(new Error(error), 'The training failed.'));
    client.on('grid', (event) => this.#grid(event.pictures));
    this.#enter('idle', this.#state.textContent ?? '');
  }

  /** Ends the training after a restart of the worker or the loss of its device. @param {string} why */
  lost(why) {
    if (['starting', 'running', 'paused'].includes(this.#phase)) this.#enter('stopped', why);
    this.#save.hidden = true;
  }

  async #begin() {
    this.#enter('starting', 'Drawing the images and compiling the network…');
    this.#chart.clear(1);
    this.#progress.removeAttribute('value');
    const seed = this.#seed++;
    try {
      await this.#client.request('train', { seed });
      if (this.#phase === 'starting') this.#enter('running', 'Training. You can classify pictures meanwhile.');
    } catch (error) {
      this.#fail(error, 'The training could not start.');
    }
  }

  async #toggle() {
    const paused = this.#phase === 'paused';
    try {
      await this.#client.request(paused ? 'resume' : 'pause');
      if (paused) this.#enter('running', 'Training again.');
      else this.#enter('paused', 'Paused. Resuming continues with the next step.');
    } catch (error) {
      this.#fail(error, 'The training does not respond.');
    }
  }

  async #end() {
    try {
      await this.#client.request('pause');
      this.#enter('stopped', 'Stopped. The weights trained so far can be downloaded.');
    } catch (error) {
      this.#fail(error, 'The training does not respond.');
    }
  }

  async #download() {
    try {
      const { bytes, name } = await this.#client.request('checkpoint');
      const address = URL.createObjectURL(new Blob([bytes], { type: 'application/octet-stream' }));
      make('a', { href: address, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
      find('train-command', HTMLElement).textContent = `pyr-wgpu eval ${name} --dataset shapes`;
      this.#state.textContent = `${name}, ${size(bytes.byteLength)}.`;
    } catch (error) {
      this.#fail(error, 'The weights could not be written.');
    }
  }

  /** @param {StepProgress} progress */
  #step({ epoch, epochs, step, steps, recent_loss, images_per_second, device_bytes }) {
    if (this.#phase === 'starting') this.#enter('running', 'Training. You can classify pictures meanwhile.');
    const write = (/** @type {string} */ id, /** @type {string} */ words) => {
      find(id, HTMLElement).textContent = words;
    };
    const at = epoch - 1 + step / steps;
    write('train-epoch', `${epoch} of ${epochs}`);
    write('train-step', `${step} of ${steps}`);
    write('train-loss', recent_loss.toFixed(3));
    write('train-speed', `${images_per_second.toFixed(0)} img/s`);
    write('train-memory', size(device_bytes));
    this.#progress.value = at / epochs;
    this.#chart.epochs = epochs;
    this.#chart.step({ at, loss: recent_loss });
  }

  /** @param {{ epoch: number, test_top1_error: number }} event */
  #epoch({ epoch, test_top1_error }) {
    find('train-error', HTMLElement).textContent = percent(test_top1_error / 100);
    this.#chart.epoch({ at: epoch, error: test_top1_error });
  }

  /** The training has run all its epochs. */
  #finished() {
    if (this.#phase !== 'running' && this.#phase !== 'starting') return;
    this.#progress.value = 1;
    this.#enter('finished', 'Finished. The trained weights can be downloaded.');
  }

  /** @param {Examined[]} pictures */
  #grid(pictures) {
    const cells = find('exam', HTMLElement).children;
    let correct = 0;
    pictures.slice(0, EXAM).forEach((picture, i) => {
      const cell = /** @type {HTMLElement} */ (cells[i]);
      const canvas = /** @type {HTMLCanvasElement} */ (cell.firstElementChild);
      const isCorrect = picture.class === picture.truth;
      correct += Number(isCorrect);
      brush(canvas).putImageData(new ImageData(new Uint8ClampedArray(picture.rgba), 32, 32), 0, 0);
      cell.dataset.right = String(isCorrect);
      cell.style.setProperty('--sure', picture.probability.toFixed(3));
      const words = isCorrect ? `${picture.truth}, correct, ${percent(picture.probability)}`
        : `${picture.truth}, classified as ${picture.class}, ${percent(picture.probability)}`;
      cell.title = words;
      canvas.setAttribute('aria-label', words);
    });
    find('exam-title', HTMLElement).textContent = `${correct} of ${pictures.length} correct`;
  }

  /** @param {typeof this.#phase} phase @param {string} words */
  #enter(phase, words) {
    this.#phase = phase;
    document.body.dataset.training = phase;
    this.#state.textContent = words;
    const active = phase === 'running' || phase === 'paused' || phase === 'starting';
    const focused = document.activeElement === this.#start || document.activeElement === this.#stop;
    this.#start.hidden = active;
    this.#start.textContent = phase === 'idle' ? 'Start training' : 'Start again';
    this.#pause.hidden = this.#stop.hidden = !active;
    this.#pause.disabled = this.#stop.disabled = phase === 'starting';
    this.#pause.textContent = phase === 'paused' ? 'Resume' : 'Pause';
    this.#save.hidden = phase === 'idle' || phase === 'starting';
    if (focused) (active ? this.#pause : this.#start).focus({ preventScroll: true });
  }

  /** @param {unknown} error @param {string} title */
  #fail(error, title) {
    const text = error instanceof Error ? error.message : String(error);
    this.#states.pass({ kind: 'error', title, text });
    this.#enter(this.#phase === 'starting' ? 'idle' : 'stopped', `${title} ${text}`);
  }
}
