/**
 * The kernel tests in the browser: every operator's kernels against its plain reference.
 */

import assert from 'node:assert/strict';
import { mkdtemp, cp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { launch, patience, serve } from './browser.mjs';

const script = `
import init, { check_kernels } from './pyr_wgpu_web_checks.js';
await init({ module_or_path: new URL('pyr_wgpu_web_checks_bg.wasm', import.meta.url) });
window.result = check_kernels().then((samples) => ({ samples }), (error) => ({ error: String(error) }));
window.started = true;
`;

test('kernels agree with their references under the limits of a browser', { timeout: 10 * patience }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'pyr-wgpu-kernels-'));
  await cp(process.env.CHECKS, folder, { recursive: true });
  await writeFile(join(folder, 'index.html'), '<!doctype html><title>kernels</title><script type="module" src="run.js"></script>');
  await writeFile(join(folder, 'run.js'), script);
  const server = await serve([folder]);
  const browser = await launch();
  try {
    const page = await browser.context.newPage();
    const errors = [];
    page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
    page.on('pageerror', (error) => errors.push(error.message));
    await page.goto(server.address);
    await page.waitForFunction(() => window.started);
    const { samples, error } = await page.evaluate(() => window.result);
    assert.equal(error, undefined);
    assert.ok(samples > 80, `only ${samples} samples`);
    // The folder has no icon, which the browser requests.
    assert.deepEqual(errors.filter((text) => !text.includes('404')), []);
  } finally {
    await browser.close();
    await server.close();
  }
});
