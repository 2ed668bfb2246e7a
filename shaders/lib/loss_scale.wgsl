// Words of the state of loss scaling. Host half: src/graph/ops/loss_scale.rs.

const LOSS_SCALE: u32 = 0u;
const LOSS_SCALE_GOOD_STEPS: u32 = 1u;
const LOSS_SCALE_OVERFLOW: u32 = 2u;
const LOSS_SCALE_SKIPPED: u32 = 3u;
