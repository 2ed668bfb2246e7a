"""The initial weights of `src/model/init.rs`, drawn independently of the Rust code.

A recording of a wide network need not hold its weights: a seed is enough, because every random
number is a function of its purpose. The generator is Philox-4x32-10 (Salmon et al. 2011,
"Parallel random numbers: as easy as 1, 2, 3"); its key is the seed, its counter (block, index
among the trained tensors, 0, purpose). Logarithm and cosine are those of NumPy, so that one
weight in some hundred million may differ in its last bit from the one that Rust draws.
"""

import math

import numpy
import torch

# What the numbers are for: `Purpose::Initialise` in `src/rng.rs`.
INITIALISE = 4


def philox4x32(counter, seed):
    """Four random words for each counter: four arrays from four arrays or numbers."""
    mask = numpy.uint64(0xFFFFFFFF)
    half = numpy.uint64(32)
    words = [numpy.asarray(word, numpy.uint64) for word in counter]
    keys = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        first = words[0] * numpy.uint64(0xD2511F53)
        second = words[2] * numpy.uint64(0xCD9E8D57)
        words = [
            (second >> half) ^ words[1] ^ numpy.uint64(keys[0]),
            second & mask,
            (first >> half) ^ words[3] ^ numpy.uint64(keys[1]),
            first & mask,
        ]
        keys = [(keys[0] + 0x9E3779B9) & 0xFFFFFFFF, (keys[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return words


def uniform_pairs(number, index, seed):
    """The first `number` pairs of numbers in [0, 1), multiples of 2^-53, of a tensor's stream."""
    words = philox4x32((numpy.arange(number), index, 0, INITIALISE), seed)

    def uniform(high, low):
        return ((high << numpy.uint64(32) | low) >> numpy.uint64(11)) / 2.0**53

    return uniform(words[0], words[1]), uniform(words[2], words[3])


def initial_weights(model, seed):
    """Weights of the convolutions and of the classifier by name; all else starts at 0 or 1."""
    weights = {}
    for index, (name, parameter) in enumerate(model.named_parameters()):
        if parameter.dim() < 2:
            continue
        number = parameter.numel()
        if parameter.dim() == 4:
            outputs, _, rows, columns = parameter.shape
            first, second = uniform_pairs(number, index, seed)
            # Box and Muller 1958; one minus a number in [0, 1) is never zero.
            normal = numpy.sqrt(-2 * numpy.log(1 - first)) * numpy.cos(2 * math.pi * second)
            values = normal * math.sqrt(2 / (rows * columns * outputs))
        else:
            pairs = uniform_pairs((number + 1) // 2, index, seed)
            uniform = numpy.stack(pairs, axis=1).flatten()[:number]
            values = (2 * uniform - 1) * (1 / math.sqrt(parameter.shape[1]))
        weights[name] = torch.from_numpy(values.astype(numpy.float32)).reshape(parameter.shape)
    return weights
