// Words of the metrics. Host half: src/graph/ops/metrics.rs.

const METRICS_LOSS: u32 = 0u;
const METRICS_TOP1: u32 = 1u;
const METRICS_TOP5: u32 = 2u;
const METRICS_IMAGES: u32 = 3u;
const METRICS_HALTED: u32 = 4u;
const METRICS_GRADIENT: u32 = 5u;
const METRICS_UPDATE: u32 = 6u;
