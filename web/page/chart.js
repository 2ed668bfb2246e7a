/**
 * The learning curve: the loss of the steps, smoothed, and the test error after each epoch.
 *
 * @typedef {{ at: number, loss: number }} Point a time in epochs, and a mean loss
 * @typedef {{ at: number, error: number }} Mark a time in epochs, and an error in percent
 */

import { brush, sharpen } from './dom.js';

/** Margins for the labels around the curve: top, right, bottom, left. */
const MARGINS = [12, 44, 26, 38];
/** Weight of the previous value in the smoothed loss. */
const SMOOTHING = 0.9;

export class Chart {
  /** @type {Point[]} */ #points = [];
  /** @type {Mark[]} */ #marks = [];
  #canvas;
  #epochs = 1;
  #scheduled = false;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#later()).observe(canvas);
    document.documentElement.addEventListener('themechange', () => this.#later());
  }

  /** Clears the curve for a training run of some epochs. @param {number} epochs */
  clear(epochs) {
    this.#points = [];
    this.#marks = [];
    this.#epochs = epochs;
    this.#later();
  }

  /** @param {Point} point */
  step(point) {
    this.#points.push(point);
    this.#later();
  }

  /** @param {Mark} mark */
  epoch(mark) {
    this.#marks.push(mark);
    this.#later();
  }

  /** Number of epochs of the run. @param {number} epochs */
  set epochs(epochs) {
    this.#epochs = epochs;
  }

  #later() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#draw();
    });
  }

  #draw() {
    const canvas = this.#canvas;
    if (!canvas.clientWidth) return;
    const { width, height } = sharpen(canvas), context = brush(canvas);
    const colour = (/** @type {string} */ name) => getComputedStyle(canvas).getPropertyValue(name).trim();
    const [top, right, bottom, left] = MARGINS;
    const inner = { w: width - left - right, h: height - top - bottom };
    const most = Math.max(0.5, ...this.#points.map((p) => p.loss));
    const scale = niceStep(most), high = Math.ceil(most / scale) * scale;
    const x = (/** @type {number} */ at) => left + at / this.#epochs * inner.w;
    const y = (/** @type {number} */ share) => top + (1 - share) * inner.h;
    context.clearRect(0, 0, width, height);
    context.font = `12px ${getComputedStyle(canvas).fontFamily}`;
    context.lineWidth = 1;
    context.textBaseline = 'middle';
    for (let value = 0; value <= high + 1e-9; value += scale) {
      context.strokeStyle = colour('--line');
      context.beginPath();
      context.moveTo(left, Math.round(y(value / high)) + 0.5);
      context.lineTo(width - right, Math.round(y(value / high)) + 0.5);
      context.stroke();
      context.fillStyle = colour('--soft');
      context.textAlign = 'right';
      context.fillText(value.toFixed(scale < 0.5 ? 2 : 1), left - 8, y(value / high));
      context.textAlign = 'left';
      context.fillStyle = colour('--cool');
      context.fillText(`${Math.round(value / high * 100)} %`, width - right + 8, y(value / high));
    }
    context.fillStyle = colour('--soft');
    context.textAlign = 'center';
    const every = Math.max(1, Math.ceil(this.#epochs / 8));
    for (let e = 0; e <= this.#epochs; e += every) {
      context.fillText(e === 0 ? 'epoch 0' : String(e), Math.max(x(e), 22), height - bottom / 2 + 2);
    }
    this.#line(colour('--faint'), 1, this.#points.map((p) => [x(p.at), y(p.loss / high)]));
    let smooth = this.#points[0]?.loss ?? 0;
    this.#line(colour('--accent'), 2.5, this.#points.map((p) => {
      smooth = SMOOTHING * smooth + (1 - SMOOTHING) * p.loss;
      return [x(p.at), y(smooth / high)];
    }));
    const marks = this.#marks.map((m) => [x(m.at), y(m.error / 100)]);
    this.#line(colour('--cool'), 2, marks, [4, 4]);
    context.fillStyle = colour('--cool');
    for (const [cx, cy] of marks) {
      context.beginPath();
      context.arc(cx, cy, 4.5, 0, 7);
      context.fill();
    }
    const last = this.#marks.at(-1);
    canvas.setAttribute('aria-label', this.#points.length
      ? `Loss ${smooth.toFixed(2)}, initially ${this.#points[0].loss.toFixed(2)}${last ? `; test error ${last.error.toFixed(1)} percent` : ''}`
      : 'No training yet');
  }

  /** @param {string} colour @param {number} wide @param {number[][]} points @param {number[]} dash */
  #line(colour, wide, points, dash = []) {
    const context = brush(this.#canvas);
    context.strokeStyle = colour;
    context.lineWidth = wide;
    context.lineJoin = 'round';
    context.setLineDash(dash);
    context.beginPath();
    for (const [x, y] of points) context.lineTo(x, y);
    context.stroke();
    context.setLineDash([]);
  }
}

/** A round step that divides a range into about four. @param {number} range */
function niceStep(range) {
  const rough = range / 4, power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].map((m) => m * power).find((step) => step >= rough) ?? rough;
}
