//! Every operator on operands of other shapes than its samples have.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::shape::Layout;

#[test]
fn every_operator_has_samples() {
    let sampled: BTreeSet<&str> = Op::samples()
        .iter()
        .map(|sample| sample.op.name())
        .collect();
    // Partial results have no shape of their own; `selftest::pairs` runs what reduces them. No device
    // computes a reduction over replicas.
    let reductions = [AllReduce::NAME, MergeMoments::NAME, SumSlices::NAME];
    let named = NAMES.iter().copied();
    assert_eq!(
        sampled,
        named.filter(|name| !reductions.contains(name)).collect()
    );
}

/// The operand of a sample with an extent that is one more or less, or an axis more or less.
fn changed(shape: &Shape) -> Vec<Shape> {
    let with = |dims: Vec<usize>| Shape {
        dims,
        ..shape.clone()
    };
    let mut changed = Vec::new();
    for axis in 0..shape.dims.len() {
        for extent in [shape.dims[axis] - 1, shape.dims[axis] + 1] {
            let mut dims = shape.dims.clone();
            dims[axis] = extent;
            changed.extend((extent > 0).then(|| with(dims)));
        }
    }
    // Weights are padded along two axes.
    if shape.layout != Layout::Weights {
        changed.push(with([&[1], &shape.dims[..]].concat()));
        if let [_, rest @ ..] = &shape.dims[..]
            && !rest.is_empty()
        {
            changed.push(with(rest.to_vec()));
        }
    }
    changed
}

/// What an operator accepts, its reference can compute, and the results have the shapes that were
/// inferred.
#[test]
fn operands_are_refused_or_computed() {
    let (mut refused, mut computed) = (0, 0);
    let mut faults = Vec::new();
    for Sample { op, inputs } in Op::samples() {
        for operand in 0..inputs.len() {
            for shape in changed(&inputs[operand].shape) {
                // Zeros: an index of a sample may be too large for fewer rows.
                let shapes = inputs.iter().map(|input| &input.shape);
                let mut inputs: Vec<Tensor> = shapes.map(Tensor::zeros).collect();
                inputs[operand] = Tensor::zeros(&shape);
                let shapes: Vec<&Shape> = inputs.iter().map(|input| &input.shape).collect();
                let Ok(inferred) = op.infer(&shapes) else {
                    refused += 1;
                    continue;
                };
                computed += 1;
                let operands: Vec<&Tensor> = inputs.iter().collect();
                let results = catch_unwind(AssertUnwindSafe(|| op.reference(&operands)));
                let found = results.map(|results| {
                    let shapes = results.into_iter().map(|result| result.shape);
                    shapes.collect::<Vec<_>>()
                });
                if found.as_ref().ok() != Some(&inferred) {
                    let list: Vec<_> = shapes.iter().map(|shape| shape.to_string()).collect();
                    faults.push(format!("{op:?} of {}: {found:?}", list.join(", ")));
                }
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(
        refused > 1000 && computed > 100,
        "{refused} refused, {computed} computed"
    );
}
