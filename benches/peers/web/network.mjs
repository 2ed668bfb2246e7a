/**
 * The workload of every program: the additive PyramidNet of basic units for 32x32 images in ten
 * classes, with pseudo-random weights from a fixed seed.
 */

export const CLASSES = 10;
export const SIZE = 32;
const STEM = 16;

/**
 * Units in order: channels in and out, and the stride of the first convolution.
 * @param {number} depth @param {number} alpha
 */
export function units(depth, alpha) {
  const stage = (depth - 2) / 6, count = 3 * stage;
  let inputs = STEM;
  return Array.from({ length: count }, (_, i) => {
    const width = Math.floor(STEM + alpha * (i + 1) / count + 0.5);
    const unit = {
      name: `layer${Math.floor(i / stage) + 1}.${i % stage}`, inputs, width, stride: i > 0 && i % stage === 0 ? 2 : 1,
    };
    inputs = width;
    return unit;
  });
}

/**
 * Tensors by name, in the order of PyTorch: convolutions [out, in, 3, 3].
 * @param {number} depth @param {number} alpha
 * @returns {Map<string, { shape: number[], data: Float32Array }>}
 */
export function weights(depth, alpha) {
  let state = 1;
  // Uniform numbers of variance one, from the linear congruential generator of Numerical Recipes.
  const uniform = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0, (state / 2 ** 31 - 1) * Math.sqrt(3));
  const tensors = new Map();
  const put = (name, shape, value) => {
    const length = shape.reduce((a, b) => a * b, 1);
    tensors.set(name, { shape, data: Float32Array.from({ length }, value) });
  };
  const conv = (name, inputs, outputs) => put(`${name}.weight`, [outputs, inputs, 3, 3], () => uniform() / Math.sqrt(9 * inputs));
  const norm = (name, width, scale = 1) => {
    put(`${name}.weight`, [width], () => scale * (1 + 0.1 * uniform()));
    put(`${name}.bias`, [width], () => 0.1 * uniform());
    put(`${name}.running_mean`, [width], () => 0.1 * uniform());
    put(`${name}.running_var`, [width], () => 1 + 0.1 * uniform());
  };
  conv('conv1', 3, STEM);
  norm('bn1', STEM);
  let last = STEM;
  for (const { name, inputs, width } of units(depth, alpha)) {
    norm(`${name}.bn1`, inputs);
    conv(`${name}.conv1`, inputs, width);
    norm(`${name}.bn2`, width);
    conv(`${name}.conv2`, width, width);
    // Small branches keep the logits of deep networks small.
    norm(`${name}.bn3`, width, 0.2);
    last = width;
  }
  norm('bn_final', last);
  put('fc.weight', [CLASSES, last], () => uniform() / Math.sqrt(last));
  put('fc.bias', [CLASSES], () => 0.1 * uniform());
  return tensors;
}

/** A synthetic image: rows of RGB bytes. */
export function image() {
  return Uint8Array.from({ length: 3 * SIZE * SIZE }, (_, i) => (i * 37 + (i >> 5) * 11) % 256);
}
