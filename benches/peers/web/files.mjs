/**
 * The network as files: safetensors for our program and TensorFlow.js, ONNX for ONNX Runtime.
 */

import proto from 'onnx-proto';
import { CLASSES, SIZE, units, weights } from './network.mjs';

const { onnx } = proto;

/** A checkpoint with a description of its network. @param {number} depth @param {number} alpha */
export function safetensors(depth, alpha) {
  const description = {
    version: '1.0',
    network: {
      family: 'pyramidnet', depth, alpha, growth: 'add', block: 'basic', stem: 'cifar', classes: CLASSES,
      dropout: 0, image_size: SIZE, rounding: 'half-up',
    },
    classes: Array.from({ length: CLASSES }, (_, i) => String(i)),
    preprocessing: { mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5], shorter_side: SIZE },
  };
  const header = { __metadata__: { pyr_wgpu: JSON.stringify(description) } };
  const parts = [];
  let at = 0;
  for (const [name, { shape, data }] of weights(depth, alpha)) {
    header[name] = { dtype: 'F32', shape, data_offsets: [at, at + data.byteLength] };
    parts.push(Buffer.from(data.buffer));
    at += data.byteLength;
    if (!name.endsWith('running_var')) continue;
    // Batch norm's batch counter, which none of the programs reads.
    header[name.replace('running_var', 'num_batches_tracked')] = { dtype: 'I64', shape: [], data_offsets: [at, at + 8] };
    parts.push(Buffer.alloc(8));
    at += 8;
  }
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, ...parts]);
}

/** The graph as exporters write it; ONNX Runtime optimises it on loading. @param {number} depth @param {number} alpha */
export function model(depth, alpha) {
  const FLOAT = onnx.TensorProto.DataType.FLOAT, INT64 = onnx.TensorProto.DataType.INT64;
  const nodes = [], initializer = [];
  for (const [name, { shape, data }] of weights(depth, alpha)) {
    initializer.push({ name, dims: shape, dataType: FLOAT, rawData: new Uint8Array(data.buffer) });
  }
  const attribute = (name, value) => Array.isArray(value)
    ? { name, type: onnx.AttributeProto.AttributeType.INTS, ints: value }
    : { name, type: onnx.AttributeProto.AttributeType.FLOAT, f: value };
  const add = (opType, input, attributes = {}) => {
    const output = [`t${nodes.length}`];
    nodes.push({ opType, input, output, name: output[0], attribute: Object.entries(attributes).map(([k, v]) => attribute(k, v)) });
    return output[0];
  };
  const conv = (x, name, stride = 1) => add('Conv', [x, `${name}.weight`], { kernel_shape: [3, 3], pads: [1, 1, 1, 1], strides: [stride, stride] });
  const norm = (x, name) => add('BatchNormalization', [x, ...['weight', 'bias', 'running_mean', 'running_var'].map((p) => `${name}.${p}`)], { epsilon: 1e-5 });
  let x = norm(conv('input', 'conv1'), 'bn1');
  for (const { name, inputs, width, stride } of units(depth, alpha)) {
    let branch = conv(norm(x, `${name}.bn1`), `${name}.conv1`, stride);
    branch = conv(add('Relu', [norm(branch, `${name}.bn2`)]), `${name}.conv2`);
    branch = norm(branch, `${name}.bn3`);
    let shortcut = stride === 2 ? add('AveragePool', [x], { kernel_shape: [2, 2], strides: [2, 2] }) : x;
    if (width > inputs) {
      const pads = `${name}.pads`;
      const values = BigInt64Array.from([0, 0, 0, 0, 0, width - inputs, 0, 0].map(BigInt));
      initializer.push({ name: pads, dims: [8], dataType: INT64, rawData: new Uint8Array(values.buffer) });
      shortcut = add('Pad', [shortcut, pads]);
    }
    x = add('Add', [branch, shortcut]);
  }
  x = add('GlobalAveragePool', [add('Relu', [norm(x, 'bn_final')])]);
  nodes.push({
    opType: 'Gemm', input: [add('Flatten', [x]), 'fc.weight', 'fc.bias'], output: ['logits'], name: 'fc',
    attribute: [{ name: 'transB', type: onnx.AttributeProto.AttributeType.INT, i: 1 }],
  });
  const tensor = (name, dims) => ({ name, type: { tensorType: { elemType: FLOAT, shape: { dim: dims.map((dimValue) => ({ dimValue })) } } } });
  return onnx.ModelProto.encode({
    irVersion: 8, producerName: 'pyr-wgpu', opsetImport: [{ domain: '', version: 13 }],
    graph: { name: 'pyramidnet', node: nodes, initializer, input: [tensor('input', [1, 3, SIZE, SIZE])], output: [tensor('logits', [1, CLASSES])] },
  }).finish();
}
