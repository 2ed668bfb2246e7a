// Running statistics of batch norm: the update of one vector of four channels.

// correction: the factor that makes the variance unbiased; 1 for the mean.
fn running_of(old: vec4<f32>, batch: vec4<f32>, weight: f32, correction: f32) -> vec4<f32> {
    return (1.0 - weight) * old + (weight * correction) * batch;
}
