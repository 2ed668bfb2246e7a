// Words of the step tensor. Host half: src/graph/step.rs.

const STEP_SEED_LOW: u32 = 0u;
const STEP_SEED_HIGH: u32 = 1u;
const STEP_EPOCH: u32 = 2u;
const STEP_LEARNING_RATE: u32 = 3u;
const STEP_MOMENTUM: u32 = 4u;
const STEP_WEIGHT_DECAY: u32 = 5u;
