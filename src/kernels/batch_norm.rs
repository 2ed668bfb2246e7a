//! Parameters that normalisation and the reduction in its gradient share.

use super::row_partition::RowPartition;
use super::shader::parameters;

parameters! {
    pub(super) struct Params {
        rows,
        /// Vectors of four channels.
        columns,
        /// Rows of a workgroup.
        chunk,
        /// Float.
        epsilon,
        /// 1 if ReLU follows.
        relu,
    }
}

impl Params {
    pub(super) fn new(partition: &RowPartition, epsilon: f32, relu: bool) -> Params {
        Params {
            rows: partition.rows,
            columns: partition.columns,
            chunk: partition.chunk,
            epsilon: epsilon.to_bits(),
            relu: u32::from(relu),
        }
    }
}
