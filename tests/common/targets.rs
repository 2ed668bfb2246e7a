//! Devices as lowering sees them, for tests that need no device.

use pyr_wgpu::kernels::Target;
use pyr_wgpu::program::MatrixUnit;
use pyr_wgpu::shape::DType;

/// The differences between devices without matrix units that lowering considers, with subgroups of
/// these sizes; `software` only decides which family is the default.
pub fn targets(sizes: &[u32]) -> Vec<Target> {
    let mut targets = vec![Target::portable()];
    for size in sizes {
        for int64 in [false, true] {
            targets.push(Target {
                storage_bindings: 16,
                subgroup_size: Some(*size),
                software: int64,
                int64,
                ..Target::portable()
            });
        }
    }
    targets
}

/// The differences between devices with matrix units: size and precision of the matrices, and the
/// size of subgroups.
pub fn matrix_targets() -> Vec<Target> {
    let units = [
        (8, DType::F16, [8, 8]),
        (8, DType::F32, [32, 32]),
        (16, DType::F16, [32, 32]),
        (16, DType::F16, [32, 64]),
    ];
    let target = |(size, operands, subgroup)| Target {
        matrices: vec![MatrixUnit {
            size,
            operands,
            subgroup,
        }],
        ..Target::portable()
    };
    units.map(target).to_vec()
}
