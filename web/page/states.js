/**
 * The status bar.
 *
 * It shows a lasting state (loading, ready, on which device) and, over it, at most one passing
 * message (a file that is not a picture, a lost device) until the message is closed or replaced.
 * There are no alerts, and the bar never disappears, so the layout does not jump.
 *
 * @typedef {'work' | 'ready' | 'note' | 'warn' | 'error'} Kind
 * @typedef {{ label: string, run: () => void }} Action
 * @typedef {{ kind: Kind, title: string, text?: string, actions?: Action[], id?: string }} State
 */

import { find, make } from './dom.js';
import { size } from './words.js';

export class States {
  #area = find('state', HTMLElement);
  #title = find('state-title', HTMLElement);
  #text = find('state-text', HTMLElement);
  #actions = find('state-actions', HTMLElement);
  #gauge = find('state-gauge', HTMLElement);
  #progress = find('state-progress', HTMLProgressElement);
  #bytes = find('state-bytes', HTMLElement);
  /** @type {State} */ #lasting = { kind: 'work', title: 'Starting' };
  /** @type {State | null} */ #passing = null;

  /** Replaces the lasting state. @param {State} state */
  last(state) {
    this.#lasting = state;
    this.#draw();
  }

  /** Shows a message over the lasting state. @param {State} state */
  pass(state) {
    this.#passing = state;
    this.#draw();
  }

  /** Removes the passing message; with an id, only that one. @param {string} [id] */
  clear(id) {
    if (!this.#passing || (id && this.#passing.id !== id)) return;
    this.#passing = null;
    this.#draw();
  }

  /** Bytes of a download, of an unknown total if `total` is 0; null hides the gauge. @param {{ done: number, total: number } | null} load */
  load(load) {
    this.#gauge.hidden = !load;
    if (!load) return;
    if (load.total > 0) {
      this.#progress.max = load.total;
      this.#progress.value = Math.min(load.done, load.total);
      this.#bytes.textContent = `${size(load.done)} of ${size(load.total)}`;
    } else {
      this.#progress.removeAttribute('value');
      this.#bytes.textContent = size(load.done);
    }
  }

  #draw() {
    const state = this.#passing ?? this.#lasting;
    const close = { label: 'Close', run: () => this.clear() };
    const actions = [...state.actions ?? [], ...this.#passing ? [close] : []];
    this.#area.dataset.kind = state.kind;
    this.#area.dataset.id = state.id ?? '';
    this.#title.textContent = state.title;
    this.#text.textContent = state.text ?? '';
    const focused = this.#actions.contains(document.activeElement);
    this.#actions.replaceChildren(...actions.map(({ label, run }) => {
      const button = make('button', { type: 'button' }, label);
      button.addEventListener('click', run);
      return button;
    }));
    // If the focused button disappears, focus moves to the next one, not to the top of the page.
    if (focused) (this.#actions.querySelector('button') ?? find('main', HTMLElement)).focus({ preventScroll: true });
  }
}
