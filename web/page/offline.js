/**
 * The page's side of the service worker: fill it once everything is loaded, tell of updates.
 *
 * @import { States } from './states.js'
 */

import { find } from './dom.js';

/** @param {States} states */
export async function offline(states) {
  const container = navigator.serviceWorker;
  // Browsers allow it on https and localhost only, and not in every private window.
  if (!container) return;
  const note = find('offline', HTMLElement);
  const send = async (/** @type {string} */ type) => (await container.ready).active?.postMessage({ type });
  container.addEventListener('message', ({ data }) => {
    if (data?.event === 'kept') {
      note.textContent = 'It works offline now.';
      document.body.dataset.offline = 'ready';
    }
    if (data?.event === 'update') {
      states.pass({
        kind: 'note', title: 'A new version of this page is ready.', id: 'update',
        actions: [{ label: 'Reload', run: () => void send('use') }],
      });
    }
    if (data?.event === 'used') location.reload();
  });
  try {
    await container.register(new URL('sw.js', document.baseURI));
    await send('keep');
  } catch {
    // Then the page simply needs a connection.
  }
}
