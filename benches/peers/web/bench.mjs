/**
 * Compares our page's engine with ONNX Runtime Web and TensorFlow.js: the same network and image,
 * batch size 1, in the same browser, measured in alternation. `npm run setup` installs the
 * dependencies and builds the page; `npm run bench` measures.
 */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const HELP = `Usage: npm run bench -- [OPTIONS]

Run \`npm run setup\` first, and again after a change.

Options:
  --networks NAME,...  w1 (PyramidNet-20, alpha 24) or w2 (PyramidNet-110, alpha 48) [w1,w2]
  --rounds N           Measurements of each program, ours and theirs in alternation [3]
  --seconds X          Length of a measurement in seconds [5]
  --help               Print this help`;

/** The networks by name. */
const NETWORKS = { w1: { depth: 20, alpha: 24 }, w2: { depth: 110, alpha: 48 } };

const { names, rounds, seconds } = options();
// Imported late, because --help works before `npm run setup`.
const { dist, launch, serve } = await import('../../../web/tests/browser.mjs');
const { model, safetensors } = await import('./files.mjs');

/** The programs that ours is compared with on each device. */
const comparisons = [
  { device: 'gpu', title: 'WebGPU', rivals: { ort: 'ONNX Runtime Web', tfjs: 'TensorFlow.js' } },
  { device: 'cpu', title: 'wasm, one thread', rivals: { ort: 'ONNX Runtime Web' } },
];
/** Differences in probability above this exceed f32 rounding and are reported. */
const NEAR = 1e-3;
/** Differences above this mean a different network and fail the comparison. */
const FAR = 0.05;

const files = await mkdtemp(join(tmpdir(), 'pyr-wgpu-bench-web-'));
for (const name of names) {
  const { depth, alpha } = NETWORKS[name];
  await writeFile(join(files, `${name}.safetensors`), safetensors(depth, alpha));
  await writeFile(join(files, `${name}.onnx`), model(depth, alpha));
}
const here = fileURLToPath(new URL('.', import.meta.url));
const server = await serve([here, files, dist]);
const browser = await launch();
const failed = [];
try {
  console.log(`Milliseconds per image, medians of ${rounds} rounds of ${seconds} s, ours and theirs in alternation;`);
  console.log('theirs/ours is the median of the rounds\' ratios, with their range.\n');
  console.log(`${'network'.padEnd(8)}${'on'.padEnd(18)}${'peer'.padEnd(18)}${'ours'.padStart(9)}${'theirs'.padStart(10)}  theirs/ours`);
  for (const name of names) {
    for (const { device, title, rivals } of comparisons) await compare(name, device, title, rivals);
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

/** Parses and validates the command line. */
function options() {
  const fail = (message) => {
    console.error(`error: ${message}\n\n${HELP}`);
    process.exit(2);
  };
  const string = (value) => ({ type: 'string', default: value });
  let values;
  try {
    ({ values } = parseArgs({
      options: { networks: string('w1,w2'), rounds: string('3'), seconds: string('5'), help: { type: 'boolean' } },
    }));
  } catch (error) {
    fail(error.message);
  }
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  const names = values.networks.split(',');
  const unknown = names.find((name) => !Object.hasOwn(NETWORKS, name));
  if (unknown !== undefined) fail(`--networks: unknown network \`${unknown}\`; available: ${Object.keys(NETWORKS).join(', ')}`);
  const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
  if (!(Number.isInteger(rounds) && rounds > 0)) fail(`--rounds ${values.rounds} is not a whole number above zero`);
  if (!(seconds > 0 && Number.isFinite(seconds))) fail(`--seconds ${values.seconds} is not a number above zero`);
  return { names, rounds, seconds };
}

/** One network on one device: ours against each rival. */
async function compare(name, device, title, rivals) {
  const start = (program) => open({ program, device, name, ...NETWORKS[name] });
  const ours = await start('ours');
  for (const [program, peer] of Object.entries(rivals)) {
    let line;
    try {
      const theirs = await start(program);
      const apart = Math.max(...ours.probabilities.map((p, i) => Math.abs(p - theirs.probabilities[i])));
      if (!(apart <= FAR)) throw new Error(`its probabilities differ from ours by up to ${apart}`);
      const pairs = [];
      for (let round = 0; round < rounds; round++) pairs.push([await ours.measure(), await theirs.measure()]);
      await theirs.close();
      const ratios = pairs.map(([mine, other]) => other / mine);
      const [mine, other] = [0, 1].map((i) => median(pairs.map((pair) => pair[i])));
      line = `${mine.toFixed(1).padStart(9)}${other.toFixed(1).padStart(10)}  ${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`
        + `; first answer after ${(ours.first / 1000).toFixed(1)} s and ${(theirs.first / 1000).toFixed(1)} s`
        + (apart > NEAR ? `; its probabilities differ by up to ${apart.toExponential(0)}` : '');
    } catch (error) {
      line = `  failed: ${error.message.split('\n')[0]}`;
      failed.push(`${name} ${title} ${peer}`);
    }
    console.log(`${name.padEnd(8)}${title.padEnd(18)}${peer.padEnd(18)}${line}`);
  }
  await ours.close();
}

/** Opens a page that runs one program. */
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
      // Browsers throttle pages in the background.
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
