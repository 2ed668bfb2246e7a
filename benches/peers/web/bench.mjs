/**
 * Our page's program beside ONNX Runtime Web and TensorFlow.js: the same network and picture,
 * batch 1, in the same browser, measured by turns. `cargo xtask bench-web` runs it.
 */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dist, launch, serve } from '../../../web/tests/browser.mjs';
import { model, safetensors } from './files.mjs';

const [rounds, seconds, ...list] = process.argv.slice(2).map((word) => word.includes(',') ? word.split(',') : Number(word));
/** The networks by name. */
const known = Object.fromEntries(list.map(([name, depth, alpha]) => [name, { depth: Number(depth), alpha: Number(alpha) }]));
const names = Object.keys(known);

/** Ours first; then who is held against it. */
const contests = [
  { device: 'gpu', title: 'WebGPU', rivals: { ort: 'ONNX Runtime Web', tfjs: 'TensorFlow.js' } },
  { device: 'cpu', title: 'wasm, one thread', rivals: { ort: 'ONNX Runtime Web' } },
];
/** Single precision, summed in different orders, over up to 110 layers: more is said. */
const NEAR = 1e-3;
/** More than this is another network. */
const FAR = 0.05;

const files = await mkdtemp(join(tmpdir(), 'pyr-wgpu-bench-web-'));
for (const name of names) {
  const { depth, alpha } = known[name];
  await writeFile(join(files, `${name}.safetensors`), safetensors(depth, alpha));
  await writeFile(join(files, `${name}.onnx`), model(depth, alpha));
}
const here = fileURLToPath(new URL('.', import.meta.url));
const server = await serve([here, files, dist]);
const browser = await launch();
const failed = [];
try {
  console.log(`Milliseconds a picture, medians of ${rounds} rounds of ${seconds} s, ours and theirs by turns;`);
  console.log('theirs/ours is the median of the rounds\' ratios, with the smallest and the largest.\n');
  console.log(`${'network'.padEnd(8)}${'on'.padEnd(18)}${'peer'.padEnd(18)}${'ours'.padStart(9)}${'theirs'.padStart(10)}  theirs/ours`);
  for (const name of names) {
    for (const { device, title, rivals } of contests) await contest(name, device, title, rivals);
  }
  console.log(`\n${browser.context.browser()?.version() ?? 'Chromium'}, ${await adapter()}`);
} finally {
  await browser.close();
  await server.close();
  await rm(files, { recursive: true });
}
if (failed.length) {
  console.error(`error: failed: ${failed.join(', ')}`);
  process.exitCode = 1;
}

/** One network on one device: ours against each rival. */
async function contest(name, device, title, rivals) {
  const start = (program) => open({ program, device, name, ...known[name] });
  const ours = await start('ours');
  for (const [program, peer] of Object.entries(rivals)) {
    let line;
    try {
      const theirs = await start(program);
      const apart = Math.max(...ours.probabilities.map((p, i) => Math.abs(p - theirs.probabilities[i])));
      if (!(apart <= FAR)) throw new Error(`its probabilities are ${apart} apart from ours`);
      const pairs = [];
      for (let round = 0; round < rounds; round++) pairs.push([await ours.measure(), await theirs.measure()]);
      await theirs.close();
      const ratios = pairs.map(([mine, other]) => other / mine);
      const [mine, other] = [0, 1].map((i) => median(pairs.map((pair) => pair[i])));
      line = `${mine.toFixed(1).padStart(9)}${other.toFixed(1).padStart(10)}  ${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`
        + `; first answer after ${(ours.first / 1000).toFixed(1)} s and ${(theirs.first / 1000).toFixed(1)} s`
        + (apart > NEAR ? `; its probabilities are up to ${apart.toExponential(0)} off` : '');
    } catch (error) {
      line = `  failed: ${error.message.split('\n')[0]}`;
      failed.push(`${name} ${title} ${peer}`);
    }
    console.log(`${name.padEnd(8)}${title.padEnd(18)}${peer.padEnd(18)}${line}`);
  }
  await ours.close();
}

/** A page with one program in it. */
async function open(what) {
  const page = await browser.context.newPage();
  page.setDefaultTimeout(600_000);
  await page.goto(server.address);
  await page.waitForFunction(() => window.loaded);
  const { probabilities, first } = await page.evaluate((what) => window.prepare(what), what);
  return {
    probabilities,
    first,
    measure: async () => {
      // Pages in the background are slowed down.
      await page.bringToFront();
      return page.evaluate((seconds) => window.measure(seconds), seconds);
    },
    close: () => page.close(),
  };
}

async function adapter() {
  const page = await browser.context.newPage();
  await page.goto(server.address);
  return page.evaluate(async () => {
    const info = (await navigator.gpu?.requestAdapter())?.info;
    return info ? `${info.vendor} ${info.architecture}` : 'no adapter';
  });
}

function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}
