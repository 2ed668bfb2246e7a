/**
 * The sources of pictures: drop, file dialog, paste, camera, samples. Files are recognised by content.
 *
 * @import { Source } from './classify.js'
 * @import { States } from './states.js'
 * @typedef {{ look: (source: Source) => Promise<void>, checkpoint: (file: File) => void }} Takers
 */

import { brush, find, make } from './dom.js';
import { address, names, sample } from './samples/samples.js';

/** Camera frames are cropped and scaled to a square of this size: more than the network needs, small enough to copy. */
const FRAME = 256;

/** Sets up all sources. @param {Takers} take @param {States} states */
export function inputs(take, states) {
  const files = async (/** @type {FileList | File[]} */ list) => {
    const [file] = list;
    if (!file) return;
    states.clear();
    showClassify();
    if (await isCheckpoint(file)) take.checkpoint(file);
    else await take.look({ name: file.name || 'pasted picture', blob: file });
  };
  pick('choose', 'file', files);
  pick('own', 'own-file', (list) => list[0] && take.checkpoint(list[0]));
  drop(files, states);
  addEventListener('paste', (event) => {
    const list = event.clipboardData?.files ?? [];
    if (list.length) {
      event.preventDefault();
      void files(list);
    } else if (!(event.target instanceof HTMLInputElement)) {
      states.pass({ kind: 'note', title: 'The clipboard holds no picture.', text: 'Copy the picture itself, not its address.' });
    }
  });
  camera(take, states);
  samples(take);
}

/** Whether a file is a checkpoint: by its extension, or by the header of safetensors, a length and JSON. @param {File} file */
async function isCheckpoint(file) {
  if (/\.(safetensors|pth|pt|tar|t7|caffemodel)$/i.test(file.name)) return true;
  const head = new DataView(await file.slice(0, 9).arrayBuffer().catch(() => new ArrayBuffer(0)));
  return head.byteLength === 9 && head.getBigUint64(0, true) < BigInt(file.size) && head.getUint8(8) === 0x7b;
}

/** A dropped picture is shown on its tab. */
function showClassify() {
  const tab = find('tab-classify', HTMLElement);
  if (tab.getAttribute('aria-selected') !== 'true') tab.click();
}

/** @param {string} button @param {string} input @param {(files: FileList) => void} taken */
function pick(button, input, taken) {
  const field = find(input, HTMLInputElement);
  find(button, HTMLElement).addEventListener('click', () => field.click());
  field.addEventListener('change', () => {
    if (field.files?.length) taken(field.files);
    // Otherwise choosing the same file again would fire no event.
    field.value = '';
  });
}

/** @param {(files: FileList) => void} taken @param {States} states */
function drop(taken, states) {
  const target = find('drop', HTMLElement);
  let depth = 0;
  const show = (/** @type {boolean} */ over) => { target.hidden = !over; };
  addEventListener('dragenter', (event) => {
    event.preventDefault();
    depth++;
    show(true);
  });
  addEventListener('dragleave', () => {
    depth = Math.max(0, depth - 1);
    show(depth > 0);
  });
  addEventListener('dragover', (event) => {
    event.preventDefault();
    if (event.dataTransfer) event.dataTransfer.dropEffect = 'copy';
  });
  addEventListener('drop', (event) => {
    event.preventDefault();
    depth = 0;
    show(false);
    if (event.dataTransfer?.files.length) taken(event.dataTransfer.files);
    else {
      states.pass({
        kind: 'note', title: 'That was a link, not a file.',
        text: 'This page contacts no other server. Save the picture first, or copy and paste it.',
      });
    }
  });
}

/** @param {Takers} take @param {States} states */
function camera(take, states) {
  const open = find('camera', HTMLButtonElement), video = find('video', HTMLVideoElement);
  const bar = find('camera-actions', HTMLElement), live = find('live', HTMLButtonElement);
  /** @type {MediaStream | null} */ let stream = null;
  let running = false;

  const devices = navigator.mediaDevices;
  if (!devices?.getUserMedia) return;
  const look = () => devices.enumerateDevices().then((all) => {
    open.hidden = !all.some((device) => device.kind === 'videoinput');
  }, () => {});
  void look();
  devices.addEventListener('devicechange', look);

  const setLive = (/** @type {boolean} */ on) => {
    running = on;
    live.setAttribute('aria-pressed', String(on));
    if (on) void follow();
  };
  const close = () => {
    if (!stream) return;
    setLive(false);
    for (const track of stream.getTracks()) track.stop();
    stream = null;
    video.srcObject = null;
    video.hidden = bar.hidden = true;
    open.focus({ preventScroll: true });
  };
  const frame = () => {
    const canvas = make('canvas', { width: String(FRAME), height: String(FRAME) }), context = brush(canvas);
    const side = Math.min(video.videoWidth, video.videoHeight);
    context.drawImage(video, (video.videoWidth - side) / 2, (video.videoHeight - side) / 2, side, side, 0, 0, FRAME, FRAME);
    return {
      width: FRAME, height: FRAME,
      rgba: /** @type {Uint8ClampedArray<ArrayBuffer>} */ (context.getImageData(0, 0, FRAME, FRAME).data),
    };
  };
  const follow = async () => {
    while (running && stream) {
      if (video.videoWidth) await take.look({ name: 'camera, live', pixels: frame(), moving: true });
      await new Promise((next) => requestAnimationFrame(next));
    }
  };

  open.addEventListener('click', async () => {
    if (stream) return close();
    try {
      stream = await devices.getUserMedia({ video: { facingMode: 'environment', width: { ideal: 640 } } });
    } catch (error) {
      const denied = error instanceof DOMException && error.name === 'NotAllowedError';
      states.pass({
        kind: 'error', title: denied ? 'Access to the camera was denied.' : 'The camera cannot be opened.',
        text: denied ? 'Allow it in the browser’s settings for this site, or reload the page to be asked again.' : String(error),
      });
      return;
    }
    video.srcObject = stream;
    for (const track of stream.getTracks()) track.addEventListener('ended', close);
    find('picture', HTMLElement).hidden = find('drawn', HTMLElement).hidden = find('picture-blank', HTMLElement).hidden = true;
    video.hidden = bar.hidden = false;
    find('picture-name', HTMLElement).textContent = 'camera';
    await video.play().catch(() => {});
    find('shutter', HTMLElement).focus({ preventScroll: true });
  });
  find('shutter', HTMLElement).addEventListener('click', () => {
    if (!video.videoWidth) return;
    const pixels = frame();
    close();
    void take.look({ name: 'camera', pixels });
  });
  live.addEventListener('click', () => setLive(!running));
  find('camera-off', HTMLElement).addEventListener('click', close);
  // Another picture replaces the camera's.
  video.addEventListener('replaced', close);
  document.addEventListener('visibilitychange', () => {
    if (document.hidden && running) setLive(false);
  });
}

/** @param {Takers} take */
function samples(take) {
  const list = find('samples', HTMLElement);
  for (const name of names) {
    const image = make('img', { src: address(name), width: '160', height: '160', alt: '' });
    const button = make('button', { type: 'button', 'data-sample': name, title: name }, image,
      make('span', { class: 'away' }, `Sample picture: ${name}`));
    list.append(make('li', {}, button));
    // A sample that cannot be fetched disappears; the others stay.
    sample(name).catch(() => button.remove());
    button.addEventListener('click', () => void sample(name).then(take.look, () => {}));
  }
}
