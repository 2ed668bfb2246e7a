/**
 * The stages as a pyramid of feature maps, and the class activation map.
 *
 * Every stage is a slab of feature maps, all drawn at one size. A later stage has more of them, so
 * its slab is wider; they have fewer pixels, so they look coarser.
 *
 * @import { Answer, Card, ActivationMap, Insight, WorkerClient, Stage } from './client.js'
 */

import { brush, find, make, sharpen } from './dom.js';
import { dusk, activation as hues } from './ramp.js';

/** Smallest width of a cell; narrower ones are hard to see, so there are more rows instead. */
const CELL = 30;
/** Fewest and most rows of a slab. */
const ROWS = [4, 16];

export class Inspect {
  #client;
  #pyramid = find('pyramid', HTMLElement);
  #canvas = find('activation', HTMLCanvasElement);
  #text = find('activation-text', HTMLElement);
  #opacity = find('opacity', HTMLInputElement);
  #choices = find('activation-classes', HTMLElement);
  /** @type {Slab[]} */ #slabs = [];
  /** @type {Answer['input'] | null} */ #input = null;
  /** @type {ActivationMap | null} */ #map = null;
  /** @type {string[]} */ #classes = [];
  /** Number of the newest request, so that answers to older ones are dropped. */ #asked = 0;

  /** @param {WorkerClient} client */
  constructor(client) {
    this.#client = client;
    this.#opacity.addEventListener('input', () => this.#drawMap());
    // In the next frame: laying out inside the callback would trigger it again.
    new ResizeObserver(() => requestAnimationFrame(() => this.#layOut())).observe(this.#pyramid);
    this.#build([
      { name: 'stage 1', size: 32, channels: 32 }, { name: 'stage 2', size: 16, channels: 48 },
      { name: 'stage 3', size: 8, channels: 64 },
    ], 32);
  }

  /** Lists the classes of a newly loaded network as choices. @param {Card} card @param {(index: number) => void} chosen */
  network(card, chosen) {
    this.#classes = card.classes;
    // With hundreds of classes, only the bars offer a choice.
    const named = card.classes.length <= 20 ? card.classes : [];
    this.#choices.replaceChildren(...named.map((name, index) => {
      const button = make('button', { type: 'button', 'aria-pressed': 'false', 'data-class': String(index) }, name);
      button.addEventListener('click', () => chosen(index));
      return button;
    }));
  }

  /** Shows the picture last classified; `current` says whether it still is. @param {Answer} answer @param {() => boolean} current */
  async show(answer, current) {
    const asked = ++this.#asked;
    const insight = /** @type {Insight} */ (await this.#client.request('inspect'));
    if (asked !== this.#asked || !current()) return;
    const { stages = [] } = insight;
    this.#input = answer.input;
    if (this.#slabs.length !== stages.length + 1 || stages.some((s, i) => this.#slabs[i + 1].channels !== s.channels)) {
      this.#build(stages, answer.input.size);
    }
    this.#slabs[0].fill({ name: 'input', size: answer.input.size, channels: 3, maps: planes(answer.input) });
    stages.forEach((stage, i) => this.#slabs[i + 1].fill(stage));
    this.#layOut();
    this.#take(insight.activationMap);
  }

  /** Shows the class activation map of another class for the same picture. @param {number} index */
  async choose(index) {
    const asked = ++this.#asked;
    const insight = /** @type {Insight} */ (await this.#client.request('inspect', { class: index }));
    if (asked === this.#asked) this.#take(insight.activationMap);
  }

  /** @param {ActivationMap} map */
  #take(map) {
    this.#map = map;
    for (const button of document.querySelectorAll('[data-class][aria-pressed]')) {
      button.setAttribute('aria-pressed', String(button.getAttribute('data-class') === String(map.class)));
    }
    this.#drawMap();
  }

  /** @param {{ name: string, size: number, channels: number }[]} stages @param {number} inputSize */
  #build(stages, inputSize) {
    const all = [{ name: 'input', size: inputSize, channels: 3 }, ...stages];
    this.#slabs = all.map((stage) => new Slab(stage));
    this.#pyramid.replaceChildren(...this.#slabs.map((slab) => slab.figure));
    this.#layOut();
  }

  /** Gives all slabs one cell size, so that their widths show their numbers of channels. */
  #layOut() {
    const width = this.#pyramid.clientWidth;
    if (width < 50 || !this.#slabs.length) return;
    const widest = Math.max(...this.#slabs.map((slab) => slab.channels));
    let rows = ROWS[0];
    while (rows < ROWS[1] && width / Math.ceil(widest / rows) < CELL) rows++;
    const cell = Math.max(4, Math.floor(width / Math.ceil(widest / rows)));
    for (const slab of this.#slabs) slab.draw(rows, cell);
  }

  #drawMap() {
    const input = this.#input, map = this.#map, canvas = this.#canvas, context = brush(canvas);
    if (!input || !map) return;
    const { width, height } = canvas;
    context.imageSmoothingEnabled = false;
    context.globalAlpha = 1;
    context.drawImage(picture(input.rgba, input.size), 0, 0, width, height);
    const most = map.values.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-6);
    const rgba = new Uint8ClampedArray(map.size * map.size * 4);
    map.values.forEach((value, i) => {
      rgba.set(value > 0 ? hues.for : hues.against, i * 4);
      rgba[i * 4 + 3] = 255 * Math.min(1, Math.abs(value) / most) ** 0.8;
    });
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = 'high';
    const share = Number(this.#opacity.value) / 100;
    // The overlay also dims the picture, so that its colours are visible on bright ones.
    context.globalAlpha = share * 0.5;
    context.fillStyle = '#14161f';
    context.fillRect(0, 0, width, height);
    context.globalAlpha = share;
    context.drawImage(picture(rgba, map.size), 0, 0, width, height);
    const name = this.#classes[map.class] ?? `class ${map.class}`;
    canvas.setAttribute('aria-label', describe(name, map));
    this.#text.replaceChildren('The regions of the input that raise or lower the score of ', make('strong', {}, name),
      '. The mean of the map, plus the bias of the class, is exactly its logit.');
  }
}

/** A row of the pyramid. */
class Slab {
  /** @type {Stage | null} */ #stage = null;
  #canvas = make('canvas', { role: 'img', tabindex: '0' });
  #label = make('span');
  #rows = 4;
  #columns = 1;
  #chosen = -1;

  /** @param {{ name: string, size: number, channels: number }} stage */
  constructor(stage) {
    this.name = stage.name;
    this.size = stage.size;
    this.channels = stage.channels;
    this.figure = make('figure', { class: 'slab' }, this.#canvas, make('figcaption', {}, this.#label));
    const canvas = this.#canvas;
    canvas.addEventListener('pointermove', (event) => this.#lens(this.#cellAt(event)));
    canvas.addEventListener('pointerleave', () => this.#lens(-1));
    canvas.addEventListener('blur', () => this.#lens(-1));
    canvas.addEventListener('keydown', (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.#columns, ArrowUp: -this.#columns }[event.key];
      if (event.key === 'Escape') this.#lens(-1);
      if (move === undefined) return;
      event.preventDefault();
      this.#lens(Math.min(Math.max(this.#chosen + (this.#chosen < 0 ? 1 : move), 0), this.channels - 1));
    });
  }

  /** @param {Stage} stage */
  fill(stage) {
    this.#stage = stage;
    this.size = stage.size;
  }

  /** @param {number} rows @param {number} cell */
  draw(rows, cell) {
    const { channels, size } = this, canvas = this.#canvas, gap = cell > 20 ? 2 : 1;
    this.#rows = Math.min(rows, Math.ceil(channels / Math.ceil(channels / rows)));
    // The three colour planes are side by side, at the top of the pyramid.
    if (channels <= 3) this.#rows = 1;
    this.#columns = Math.ceil(channels / this.#rows);
    canvas.style.width = `${this.#columns * cell}px`;
    canvas.style.height = `${this.#rows * cell}px`;
    sharpen(canvas);
    const context = brush(canvas), side = cell - gap;
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = false;
    const sheet = this.#stage && picture(colours(this.#stage), size, size * channels);
    for (let map = 0; map < channels; map++) {
      const x = (map % this.#columns) * cell + gap / 2, y = Math.floor(map / this.#columns) * cell + gap / 2;
      if (sheet) context.drawImage(sheet, 0, map * size, size, size, x, y, side, side);
      else {
        context.fillStyle = getComputedStyle(canvas).getPropertyValue('--line');
        context.fillRect(x, y, side, side);
      }
    }
    const kind = this.name === 'input' ? 'the red, green and blue channels' : `${channels} feature maps`;
    const title = this.name[0].toUpperCase() + this.name.slice(1);
    this.#label.replaceChildren(make('strong', {}, title), ` ${kind}, ${size}×${size}`);
    canvas.setAttribute('aria-label', this.#stage
      ? `${title}: ${kind} of ${size} by ${size} pixels. Arrow keys show them larger.` : `${title}: nothing yet`);
  }

  /** @param {PointerEvent} event */
  #cellAt(event) {
    const box = this.#canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / box.width * this.#columns);
    const row = Math.floor((event.clientY - box.top) / box.height * this.#rows);
    const map = row * this.#columns + column;
    return map >= 0 && map < this.channels ? map : -1;
  }

  /** Shows one map enlarged next to its cell; none if negative. @param {number} map */
  #lens(map) {
    const lens = find('lens', HTMLElement), stage = this.#stage;
    lens.hidden = map < 0 || !stage;
    this.#chosen = map;
    if (map < 0 || !stage) return;
    const canvas = /** @type {HTMLCanvasElement} */ (lens.querySelector('canvas'));
    const context = brush(canvas);
    context.imageSmoothingEnabled = false;
    context.drawImage(picture(colours(stage), stage.size, stage.size * stage.channels),
      0, map * stage.size, stage.size, stage.size, 0, 0, canvas.width, canvas.height);
    const title = `${stage.name}, ${map + 1} of ${stage.channels}`;
    /** @type {HTMLElement} */ (lens.querySelector('span')).textContent = title;
    const box = this.#canvas.getBoundingClientRect(), cell = box.width / this.#columns;
    const x = box.left + (map % this.#columns + 0.5) * cell, y = box.top + Math.floor(map / this.#columns) * cell;
    const half = lens.offsetWidth / 2, height = lens.offsetHeight;
    const left = Math.min(Math.max(x - half, 6), document.documentElement.clientWidth - half * 2 - 6);
    const top = y - height - 8 > 6 ? y - height - 8 : y + cell + 8;
    lens.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  }
}

/** A canvas with the given pixels. @param {Uint8ClampedArray<ArrayBuffer>} rgba @param {number} width @param {number} height */
function picture(rgba, width, height = width) {
  const canvas = make('canvas', { width: String(width), height: String(height) });
  brush(canvas).putImageData(new ImageData(rgba, width, height), 0, 0);
  return canvas;
}

/** The maps of a stage below each other: red, green and blue in their colour, all others on the ramp. @param {Stage} stage */
function colours({ name, maps, size }) {
  const rgba = new Uint8ClampedArray(maps.length * 4), plane = size * size;
  for (let i = 0; i < maps.length; i++) {
    const value = maps[i], at = i * 4;
    if (name === 'input') {
      const channel = Math.floor(i / plane);
      // Light enough to be seen, and still that colour.
      for (let c = 0; c < 3; c++) rgba[at + c] = c === channel ? value : value * 0.22;
    } else for (let c = 0; c < 3; c++) rgba[at + c] = dusk[value * 3 + c];
    rgba[at + 3] = 255;
  }
  return rgba;
}

/** The three colour planes of a picture, one after the other. @param {Answer['input']} input */
function planes({ size, rgba }) {
  const plane = size * size, maps = new Uint8ClampedArray(plane * 3);
  for (let i = 0; i < plane; i++) for (let c = 0; c < 3; c++) maps[c * plane + i] = rgba[i * 4 + c];
  return maps;
}

/** A text alternative for the class activation map. @param {string} name @param {ActivationMap} map */
function describe(name, { size, values }) {
  let best = 0;
  values.forEach((value, i) => { if (value > values[best]) best = i; });
  const third = (/** @type {number} */ at) => Math.min(2, Math.floor(at / size * 3));
  const where = ['top', 'middle', 'bottom'][third(Math.floor(best / size))];
  const side = ['left', 'centre', 'right'][third(best % size)];
  return `Class activation map of ${name} over the input; strongest at the ${where} ${side}.`;
}
