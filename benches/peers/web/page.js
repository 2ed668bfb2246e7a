/**
 * A page that runs one program: loads a network and classifies one image repeatedly.
 *
 * Times include uploading the image and reading the probabilities back.
 */

import { CLASSES, SIZE, image, units } from './network.mjs';

const bytes = (path) => fetch(path).then((response) => response.arrayBuffer());

/** The image as floats from -1 to 1, channels first or last. @param {boolean} planes */
function numbers(planes) {
  const rgb = image();
  const pixels = SIZE * SIZE;
  return Float32Array.from(rgb, (_, i) => ((planes ? rgb[i % pixels * 3 + Math.floor(i / pixels)] : rgb[i]) - 127.5) / 127.5);
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

/** @type {Record<string, (device: string, name: string, depth: number, alpha: number) => Promise<() => Promise<number[]>>>} */
const programs = {
  async ours(device, name) {
    const { default: init, PageDevice } = await import('./pyr_wgpu_web.js');
    await init({ module_or_path: new URL('pyr_wgpu_web_bg.wasm', import.meta.url) });
    const network = await PageDevice.open(device);
    network.load(new Uint8Array(await bytes(`${name}.safetensors`)));
    const input = image();
    return async () => {
      const { predictions } = JSON.parse(await network.classify(input));
      const probabilities = Array(CLASSES);
      for (const { index, probability } of predictions) probabilities[index] = probability;
      return probabilities;
    };
  },

  async ort(device, name) {
    const ort = await import(device === 'gpu' ? './node_modules/onnxruntime-web/dist/ort.webgpu.min.mjs' : './node_modules/onnxruntime-web/dist/ort.wasm.min.mjs');
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = new URL('node_modules/onnxruntime-web/dist/', import.meta.url).href;
    const session = await ort.InferenceSession.create(await bytes(`${name}.onnx`), {
      executionProviders: [device === 'gpu' ? 'webgpu' : 'wasm'], graphOptimizationLevel: 'all',
    });
    const input = new ort.Tensor('float32', numbers(true), [1, 3, SIZE, SIZE]);
    return async () => {
      const { logits } = await session.run({ input });
      return softmax(await logits.getData());
    };
  },

  async tfjs(device, name, depth, alpha) {
    if (device !== 'gpu') throw new Error('only its WebGPU backend is compared');
    await script('node_modules/@tensorflow/tfjs/dist/tf.min.js');
    await script('node_modules/@tensorflow/tfjs-backend-webgpu/dist/tf-backend-webgpu.min.js');
    const { tf } = window;
    if (!await tf.setBackend('webgpu')) throw new Error('its WebGPU backend is not available');
    await tf.ready();
    const file = await bytes(`${name}.safetensors`);
    const length = Number(new DataView(file).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, length)));
    const tensors = {};
    for (const [key, { dtype, shape, data_offsets: [from, to] = [] }] of Object.entries(header)) {
      if (dtype !== 'F32') continue;
      const plain = tf.tensor(new Float32Array(file.slice(8 + length + from, 8 + length + to)), shape);
      tensors[key] = shape.length === 4 ? tf.transpose(plain, [2, 3, 1, 0]) : plain;
    }
    const conv = (x, layer, stride = 1) => tf.conv2d(x, tensors[`${layer}.weight`], stride, 1);
    const norm = (x, layer) => {
      const [weight, bias, mean, variance] = ['weight', 'bias', 'running_mean', 'running_var'].map((part) => tensors[`${layer}.${part}`]);
      return tf.batchNorm(x, mean, variance, bias, weight, 1e-5);
    };
    const forward = (x) => {
      x = norm(conv(x, 'conv1'), 'bn1');
      for (const { name: unit, inputs, width, stride } of units(depth, alpha)) {
        const inner = tf.relu(norm(conv(norm(x, `${unit}.bn1`), `${unit}.conv1`, stride), `${unit}.bn2`));
        const branch = norm(conv(inner, `${unit}.conv2`), `${unit}.bn3`);
        const shortcut = stride === 2 ? tf.avgPool(x, 2, 2, 'valid') : x;
        x = tf.add(branch, width > inputs ? tf.pad(shortcut, [[0, 0], [0, 0], [0, 0], [0, width - inputs]]) : shortcut);
      }
      const means = tf.mean(tf.relu(norm(x, 'bn_final')), [1, 2]);
      return tf.add(tf.matMul(means, tensors['fc.weight'], false, true), tensors['fc.bias']);
    };
    const input = numbers(false);
    return async () => {
      const logits = tf.tidy(() => forward(tf.tensor4d(input, [1, SIZE, SIZE, 3])));
      const values = await logits.data();
      logits.dispose();
      return softmax(values);
    };
  },
};

function script(src) {
  return new Promise((resolve, reject) => {
    const element = Object.assign(document.createElement('script'), { src, onload: resolve, onerror: () => reject(new Error(`${src} is missing`)) });
    document.head.append(element);
  });
}

/** @type {(() => Promise<number[]>) | null} */ let run = null;

/** Loads a program; returns its probabilities and the milliseconds until the first answer. */
window.prepare = async ({ program, device, name, depth, alpha }) => {
  const start = performance.now();
  run = await programs[program](device, name, depth, alpha);
  const probabilities = await run();
  const first = performance.now() - start;
  for (let i = 0; i < 3; i++) await run();
  return { probabilities, first };
};

/** Median milliseconds per run, measured for some seconds. */
window.measure = async (seconds) => {
  const samples = [];
  const end = performance.now() + 1000 * seconds;
  while (samples.length < 3 || performance.now() < end) {
    const start = performance.now();
    await run?.();
    samples.push(performance.now() - start);
  }
  samples.sort((a, b) => a - b);
  return samples[samples.length >> 1];
};
window.loaded = true;
