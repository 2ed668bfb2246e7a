//! One kernel against the plain reference of its operator, natively and in the browser.

use super::tolerance::{bound, rounding};
use pyr_wgpu::engine::{Device, Engine, EngineError};
use pyr_wgpu::gpu::{BufferRange, LoadedPrograms};
use pyr_wgpu::graph::{Data, Graph, Op, Role, Tensor, ValueId, ops, precision};
use pyr_wgpu::kernels::{self, Choices, Target};
use pyr_wgpu::program::Program;
use pyr_wgpu::shape::{DType, Shape};

/// One operator with its operands, ready for a device.
#[derive(Clone)]
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
        self.run_changed(device, choices, None).await
    }

    async fn run_changed(
        &self,
        device: &Device,
        choices: &Choices,
        change: Option<Change<'_>>,
    ) -> Result<Vec<Vec<u32>>, String> {
        let mut written = self.operands();
        // Results must not depend on the previous content of memory: fill it with NaN.
        for id in self.results.iter().filter(|id| !self.operands.contains(id)) {
            let poison = vec![0x7fc0_dead_u32; self.graph.shape(*id).stored_len()];
            written.push((self.graph.value(*id).name.clone(), poison));
        }
        let results = self.results();
        let runs = run(device, &self.graph, choices, change, &[written], &results).await;
        let mut runs = runs.map_err(|e| format!("{:?}: {e}", self.graph.nodes))?;
        Ok(runs.remove(0))
    }

    /// The memory images of the operands.
    pub fn operands(&self) -> Operands {
        let operands = self.operands.iter().zip(&self.inputs);
        let image =
            |(id, x): (&ValueId, &Tensor)| (self.graph.value(*id).name.clone(), x.to_words());
        operands.map(image).collect()
    }

    /// The names of the results.
    pub fn results(&self) -> Vec<String> {
        let name = |id: &ValueId| self.graph.value(*id).name.clone();
        self.results.iter().map(name).collect()
    }

    /// Compares one variant, or a changed program of it, with the reference of the sample's
    /// operator.
    ///
    /// # Errors
    /// The first difference beyond the bound, or an error of the device.
    pub async fn check(
        &self,
        device: &Device,
        sample: &ops::Sample,
        choices: &Choices,
        change: Option<Change<'_>>,
    ) -> Result<(), String> {
        let results = self.run_changed(device, choices, change).await?;
        self.judge(sample, choices, &results)
    }

    /// Compares memory images of the results with the reference of the sample's operator.
    ///
    /// # Errors
    /// The first difference beyond the bound.
    pub fn judge(
        &self,
        sample: &ops::Sample,
        choices: &Choices,
        results: &[Vec<u32>],
    ) -> Result<(), String> {
        let references = sample.op.reference(&self.inputs.iter().collect::<Vec<_>>());
        let tolerance = bound(
            sample,
            &references,
            choices,
            precision::is_half(&self.graph),
        );
        for ((words, reference), half) in results.iter().zip(&references).zip(&self.half) {
            let precision = if *half { " in half precision" } else { "" };
            let shapes = shapes(sample);
            let what = format!("{:?}{precision} with {choices:?} on {shapes:?}", sample.op);
            let result = Tensor::from_words(&reference.shape, words);
            compare(&result, reference, tolerance, *half).map_err(|e| format!("{what}: {e}"))?;
            // A product with a negative factor is a negative zero.
            let zero = |number: u32, sign: u32| if number == sign { 0 } else { number };
            let positive = |word: &u32| match half {
                true => [*word & 0xffff, *word >> 16].map(|half| zero(half, 1 << 15)),
                false => [zero(*word, 1 << 31), 0],
            };
            if !result
                .to_words()
                .iter()
                .map(positive)
                .eq(words.iter().map(positive))
            {
                return Err(format!("{what}: padding of the result is not zero"));
            }
        }
        Ok(())
    }

    /// The variants of its kernels that a device can run.
    pub fn variants(&self, device: &Device) -> Vec<Choices> {
        match device {
            Device::Gpu(_) => self.variants_for(&device.target()),
            _ => vec![Choices::default()],
        }
    }

    /// The variants of its kernels that can run on a target.
    pub fn variants_for(&self, target: &Target) -> Vec<Choices> {
        let lower = |choices: &Choices| kernels::lower(&self.graph, target, choices);
        let legal = |name: &&str| lower(&Choices::everywhere(name)).is_ok();
        let has_choice =
            lower(&Choices::default()).is_ok_and(|lowered| lowered.choices.iter().next().is_some());
        match has_choice {
            true => {
                let names = kernels::variants().into_iter().filter(legal);
                names.map(Choices::everywhere).collect()
            }
            false => vec![Choices::default()],
        }
    }
}

/// A change of a program for a GPU before it is loaded.
pub type Change<'a> = &'a dyn Fn(&mut Program);

/// Memory images of operands by name.
pub type Operands = Vec<(String, Vec<u32>)>;

/// Runs a graph once for each set of operands; returns the memory images of the named results.
///
/// # Errors
/// Errors of the device.
///
/// # Panics
/// If there is a change and the device is not a GPU.
pub async fn run(
    device: &Device,
    graph: &Graph,
    choices: &Choices,
    change: Option<Change<'_>>,
    operands: &[Operands],
    results: &[String],
) -> Result<Vec<Vec<Vec<u32>>>, EngineError> {
    let mut runs = Vec::new();
    let Some(change) = change else {
        let mut engine = Engine::new(device, vec![graph.clone()], choices)?;
        let values: Vec<_> = results.iter().map(|name| engine.value(name)).collect();
        for operands in operands {
            for (name, words) in operands {
                engine.write(engine.value(name), words);
            }
            engine.run(0)?;
            runs.push(engine.read_all(&values).await?);
        }
        return Ok(runs);
    };
    let Device::Gpu(gpu) = device else {
        panic!("{} has no program", device.name());
    };
    let mut program = kernels::lower(graph, &device.target(), choices)?.program;
    change(&mut program);
    let loaded = LoadedPrograms::new(gpu, &[&program])?;
    let range = |name: &String| {
        let id = graph.find(name).expect("the graph has the result");
        BufferRange {
            buffer: loaded.buffer(name),
            offset: 0,
            bytes: graph.shape(id).bytes(),
        }
    };
    let ranges: Vec<BufferRange> = results.iter().map(range).collect();
    for operands in operands {
        for (name, words) in operands {
            loaded.write(gpu, loaded.buffer(name), 0, bytemuck::cast_slice(words));
        }
        loaded.run(gpu, 0)?;
        let read = loaded.read(gpu, &ranges).await?;
        runs.push(
            read.iter()
                .map(|b| bytemuck::pod_collect_to_vec(b))
                .collect(),
        );
    }
    Ok(runs)
}

fn push(graph: &mut Graph, op: impl Into<Op>, inputs: &[ValueId], name: &str) -> Vec<ValueId> {
    let results = graph.push(op, inputs, name);
    results.unwrap_or_else(|e| panic!("{e}"))
}

pub fn is_map(shape: Shape) -> bool {
    shape.dims.len() == 4 && shape == Shape::channels(&shape.dims)
}

/// The checks of a sample on a device: every variant and, on a GPU, the representative ones with
/// feature maps in half precision.
pub fn cases(device: &Device, sample: &ops::Sample) -> Vec<(Case, Choices)> {
    let single = Case::new(&sample.op, &sample.inputs);
    let mut cases: Vec<_> = single
        .variants(device)
        .into_iter()
        .map(|choices| (single.clone(), choices))
        .collect();
    if let (Device::Gpu(_), Some(half)) = (device, Case::half(&sample.op, &sample.inputs)) {
        let variants = half.variants(device).into_iter().filter(stands);
        cases.extend(variants.map(|choices| (half.clone(), choices)));
    }
    cases
}

/// Does the checks of a sample whose variants `selects` selects. Returns their number.
///
/// # Errors
/// The first difference beyond the bound, or an error of the device.
pub async fn check(
    device: &Device,
    sample: &ops::Sample,
    selects: impl Fn(&Choices) -> bool,
) -> Result<usize, String> {
    let mut cases = cases(device, sample);
    cases.retain(|(_, choices)| selects(choices));
    for (case, choices) in &cases {
        case.check(device, sample, choices, None).await?;
    }
    Ok(cases.len())
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
            let near = f64::from((a.loss - b.loss).abs()) <= tolerance * 300.0
                || a.loss.to_bits() == b.loss.to_bits()
                || a.loss.is_nan() && b.loss.is_nan();
            match near && result[1..] == reference[1..] {
                true => Ok(()),
                false => Err(format!("{a:?}, reference {b:?}")),
            }
        }
        (Data::Index(result), Data::Index(reference)) if result.len() == reference.len() => {
            let mut pairs = result.iter().zip(reference).enumerate();
            match pairs.find(|(_, (a, b))| a != b) {
                None => Ok(()),
                Some((i, (a, b))) => Err(format!("word {i} is {a:#x}, reference {b:#x}")),
            }
        }
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
