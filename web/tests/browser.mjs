/**
 * Helpers of the page's tests: a server, a Chromium, and queries of the page's state.
 */

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** The assembled page. */
export const dist = join(root, 'web', 'dist');
/** The model that the page ships. */
export const model = join(dist, 'models', 'cifar10.safetensors');
/** A timeout in milliseconds, long enough for a machine with two busy cores. */
export const patience = 120_000;

const types = {
  '.css': 'text/css', '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.json': 'application/json',
  '.svg': 'image/svg+xml', '.wasm': 'application/wasm', '.webp': 'image/webp', '.webmanifest': 'application/manifest+json',
};

/** A file of the repository. */
export const file = (path) => join(root, path);

/** Serves folders, the first that has a file, under a path that is not the root, as many servers do. */
export async function serve(folders = [dist], under = '/some/where/') {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const path = decodeURIComponent(pathname);
    try {
      if (!path.startsWith(under)) throw new Error('outside');
      const name = path.slice(under.length) || 'index.html';
      const found = folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
      if (!found) throw new Error('missing');
      const body = await readFile(found);
      response.writeHead(200, { 'content-type': types[extname(name)] ?? 'application/octet-stream' });
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://localhost:${server.address().port}`;
  return {
    origin,
    address: origin + under,
    close: () => new Promise((resolve) => {
      server.closeAllConnections();
      server.close(resolve);
    }),
  };
}

/** The browser: named by `CHROMIUM`, else searched in the usual places. */
function executable() {
  const usual = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome',
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'];
  const found = process.env.CHROMIUM ?? usual.find((path) => existsSync(path));
  if (!found) throw new Error('Chromium was not found; install it, or name one with CHROMIUM=PATH');
  return found;
}

/** Opens a browser with an empty profile. Without `webgpu` it offers no adapter. */
export async function launch({ webgpu = true, viewport = { width: 1280, height: 900 }, dark = false } = {}) {
  const profile = await mkdtemp(join(tmpdir(), 'pyr-wgpu-page-'));
  const adapter = webgpu ? ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'] : [];
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: executable(),
    headless: true,
    viewport,
    colorScheme: dark ? 'dark' : 'light',
    acceptDownloads: true,
    args: ['--no-sandbox', ...adapter, '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  context.setDefaultTimeout(patience);
  return {
    context,
    close: async () => {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Opens the page and records faults: console errors, exceptions, requests to other servers. */
export async function visit(context, server, query = '') {
  const page = await context.newPage();
  const faults = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()) && !excused(message.text())) faults.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`error: ${error.message}`));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(server.origin) && !/^(blob|data):/.test(url)) faults.push(`request: ${url}`);
  });
  await page.goto(server.address + query);
  return { page, faults };
}

/** Chromium's own messages about running without a graphics card. */
const excused = (text) => /WebGPU.*experimental|No available adapters|Automatic fallback to software/i.test(text);

/** Waits until the page has a device and a network. */
export const ready = (page) => page.waitForFunction(() => document.body.dataset.state === 'ready');

/** Waits until the newest picture has been classified or refused. */
export const answered = (page) => page.waitForFunction(
  () => document.body.dataset.asked && document.body.dataset.asked === document.body.dataset.answered);

/** The state that the page shows. */
export const state = (page) => page.evaluate(() => {
  const area = document.getElementById('state');
  return { kind: area.dataset.kind, id: area.dataset.id, text: area.innerText };
});

/** The bars: class names and probabilities, the most probable first. */
export const bars = (page) => page.$$eval('#bars button', (buttons) => buttons.map((button) => ({
  class: button.querySelector('.name').textContent, probability: Number(button.dataset.probability), off: button.disabled,
})));

/** Drops a file on the page and waits for the result. */
export async function drop(page, name, bytes) {
  const before = await page.evaluate(() => document.body.dataset.asked ?? '');
  const list = await page.evaluateHandle(({ name, base64 }) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name));
    return transfer;
  }, { name, base64: Buffer.from(bytes).toString('base64') });
  for (const type of ['dragenter', 'dragover', 'drop']) await page.dispatchEvent('body', type, { dataTransfer: list });
  await page.waitForFunction((before) => (document.body.dataset.asked ?? '') !== before, before);
  await answered(page);
}

/** Runs the command line, whose binary `PYR_WGPU` names, and parses its JSON output. */
export async function commandLine(...words) {
  const binary = process.env.PYR_WGPU ?? file('target/debug/pyr-wgpu');
  const { stdout } = await promisify(execFile)(binary, words, { maxBuffer: 1 << 26 });
  return JSON.parse(stdout);
}

/** Saves a screenshot of the page in the folder that `SHOTS` names, if any. */
export async function shoot(page, name) {
  const folder = process.env.SHOTS;
  if (!folder) return;
  await mkdir(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}
