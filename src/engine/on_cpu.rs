//! What the CPU device computes, to compare an adapter with.

use super::{Device, Engine, EngineError};
use crate::graph::{Graph, Tensor, interp};
use crate::kernels::Choices;
use crate::shape::DType;

/// What the CPU device computes: the named lasting values after one run. Feature maps in half
/// precision are in single precision there; the operands are rounded all the same.
///
/// # Errors
/// If there is not as much memory.
pub(super) async fn on_cpu(
    cpu: &Device,
    graph: &Graph,
    operands: &interp::Store,
    names: &[String],
) -> Result<Vec<Tensor>, EngineError> {
    let mut single = graph.clone();
    for value in &mut single.values {
        if value.shape.dtype == DType::F16 {
            value.shape.dtype = DType::F32;
        }
    }
    let mut engine = Engine::new(cpu, vec![single], &Choices::default())?;
    for (name, tensor) in operands {
        let value = engine.value(name);
        let words = tensor.clone().stored_as(engine.shape(value)).to_words();
        engine.write(value, &words);
    }
    engine.run(0)?;
    let values: Vec<_> = names.iter().map(|name| engine.value(name)).collect();
    let read = engine.read_all(&values).await?;
    let tensors = values.iter().zip(read);
    let tensors = tensors.map(|(value, words)| Tensor::from_words(engine.shape(*value), &words));
    Ok(tensors.collect())
}
