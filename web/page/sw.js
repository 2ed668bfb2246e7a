/*
 * The service worker: after the first visit the page works without a connection.
 *
 * Everything that files.json lists is kept in one cache, named by the list's version. A page is
 * always served from one complete version, never from a mixture. A newer version is downloaded
 * completely next to the one in use, and activated on the visitor's request or when no page is
 * open.
 */

const PREFIX = 'pyr-wgpu-';
/** A tiny cache that remembers which version is in use. */
const META = 'pyr-wgpu:meta';
const CURRENT = 'https://meta.invalid/current';

addEventListener('install', (event) => event.waitUntil(self.skipWaiting()));
addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

addEventListener('message', (event) => {
  if (event.data?.type === 'keep') event.waitUntil(keep());
  if (event.data?.type === 'use') event.waitUntil(use());
});

addEventListener('fetch', (event) => {
  const { request } = event;
  const path = pathOf(request.url);
  if (request.method !== 'GET' || path === null) return;
  event.respondWith(answer(request, path));
});

/** The path below the page's folder, or null for anything else. */
function pathOf(url) {
  const scope = new URL(self.registration.scope), asked = new URL(url);
  if (asked.origin !== scope.origin || !asked.pathname.startsWith(scope.pathname)) return null;
  return decodeURIComponent(asked.pathname.slice(scope.pathname.length)) || 'index.html';
}

async function answer(request, path) {
  if (request.mode === 'navigate') await useIfAlone();
  const version = await current();
  if (version) {
    const cache = await caches.open(PREFIX + version);
    const kept = await cache.match(new URL(path, self.registration.scope), { ignoreSearch: true });
    if (kept) return kept;
  }
  return fetch(request);
}

async function current() {
  const found = await (await caches.open(META)).match(CURRENT);
  return found ? found.text() : null;
}

/** Downloads the newest version completely, unless it is stored already. */
async function keep() {
  const list = await fetch(new URL('files.json', self.registration.scope), { cache: 'no-cache' }).catch(() => null);
  const version = await current();
  // Offline: only the stored version is available.
  if (!list?.ok) return version ? tell({ event: 'kept' }) : undefined;
  const copy = list.clone();
  const { version: newest, files } = await list.json();
  if (newest !== version && !(await caches.has(PREFIX + newest))) {
    const partial = `${PREFIX}${newest}:partial`;
    await caches.delete(partial);
    const cache = await caches.open(partial);
    try {
      for (const { path, bytes } of files) {
        const url = new URL(path, self.registration.scope);
        const response = await fetch(url, { cache: 'no-cache' });
        const body = await response.clone().arrayBuffer();
        if (!response.ok || (bytes !== undefined && body.byteLength !== bytes)) throw new Error(`${path} does not match the list`);
        await cache.put(url, response);
      }
      await cache.put(new URL('files.json', self.registration.scope), copy);
      await rename(partial, PREFIX + newest);
    } catch {
      // The server was being updated, the connection was lost or storage is full: the next visit
      // tries again.
      await caches.delete(partial);
      return version ? tell({ event: 'kept' }) : undefined;
    }
  }
  if (!version) await take(newest);
  else if (newest !== version) return tell({ event: 'update' });
  return tell({ event: 'kept' });
}

/** Caches cannot be renamed: copies the entries, then deletes the source. */
async function rename(from, to) {
  const source = await caches.open(from);
  const entries = await Promise.all((await source.keys()).map(async (key) => [key, await source.match(key)]));
  const target = await caches.open(to);
  await Promise.all(entries.map(([key, response]) => target.put(key, response)));
  await caches.delete(from);
}

/** Activates a version and deletes all others. */
async function take(version) {
  await (await caches.open(META)).put(CURRENT, new Response(version));
  for (const name of await caches.keys()) {
    if (name.startsWith(PREFIX) && name !== PREFIX + version) await caches.delete(name);
  }
}

/** The complete version that waits to be activated, or null. */
async function waiting() {
  const version = await current();
  const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && !name.endsWith(':partial'));
  const other = names.find((name) => name !== PREFIX + version);
  return version && other ? other.slice(PREFIX.length) : null;
}

async function use() {
  const next = await waiting();
  if (next) await take(next);
  await tell({ event: 'used' });
}

async function useIfAlone() {
  if ((await self.clients.matchAll({ type: 'window' })).length > 0) return;
  const next = await waiting();
  if (next) await take(next);
}

async function tell(message) {
  for (const client of await self.clients.matchAll({ type: 'window', includeUncontrolled: true })) client.postMessage(message);
}
