/**
 * The page's side of the service worker: stores the page once it is loaded, and announces updates.
 *
 * @import { States } from './states.js'
 */

import { find } from './dom.js';

/** @param {States} states */
export async function offline(states) {
  const container = navigator.serviceWorker;
  // Browsers allow service workers on https and localhost only, and not in all private windows.
  if (!container) return;
  const note = find('offline', HTMLElement);
  const send = async (/** @type {string} */ type) => (await container.ready).active?.postMessage({ type });
  container.addEventListener('message', ({ data }) => {
    if (data?.event === 'kept') {
      note.textContent = 'It now works offline.';
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
    // Without a service worker the page needs a connection.
  }
}
