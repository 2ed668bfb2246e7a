//! Training as a whole: it learns, is reproducible, resumes, and its steps are the recipe's.

#[path = "../common/mod.rs"]
mod common;
mod divergence;
mod evaluation;
mod freezing;
mod lost_device;
mod mixing;
mod ranks;
mod replicas;
mod reproducibility;
mod steps;
mod sync_batch_norm;

use pyr_wgpu::engine::Tensors;
use pyr_wgpu::verify::Difference;

/// Bounds the relative L2 norm of the difference between two updates of the trained tensors.
///
/// Both come from the same kernels; they differ in the rounding of the input, of the weights 1/N
/// and of sums, which batch norm amplifies: by less than the 5e-5 of the comparison with PyTorch.
fn check_update(what: &str, before: &Tensors, ours: &Tensors, expected: &Tensors) {
    let change = |after: &Tensors| -> Vec<f32> {
        let pairs = expected
            .keys()
            .flat_map(|name| after[name].iter().zip(&before[name]));
        pairs.map(|(after, before)| after - before).collect()
    };
    let distance = Difference::between([(change(ours).as_slice(), change(expected).as_slice())]);
    println!("{what}: {distance:?}");
    assert!(distance.rel_l2 <= 5e-5, "{what}: {distance:?}");
    assert!(
        distance.largest > 1e-4,
        "{what}: nothing was updated: {distance:?}"
    );
}
