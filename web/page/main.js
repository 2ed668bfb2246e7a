/**
 * The page's entry point: wires the parts together and loads the model.
 *
 * @import { Card, Device, Opened } from './client.js'
 */

import { showFacts, showText } from './card.js';
import { Classify } from './classify.js';
import { find } from './dom.js';
import { download, fetchList } from './download.js';
import { Inspect } from './inspect.js';
import { inputs } from './input.js';
import { offline } from './offline.js';
import { sample } from './samples/samples.js';
import { Refusal, WorkerClient } from './client.js';
import { States } from './states.js';
import { tabs } from './tabs.js';
import { Train } from './train.js';
import { time } from './words.js';

/** Number of times that a crashed worker is restarted. */
const RESTARTS = 3;
/** The sample that is classified first. */
const GREETING = 'horse';

const states = new States();
addEventListener('error', (event) => failed(event.error ?? event.message));
addEventListener('unhandledrejection', (event) => failed(event.reason));

tabs(/** @type {HTMLElement} */ (document.querySelector('[role=tablist]')));
const client = new WorkerClient(new URL('./worker.js', import.meta.url));
const inspect = new Inspect(client);
const classify = new Classify(client, states, inspect);
const train = new Train(client, states);

/** @type {{ name: string, bytes: ArrayBuffer } | null} */ let shipped = null;
/** @type {{ name: string, bytes: ArrayBuffer } | null} */ let loaded = null;
/** @type {Card | null} */ let card = null;
/** @type {Opened | null} */ let opened = null;
let wanted = new URLSearchParams(location.search).get('device') ?? 'auto';
if (!['gpu', 'cpu'].includes(wanted)) wanted = 'auto';
let crashes = 0;

inputs({ look: (source) => (leaveCamera(source), classify.look(source)), checkpoint: (file) => void own(file) }, states);
find('shipped', HTMLElement).addEventListener('click', () => shipped && void use(shipped));
client.on('lost', ({ message }) => {
  classify.unload();
  train.lost('The device was lost and the training ended. You can start again.');
  states.pass({ kind: 'warn', title: 'The graphics device was lost.', text: `${message} Reopening it…`, id: 'lost' });
});
client.on('recovered', ({ device, note }) => {
  opened = { device, note };
  states.pass({ kind: 'note', title: 'The device is back.', text: `Running on ${device.name} again; the network has been reloaded.`, id: 'lost' });
  void settled();
});
client.on('crashed', ({ message }) => void revive(message));
void begin().catch(failed);

/** Opens the device and downloads the model concurrently. */
async function begin() {
  states.last({ kind: 'work', title: 'Looking for a graphics processor' });
  const opening = open(wanted);
  const list = await fetchList();
  const file = list.files.find(({ path }) => path === list.model.path);
  client.request('prepare', { network: list.model.network }).catch(() => {});
  if (document.body.dataset.state !== 'failed') states.last({ kind: 'work', title: 'Loading the network' });
  const bytes = await download(list.model.path, file?.bytes ?? 0, (load) => states.load(load));
  states.load(null);
  shipped = { name: list.model.path.split('/').pop() ?? list.model.path, bytes };
  await opening;
  // Without a device the visitor is offered another, on which the network is loaded then.
  if (!opened) return;
  await use(shipped);
  const text = list.files.find(({ path }) => path === list.model.path.replace(/\.safetensors$/, '.md'));
  if (text) showText(await fetch(text.path).then((response) => response.text(), () => null));
  if (!classify.busy) await greet();
  await offline(states);
}

/** Opens a device; if that fails, shows the reason and returns false. @param {string} device */
async function open(device) {
  try {
    opened = await client.request('open', { device });
    return true;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const none = error.code === 'no-adapter';
    states.load(null);
    states.last({
      kind: 'error', title: none ? 'No graphics processor is available.' : 'The device could not be opened.',
      text: error.message, id: error.code,
      actions: device === 'cpu' ? [] : [{ label: 'Use the processor instead', run: () => void change('cpu') }],
    });
    document.body.dataset.state = 'failed';
    return false;
  }
}

/** Changes to another device; the network stays. @param {string} device */
async function change(device) {
  wanted = device;
  classify.unload();
  train.lost('The device was changed and the training ended. You can start again.');
  states.clear();
  states.last({ kind: 'work', title: device === 'cpu' ? 'Changing to the processor' : 'Changing to WebGPU' });
  const before = opened;
  if (!await open(device)) {
    if (device === 'gpu' && before) await open('cpu');
    return;
  }
  if (loaded && card) await settled();
  else if (shipped) {
    await use(shipped);
    if (!classify.busy) await greet();
  }
}

/** Loads a checkpoint and shows the result. @param {{ name: string, bytes: ArrayBuffer }} file */
async function use(file) {
  states.load(null);
  states.last({ kind: 'work', title: 'Compiling the network', text: 'The shaders of its layers.' });
  // The buffer is transferred to the worker, so it gets a copy: a restart needs the bytes again.
  const bytes = file.bytes.slice(0);
  try {
    const answer = await client.request('load', { bytes, name: file.name }, [bytes]);
    card = answer.card;
    loaded = file;
    document.body.dataset.ready = time(answer.readyMs);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const reasons = { checkpoint: `${file.name} is not a checkpoint that this page can use.`, 'out-of-memory': `${file.name} does not fit this device.` };
    states.pass({ kind: 'error', title: reasons[/** @type {'checkpoint'} */ (error.code)] ?? `${file.name} could not be loaded.`, text: error.message, id: error.code });
    if (!card) {
      states.last({ kind: 'error', title: 'No network is loaded.', text: error.message });
      return;
    }
    await settled();
    return;
  }
  if (file !== shipped) showText(null);
  find('shipped', HTMLElement).hidden = file === shipped || !shipped;
  showFacts(/** @type {Card} */ (card));
  await settled();
}

/** Loads the visitor's own checkpoint. @param {File} file */
async function own(file) {
  states.clear();
  classify.unload();
  await use({ name: file.name, bytes: await file.arrayBuffer() });
  if (!classify.busy) await greet();
}

/** Shows device and network once both are ready, and classifies the picture that waits. */
async function settled() {
  if (!card || !opened) return;
  const { device, note } = opened;
  const software = device.kind === 'software', cpu = device.kind === 'cpu';
  const network = `${card.network}, ${card.name}.`;
  const processor = { label: 'Use the processor instead', run: () => void change('cpu') };
  const graphics = { label: 'Use WebGPU', run: () => void change('gpu') };
  if (software) {
    states.last({
      kind: 'warn', title: `WebGPU runs on a software adapter here (${device.name}).`, id: 'software',
      text: 'This works, but slowly: the browser offers no graphics card.', actions: [processor],
    });
  } else if (cpu && note) {
    states.last({
      kind: 'note', title: 'Ready, on the processor.', text: `${note} Current Chrome, Edge, Safari and Firefox have WebGPU on most systems.`, id: 'cpu',
    });
  } else if (cpu) {
    states.last({ kind: 'ready', title: 'Ready, on the processor.', text: network, actions: 'gpu' in navigator ? [graphics] : [], id: 'cpu' });
  } else {
    states.last({ kind: 'ready', title: `Ready, on ${device.name}.`, text: network, actions: [processor], id: 'gpu' });
  }
  Object.assign(document.body.dataset, { state: 'ready', device: device.kind, model: loaded?.name ?? '' });
  await classify.network(card, `${device.name}${device.detail ? `, ${device.detail}` : ''}`);
}

/** Classifies the first picture, so that the page is not empty. */
async function greet() {
  // If it cannot be fetched, the page waits for the visitor's picture.
  const first = await sample(GREETING).catch(() => null);
  if (first && !classify.busy) await classify.look(first);
}

/** Restarts a crashed worker. @param {string} message */
async function revive(message) {
  classify.unload();
  train.lost('The computation crashed and the training ended. You can start again.');
  if (++crashes > RESTARTS) {
    states.last({
      kind: 'error', title: 'The computation keeps crashing.', text: `${message} Another device may work.`, id: 'crashed',
      actions: [{ label: 'Try again', run: () => (crashes = 0, void revive('')) }, { label: 'Use the processor instead', run: () => (wanted = 'cpu', crashes = 0, void revive('')) }],
    });
    return;
  }
  states.pass({ kind: 'warn', title: 'The computation crashed and was restarted.', text: message, id: 'crashed' });
  client.restart();
  if (!await open(wanted)) return;
  const file = loaded ?? shipped;
  if (file) await use(file);
}

/** Shows an error that nothing else has caught. @param {unknown} error */
function failed(error) {
  const text = error instanceof Error ? error.message : String(error);
  console.warn(error);
  states.load(null);
  const state = /** @type {import('./states.js').State} */ ({ kind: 'error', title: 'Something went wrong.', text, id: 'failed', actions: [{ label: 'Reload', run: () => location.reload() }] });
  if (card) states.pass(state);
  else states.last(state);
  document.body.dataset.state ??= 'failed';
}

/** Closes the camera when another picture replaces it. @param {import('./classify.js').Source} source */
function leaveCamera(source) {
  if (!('moving' in source)) find('video', HTMLElement).dispatchEvent(new Event('replaced'));
}
