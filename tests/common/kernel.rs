//! One kernel against the plain reference of its operator, natively and in the browser.

use super::tolerance::{bound, rounding};
use half::f16;
use pyr_wgpu::engine::{Device, Engine, EngineError};
use pyr_wgpu::graph::{Data, Graph, Op, Role, Tensor, ValueId, ops, precision};
use pyr_wgpu::kernels::{self, Choices};
use pyr_wgpu::shape::{DType, Shape};

/// One operator with its operands, ready for a device.
pub struct Case {
    graph: Graph,
    operands: Vec<ValueId>,
    results: Vec<ValueId>,
    inputs: Vec<Tensor>,
    /// Which results were stored as halves before conversion.
    half: Vec<bool>,
}

impl Case {
    /// A graph of the operator alone: its operands are external values, its results outputs;
    /// operands updated in place keep their names.
    pub fn new(op: &Op, inputs: &[Tensor]) -> Case {
        Case::build(op, inputs, false)
    }

    /// The same with feature maps in half precision inside the graph, if the operator supports
    /// it; operands are rounded to halves first, so that converting them is exact.
    pub fn half(op: &Op, inputs: &[Tensor]) -> Option<Case> {
        if matches!(op, Op::Convert(_)) {
            return None;
        }
        let rounded = |tensor: &Tensor| match is_map(tensor.shape.clone()) {
            true => {
                let mut half = tensor.shape.clone();
                half.dtype = DType::F16;
                tensor.clone().stored_as(&half).stored_as(&tensor.shape)
            }
            false => tensor.clone(),
        };
        let inputs: Vec<Tensor> = inputs.iter().map(rounded).collect();
        let mut case = Case::build(op, &inputs, true);
        precision::halve(&mut case.graph);
        let graph = &case.graph;
        let node = graph.nodes.iter().find(|node| node.op == *op);
        let outputs = node.map_or(&[][..], |node| &node.outputs);
        let half = |id: &ValueId| graph.shape(*id).dtype == DType::F16;
        case.half = outputs.iter().map(half).collect();
        precision::is_half(graph).then_some(case)
    }

    fn build(op: &Op, inputs: &[Tensor], convert: bool) -> Case {
        let mut graph = Graph::new();
        let mut operands = Vec::new();
        let mut inside = Vec::new();
        for (i, tensor) in inputs.iter().enumerate() {
            let name = format!("operand {i}");
            let id = graph.external(&name, tensor.shape.clone());
            operands.push(id);
            inside.push(match convert && is_map(tensor.shape.clone()) {
                true => push(&mut graph, ops::Convert, &[id], "converted")[0],
                false => id,
            });
        }
        let mut results = push(&mut graph, op.clone(), &inside, "result");
        for (i, id) in results.iter_mut().enumerate() {
            if graph.value(*id).role != Role::Temporary {
                continue;
            }
            if convert && is_map(graph.shape(*id).clone()) {
                *id = push(&mut graph, ops::Convert, &[*id], "converted")[0];
            }
            graph.output(*id, &format!("result {i}"));
        }
        graph.validate().unwrap_or_else(|e| panic!("{e}"));
        Case {
            half: vec![false; results.len()],
            graph,
            operands,
            results,
            inputs: inputs.to_vec(),
        }
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Runs it on a device; returns the memory image of each result.
    ///
    /// # Errors
    /// Errors of the device.
    pub async fn run(&self, device: &Device, choices: &Choices) -> Result<Vec<Vec<u32>>, String> {
        let failed = |e: EngineError| format!("{:?}: {e}", self.graph.nodes);
        let graph = &self.graph;
        let mut engine = Engine::new(device, vec![graph.clone()], choices).map_err(failed)?;
        for (id, tensor) in self.operands.iter().zip(&self.inputs) {
            let operand = engine.value(&graph.value(*id).name);
            engine.write(operand, &tensor.to_words());
        }
        // Results must not depend on the previous content of memory: fill it with NaN.
        for id in self.results.iter().filter(|id| !self.operands.contains(id)) {
            let poison = vec![0x7fc0_dead_u32; graph.shape(*id).stored_len()];
            engine.write(engine.value(&graph.value(*id).name), &poison);
        }
        engine.run(0).map_err(failed)?;
        let mut results = Vec::new();
        for id in &self.results {
            let result = engine.value(&graph.value(*id).name);
            results.push(engine.read(result).await.map_err(failed)?);
        }
        Ok(results)
    }

    /// The variants of its kernels that a device can run.
    pub fn variants(&self, device: &Device) -> Vec<Choices> {
        if !matches!(device, Device::Gpu(_)) {
            return vec![Choices::default()];
        }
        let lower = |choices: &Choices| kernels::lower(&self.graph, &device.target(), choices);
        let legal = |name: &&str| lower(&Choices::everywhere(name)).is_ok();
        let names: Vec<&str> = kernels::variants().into_iter().filter(legal).collect();
        let has_choice =
            lower(&Choices::default()).is_ok_and(|lowered| lowered.choices.iter().next().is_some());
        match has_choice {
            true => names.iter().map(|name| Choices::everywhere(name)).collect(),
            false => vec![Choices::default()],
        }
    }
}

fn push(graph: &mut Graph, op: impl Into<Op>, inputs: &[ValueId], name: &str) -> Vec<ValueId> {
    let results = graph.push(op, inputs, name);
    results.unwrap_or_else(|e| panic!("{e}"))
}

pub fn is_map(shape: Shape) -> bool {
    shape.dims.len() == 4 && shape == Shape::channels(&shape.dims)
}

/// Compares every variant that `stands` selects with the reference and, on a GPU, also the
/// representative ones with feature maps in half precision. Returns the number compared.
///
/// # Errors
/// The first difference beyond the bound, or an error of the device.
pub async fn check(
    device: &Device,
    sample: &ops::Sample,
    stands: impl Fn(&Choices) -> bool,
) -> Result<usize, String> {
    let single = Case::new(&sample.op, &sample.inputs);
    let mut checked = check_case(device, sample, &single, &stands).await?;
    if let (Device::Gpu(_), Some(half)) = (device, Case::half(&sample.op, &sample.inputs)) {
        let stands = |choices: &Choices| stands(choices) && self::stands(choices);
        checked += check_case(device, sample, &half, stands).await?;
    }
    Ok(checked)
}

async fn check_case(
    device: &Device,
    sample: &ops::Sample,
    case: &Case,
    stands: impl Fn(&Choices) -> bool,
) -> Result<usize, String> {
    let inputs: Vec<&Tensor> = case.inputs.iter().collect();
    let references = sample.op.reference(&inputs);
    let variants: Vec<Choices> = case.variants(device).into_iter().filter(stands).collect();
    for choices in &variants {
        let half = precision::is_half(&case.graph);
        let tolerance = bound(sample, &references, choices, half);
        let results = case.run(device, choices).await?;
        let pairs = results.iter().zip(&references).zip(&case.half);
        for ((words, reference), half) in pairs {
            let precision = if *half { " in half precision" } else { "" };
            let shapes = shapes(sample);
            let what = format!("{:?}{precision} with {choices:?} on {shapes:?}", sample.op);
            let result = Tensor::from_words(&reference.shape, words);
            compare(&result, reference, tolerance, *half).map_err(|e| format!("{what}: {e}"))?;
            if result.to_words() != *words {
                return Err(format!("{what}: padding of the result is not zero"));
            }
        }
    }
    Ok(variants.len())
}

/// Checks the conversion of numbers to halves and back: to the nearest half, ties to even, infinite
/// beyond the largest, subnormal halves included. All halves, the midpoints between neighbours,
/// and the numbers next to the midpoints stand for all numbers.
///
/// # Errors
/// The first number that becomes another half, or an error of the device.
pub async fn check_halves(device: &Device) -> Result<(), String> {
    let positive = (0..=f16::INFINITY.to_bits()).map(f16::from_bits);
    let numbers: Vec<u32> = positive
        .flat_map(|half| {
            let [this, next] = [half, f16::from_bits(half.to_bits() + 1)].map(f32::from);
            // Where the next half would be infinite, its number would be 65536.
            let next = if next.is_finite() { next } else { 65536.0 };
            let midpoint = ((this + next) / 2.0).to_bits();
            [this.to_bits(), midpoint - 1, midpoint, midpoint + 1]
        })
        .chain([65536.0, 1e20, f32::MAX, f32::MIN_POSITIVE, 1e-45].map(f32::to_bits))
        .filter(|bits| !f32::from_bits(*bits).is_nan())
        .flat_map(|bits| [bits, bits | 1 << 31])
        .chain([0x7f80_0001, 0x7fc0_0000, 0xffff_ffff])
        .collect();

    // Repeated four times, each number has each place of a vector once.
    assert_eq!(numbers.len() % 2, 1);
    let shape = Shape::channels(&[1, 1, numbers.len(), 4]);
    let words: Vec<u32> = numbers.iter().copied().cycle().take(shape.len()).collect();
    let mut graph = Graph::new();
    let x = graph.external("x", shape.clone());
    let halves = push(&mut graph, ops::Convert, &[x], "halves")[0];
    let y = push(&mut graph, ops::Convert, &[halves], "y")[0];
    graph.output(y, "y");
    graph.values[halves.0].shape.dtype = DType::F16;

    let failed = |e: EngineError| e.to_string();
    let mut engine = Engine::new(device, vec![graph], &Choices::default()).map_err(failed)?;
    engine.write(engine.value("x"), &words);
    engine.run(0).map_err(failed)?;
    let found = engine.read(engine.value("y")).await.map_err(failed)?;
    let pairs = words.iter().zip(&found);
    for (number, found) in pairs.map(|(a, b)| (f32::from_bits(*a), f32::from_bits(*b))) {
        let expected = f32::from(f16::from_f32(number));
        let is_same = expected.to_bits() == found.to_bits() || expected.is_nan() && found.is_nan();
        if !is_same {
            return Err(format!("{number:e} becomes {found:e}, not {expected:e}"));
        }
    }
    Ok(())
}

/// The shapes of a sample's operands, for messages.
pub fn shapes(sample: &ops::Sample) -> Vec<String> {
    let shapes = sample.inputs.iter().take(6);
    shapes.map(|t| t.shape.to_string()).collect()
}

fn compare(result: &Tensor, reference: &Tensor, tolerance: f64, half: bool) -> Result<(), String> {
    match (&result.data, &reference.data) {
        (Data::Real(result), Data::Real(reference)) => {
            let pairs = result.iter().zip(reference).enumerate();
            let near = |a: f64, b: f64| {
                let tolerance = match half {
                    true => tolerance + rounding(b),
                    false => tolerance,
                };
                (a - b).abs() <= tolerance || (a.is_nan() && b.is_nan())
            };
            match pairs.into_iter().find(|(_, (a, b))| !near(**a, **b)) {
                None => Ok(()),
                Some((i, (a, b))) => Err(format!(
                    "element {i} is {a}, reference {b}, difference {:e}, tolerance {tolerance:e}",
                    (a - b).abs()
                )),
            }
        }
        // The metrics' first word is a float.
        (Data::Index(result), Data::Index(reference)) if result.len() == ops::METRIC_WORDS => {
            let [a, b] = [result, reference].map(|m| ops::Metrics::from_words(m));
            let near = f64::from((a.loss - b.loss).abs()) <= tolerance * 300.0;
            match near && result[1..] == reference[1..] {
                true => Ok(()),
                false => Err(format!("{a:?}, reference {b:?}")),
            }
        }
        (result, reference) if result == reference => Ok(()),
        (result, reference) => Err(format!("{result:?}, reference {reference:?}")),
    }
}

/// Whether a variant is among the representative ones: tiles differ only in their constants, so
/// two of each family suffice.
pub fn stands(choices: &Choices) -> bool {
    let name = choices.get("").unwrap_or("direct");
    let standing = [
        "tiled 128x24",
        "tiled 128x64",
        "matrix 128x16",
        "matrix 128x48",
    ];
    !name.starts_with("tiled") && !name.starts_with("matrix") || standing.contains(&name)
}
