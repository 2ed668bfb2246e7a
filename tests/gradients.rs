//! Every gradient against central differences, in double precision and away from kinks.
//!
//! With s = Σ u·y for fixed random u, the gradient rules give ds/dx and the differences
//!
//! ```text
//! D2 = (s(x+h) − s(x−h)) / 2h                  = s' + h²/6·s''' + …
//! D4 = (8·(s(x+h) − s(x−h)) − (s(x+2h) − s(x−2h))) / 12h = s' + O(h⁴)
//! ```
//!
//! approximate it. The tolerance follows from them: D4 is closer to s' than D2 once h is small
//! enough for the series, so |D4 − D2| bounds the truncation error of D4; the rounding of s,
//! divided by h, is added. The check also asserts that the tolerance is far below the gradients,
//! so that it can fail.
//!
//! A step that crosses the kink of a ReLU or changes the argmax of a max-pool is invalid: the
//! pattern of zeros and argmax indices at all four points must equal that of the centre,
//! otherwise a smaller step is tried.

mod common;

use std::collections::BTreeSet;

use common::networks::{Small, small_networks};
use pyr_wgpu::graph::interp::{self, Store};
use pyr_wgpu::graph::ops::{
    BatchMoments, BranchPass, BranchRule, Draw, NormalizeInputs, ScaleBranch,
};
use pyr_wgpu::graph::step::Step;
use pyr_wgpu::graph::{
    Arena, Data, Graph, GraphError, Op, Passes, Role, Tensor, ValueId, autodiff,
};
use pyr_wgpu::model::{Input, TensorKind, names};
use pyr_wgpu::rng::{Purpose, Stream, philox4x32};
use pyr_wgpu::shape::{DType, Shape};
use pyr_wgpu::train::{Mode, sample_operands, step_graph};

/// Steps that are tried, the largest first.
const STEPS: [f64; 4] = [1e-3, 1e-4, 1e-5, 1e-6];

/// Relative error of a derivative below which no smaller step is tried.
const ENOUGH: f64 = 1e-5;

/// A scalar function of a graph's operands: Σ u·y over some results, node by node.
struct Scalar {
    graph: Graph,
    /// Names of the results and of their weights u.
    terms: Vec<(String, String)>,
    /// Rounding error of a result in ULP, relative to Σ|u|·(|y| + 1).
    roundings: f64,
}

/// Whether an operator has kinks: zeros or argmax indices that must not change.
fn kinked(op: &Op) -> bool {
    match op {
        Op::Relu(_) | Op::MaxPool(_) => true,
        Op::Normalize(op) => op.relu,
        _ => false,
    }
}

/// The outcome of one evaluation: results with their weights, and the pattern at the kinks.
struct Point {
    terms: Vec<(f64, f64)>,
    pattern: Vec<u32>,
}

impl Scalar {
    /// Makes all results readable whose pattern of zeros or argmax indices must not change; the
    /// normalised input of a convolution is computed again for that.
    fn watch_kinks(&mut self) {
        for node in self.graph.nodes.clone() {
            let Op::Conv2d(op) = &node.op else { continue };
            let named = op.inputs(&node.inputs);
            let input = op.normalize_input.clone().zip(named.normalize_input);
            if let Some((normalize, norm)) = input {
                let operands = NormalizeInputs { x: named.x, norm };
                let normalized = self
                    .graph
                    .push_one(normalize, &operands.list(), "normalized");
                normalized.unwrap_or_else(|e| panic!("{e}"));
            }
        }
        let results: Vec<ValueId> = self
            .graph
            .nodes
            .iter()
            .filter(|node| kinked(&node.op))
            .flat_map(|node| node.outputs.clone())
            .collect();
        for id in results {
            if self.graph.value(id).role == Role::Temporary {
                self.graph.output(id, &format!("kinks {}", id.0));
            }
        }
    }

    fn at(&self, store: &Store) -> Point {
        let mut store = store.clone();
        interp::run(&self.graph, &mut store).unwrap_or_else(|e| panic!("{e}"));
        let mut point = Point {
            terms: Vec::new(),
            pattern: Vec::new(),
        };
        for (result, weight) in &self.terms {
            let pairs = store[weight].values().iter().zip(store[result].values());
            point.terms.extend(pairs.map(|(u, y)| (*u, *y)));
        }
        for node in self.graph.nodes.iter().filter(|node| kinked(&node.op)) {
            for id in &node.outputs {
                match (&store[&self.graph.value(*id).name].data, &node.op) {
                    (Data::Index(indices), _) => point.pattern.extend(indices),
                    (Data::Real(_), Op::MaxPool(_)) => {}
                    (Data::Real(y), _) => {
                        point.pattern.extend(y.iter().map(|y| u32::from(*y > 0.0)));
                    }
                }
            }
        }
        point
    }

    /// Derivative by one element and the largest error it can have; `None` next to a kink.
    ///
    /// Of the steps that cross no kink, the first that is accurate enough is used, else the best.
    fn derivative(&self, store: &Store, name: &str, element: usize) -> Option<(f64, f64)> {
        let centre = self.at(store);
        let mut best: Option<(f64, f64)> = None;
        for h in STEPS {
            let Some(found) = self.difference(&centre, store, name, element, h) else {
                continue;
            };
            if best.is_none_or(|best| found.1 < best.1) {
                best = Some(found);
            }
            if found.1 <= ENOUGH * found.0.abs() {
                break;
            }
        }
        best
    }

    /// The same with a given step.
    fn difference(
        &self,
        centre: &Point,
        store: &Store,
        name: &str,
        element: usize,
        h: f64,
    ) -> Option<(f64, f64)> {
        let moved = |by: f64| {
            let mut store = store.clone();
            let tensor = store.get_mut(name).expect("an operand of the graph");
            let Data::Real(values) = &mut tensor.data else {
                panic!("{name} has no derivative");
            };
            values[element] += by;
            self.at(&store)
        };
        let points = [-2.0 * h, -h, h, 2.0 * h].map(moved);
        if points.iter().any(|p| p.pattern != centre.pattern) {
            return None;
        }
        let mut near = 0.0;
        let mut far = 0.0;
        let mut rounding = 0.0;
        for i in 0..centre.terms.len() {
            let (u, _) = centre.terms[i];
            let [y_2, y_1, y1, y2] = [0, 1, 2, 3].map(|p: usize| points[p].terms[i].1);
            near += u * (y1 - y_1);
            far += u * (y2 - y_2);
            // A result that does not depend on the element is the same each time.
            if y1 != y_1 || y2 != y_2 {
                rounding += u.abs() * (y1.abs() + 1.0);
            }
        }
        let second = near / (2.0 * h);
        let fourth = (8.0 * near - far) / (12.0 * h);
        let rounding = self.roundings * f64::EPSILON * rounding / h;
        Some((fourth, (fourth - second).abs() + rounding))
    }
}

/// Counts what was compared, and fails if kinks left nothing to compare.
#[derive(Default)]
struct Tally {
    compared: usize,
    kinks: usize,
}

impl Tally {
    /// Compares a gradient with differences at some of its elements.
    fn compare(
        &mut self,
        what: &str,
        scalar: &Scalar,
        store: &Store,
        name: &str,
        gradient: &[f64],
        elements: usize,
    ) {
        let largest = gradient.iter().fold(0.0f64, |max, g| max.max(g.abs()));
        for element in chosen(gradient.len(), elements) {
            let Some((difference, tolerance)) = scalar.derivative(store, name, element) else {
                self.kinks += 1;
                continue;
            };
            let exact = gradient[element];
            // The gradient rule also rounds, where larger terms cancel.
            let tolerance = tolerance + scalar.roundings * f64::EPSILON * largest;
            let distance = (exact - difference).abs();
            assert!(
                distance <= tolerance,
                "{what}: gradient by {name}, element {element}: rule {exact:e}, differences \
                 {difference:e}, distance {distance:e}, tolerance {tolerance:e}"
            );
            assert!(
                tolerance <= 1e-4 * largest.max(1e-3),
                "{what}: gradient by {name}, element {element}: tolerance {tolerance:e} is \
                 too large for gradients up to {largest:e}"
            );
            self.compared += 1;
        }
    }

    fn finish(&self, least: usize) {
        println!(
            "{} elements compared, {} next to kinks",
            self.compared, self.kinks
        );
        assert!(self.compared >= least, "only {} compared", self.compared);
        assert!(
            20 * self.kinks <= self.compared,
            "{} next to kinks",
            self.kinks
        );
    }
}

/// All elements, or the first, the last and some between if there are too many.
fn chosen(len: usize, most: usize) -> BTreeSet<usize> {
    if len <= most {
        return (0..len).collect();
    }
    let mut stream = Stream::new(len as u64, Purpose::Shuffle, 0, 0);
    let some = (2..most).map(|_| stream.below(len as u32) as usize);
    some.chain([0, len - 1]).collect()
}

/// A sample's operator alone, with a seed for every real result.
struct Alone {
    scalar: Scalar,
    store: Store,
    /// Operands whose gradient is requested.
    wanted: Vec<ValueId>,
    seeds: Vec<(ValueId, ValueId)>,
}

fn alone(op: &Op, inputs: &[Tensor]) -> Alone {
    let mut graph = Graph::new();
    let mut store = Store::new();
    let mut ids: Vec<ValueId> = Vec::new();
    let mut wanted = Vec::new();
    for (i, tensor) in inputs.iter().enumerate() {
        // Moments have no gradient of their own: the rule for x accounts for the batch's,
        // which therefore must follow x here, and running ones are constants.
        let moments = match op {
            Op::Normalize(n) if i == 1 => Some(n),
            Op::Conv2d(conv) if i == 2 => conv.normalize_input.as_ref(),
            Op::ShortcutAdd(sum) if i == 2 => sum.normalize.as_ref(),
            _ => None,
        };
        if moments.is_some_and(|n| n.batch) {
            ids.push(
                graph
                    .push_one(BatchMoments { running: None }, &[ids[0]], "moments")
                    .unwrap(),
            );
            continue;
        }
        let name = format!("operand {i}");
        let id = graph.external(&name, tensor.shape.clone());
        store.insert(name, tensor.clone());
        if tensor.shape.dtype == DType::F32 && moments.is_none() {
            wanted.push(id);
        }
        ids.push(id);
    }
    let outputs = graph
        .push(op.clone(), &ids, "result")
        .unwrap_or_else(|e| panic!("{e}"));
    let mut draw = Draw::new(9);
    let mut seeds = Vec::new();
    let mut terms = Vec::new();
    for (i, id) in outputs.iter().enumerate() {
        let shape = graph.shape(*id).clone();
        if graph.value(*id).role != Role::Temporary || shape.dtype != DType::F32 {
            continue;
        }
        let (result, weight) = (format!("result {i}"), format!("u {i}"));
        graph.output(*id, &result);
        seeds.push((*id, graph.external(&weight, shape.clone())));
        store.insert(weight.clone(), draw.real(shape));
        terms.push((result, weight));
    }
    // The longest sum of a sample has some thousand terms, and rounding errors grow like the
    // square root of their number.
    let mut scalar = Scalar {
        graph,
        terms,
        roundings: 64.0,
    };
    scalar.watch_kinks();
    Alone {
        scalar,
        store,
        wanted,
        seeds,
    }
}

#[test]
fn every_gradient_rule_agrees_with_central_differences() {
    let mut tally = Tally::default();
    let mut with_rule = BTreeSet::new();
    for sample in Op::samples() {
        let is_finite = |tensor: &Tensor| match &tensor.data {
            Data::Real(values) => values.iter().all(|value| value.is_finite()),
            Data::Index(_) => true,
        };
        // Its gradient is a rule of its own; see below.
        if is_shaken(&sample.op) {
            continue;
        }
        // Without finite values there are no differences.
        if !sample.inputs.iter().all(is_finite) {
            continue;
        }
        let Alone {
            scalar,
            store,
            wanted,
            seeds,
        } = alone(&sample.op, &sample.inputs);
        // Nothing to differentiate where operands are indices or results are updates.
        if wanted.is_empty() || seeds.is_empty() {
            continue;
        }
        let mut graph = scalar.graph.clone();
        let gradients = match autodiff::backward(&mut graph, &seeds, &wanted) {
            Ok(gradients) => gradients,
            Err(GraphError::NotDifferentiable { op, .. }) => {
                assert_eq!(op, sample.op.name());
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        with_rule.insert(sample.op.name());
        let shapes: Vec<String> = sample.inputs.iter().map(|t| t.shape.to_string()).collect();
        let what = format!("{:?} on {shapes:?}", sample.op);
        for (i, id) in gradients.iter().enumerate() {
            let id = id.unwrap_or_else(|| panic!("{what}: no gradient of operand {i}"));
            if graph.value(id).role == Role::Temporary {
                graph.output(id, &format!("gradient {i}"));
            }
        }
        graph.validate().unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut results = store.clone();
        interp::run(&graph, &mut results).unwrap_or_else(|e| panic!("{what}: {e}"));
        for (operand, gradient) in wanted.iter().zip(&gradients) {
            let name = &graph.value(*operand).name;
            let gradient = gradient.map(|id| &results[&graph.value(id).name]);
            let gradient = gradient.expect("checked above");
            assert_eq!(
                gradient.shape, results[name].shape,
                "{what}: gradient of {name}"
            );
            tally.compare(&what, &scalar, &store, name, gradient.values(), 24);
        }
    }
    let expected = [
        "add",
        "bias_add",
        "conv2d",
        "dropout",
        "global_average_pool",
        "max_pool",
        "normalize",
        "relu",
        "scale_branch",
        "shortcut_add",
        "softmax_cross_entropy",
    ];
    assert_eq!(with_rule.into_iter().collect::<Vec<_>>(), expected);
    tally.finish(1000);
}

/// Whether an operator is ShakeDrop's in training.
fn is_shaken(op: &Op) -> bool {
    let Op::ScaleBranch(op) = op else {
        return false;
    };
    (op.rule, op.pass) == (BranchRule::ShakeDrop, BranchPass::Forward)
}

/// ShakeDrop multiplies the output of an image by b + α − b·α and its gradient by b + β − b·β, with
/// b, α and β from the image's own random words.
#[test]
fn shakedrop_scales_outputs_and_gradients_by_their_own_factors() {
    let (unit, survival) = (3, 0.5);
    let step = Step {
        seed: 11,
        epoch: 4,
        ..Step::default()
    };
    let samples: Vec<u32> = (0..40).map(|image| 100 + 7 * image).collect();
    let op = ScaleBranch {
        rule: BranchRule::ShakeDrop,
        survival,
        unit,
        pass: BranchPass::Forward,
    };
    let shape = Shape::channels(&[40, 2, 1, 5]);
    let mut graph = Graph::new();
    let x = graph.external("x", shape.clone());
    let seed = graph.external("u", shape.clone());
    let numbers = graph.external("samples", Shape::indices(&[40]));
    let key = graph.external("step", Step::shape());
    let y = graph.push_one(op, &[x, numbers, key], "y").unwrap();
    graph.output(y, "y");
    let gradients = autodiff::backward(&mut graph, &[(y, seed)], &[x]).unwrap();
    graph.output(gradients[0].unwrap(), "dx");
    let mut draw = Draw::new(8);
    let mut store: Store = [
        ("x", draw.real(shape.clone())),
        ("u", draw.real(shape)),
        (
            "samples",
            Tensor::index(Shape::indices(&[40]), samples.clone()),
        ),
        ("step", Tensor::index(Step::shape(), step.to_words().into())),
    ]
    .map(|(name, tensor)| (name.to_owned(), tensor))
    .into();
    interp::run(&graph, &mut store).unwrap();
    let mut shaken = 0;
    for (image, sample) in samples.iter().enumerate() {
        let words = philox4x32([unit, *sample, 4, Purpose::Branch as u32], [11, 0]);
        let fraction = |word: u32| f64::from(word >> 8) / 16_777_216.0;
        let b = f64::from(u8::from(f64::from(words[0]) < survival * 4_294_967_296.0));
        let (alpha, beta) = (2.0 * fraction(words[1]) - 1.0, fraction(words[2]));
        shaken += usize::from(b == 0.0);
        let factors = [b + alpha - b * alpha, b + beta - b * beta];
        for ((from, to), factor) in [("x", "y"), ("u", "dx")].into_iter().zip(factors) {
            let part = 10 * image..10 * (image + 1);
            let values = store[from].values()[part.clone()].iter();
            for (value, found) in values.zip(&store[to].values()[part]) {
                assert!((value * factor - found).abs() <= 1e-15, "{to} of {image}");
            }
        }
    }
    assert!((10..=30).contains(&shaken), "{shaken} of 40");
}

/// The gradient of a value that is used several times is the sum over all paths.
#[test]
fn paths_that_meet_add_up() {
    use pyr_wgpu::graph::ops::{Add, Relu, ShortcutAdd};

    let shape = Shape::channels(&[2, 2, 3, 5]);
    let mut graph = Graph::new();
    let x = graph.external("x", shape.clone());
    let seed = graph.external("u", shape.clone());
    let relu = graph.push_one(Relu, &[x], "relu").unwrap();
    let twice = graph.push_one(Add, &[relu, relu], "twice").unwrap();
    let sum = graph
        .push_one(ShortcutAdd::new(1), &[twice, x], "sum")
        .unwrap();
    graph.output(sum, "y");
    let mut scalar = Scalar {
        graph: graph.clone(),
        terms: vec![("y".to_owned(), "u".to_owned())],
        roundings: 4.0,
    };
    scalar.watch_kinks();
    let gradients = autodiff::backward(&mut graph, &[(sum, seed)], &[x]).unwrap();
    graph.output(gradients[0].unwrap(), "dx");
    let mut draw = Draw::new(4);
    let operands = [("x", draw.real(shape.clone())), ("u", draw.real(shape))];
    let store: Store = operands
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .into();
    let mut results = store.clone();
    interp::run(&graph, &mut results).unwrap();
    let mut tally = Tally::default();
    tally.compare(
        "relu + relu + x",
        &scalar,
        &store,
        "x",
        results["dx"].values(),
        60,
    );
    tally.finish(50);
    // From x = 0 on, y = 3x; below, y = x.
    for ((x, u), dx) in store["x"]
        .values()
        .iter()
        .zip(store["u"].values())
        .zip(results["dx"].values())
    {
        let slope = if *x > 0.0 { 3.0 } else { 1.0 };
        assert!((dx - slope * u).abs() <= 4.0 * f64::EPSILON * u.abs());
    }
}

/// The forward pass of a gradient graph, up to the loss.
fn loss_of(graph: &Graph) -> Scalar {
    let mut graph = graph.clone();
    let is_loss = |op: &Op| matches!(op, Op::SoftmaxCrossEntropy(_));
    let last = graph
        .nodes
        .iter()
        .position(|node| is_loss(&node.op))
        .expect("a loss");
    graph.nodes.truncate(last + 1);
    graph.output(graph.nodes[last].outputs[0], "losses");
    // Successive batch norms amplify the rounding errors of a layer, by less than a hundred in
    // networks of this depth.
    let mut scalar = Scalar {
        graph,
        terms: vec![("losses".to_owned(), names::LOSS_WEIGHTS.to_owned())],
        roundings: 100.0,
    };
    scalar.watch_kinks();
    scalar
}

fn check_network(tally: &mut Tally, small: &Small, elements: usize, wanted: impl Fn(&str) -> bool) {
    let Small {
        name,
        network,
        batch,
    } = small;
    let graph = step_graph(
        network,
        *batch,
        &Input::Tensor,
        Mode::Gradients,
        Passes::default(),
    );
    let graph = graph.unwrap_or_else(|e| panic!("{name}: {e}"));
    let store = sample_operands(&graph, 5);
    let mut results = store.clone();
    interp::run(&graph, &mut results).unwrap_or_else(|e| panic!("{name}: {e}"));
    let scalar = loss_of(&graph);
    for id in graph.arena(Arena::Parameters) {
        let parameter = &graph.value(id).name;
        if wanted(parameter) {
            let gradient = results[&TensorKind::Gradients.value_name(parameter)].values();
            tally.compare(name, &scalar, &store, parameter, gradient, elements);
        }
    }
}

#[test]
fn gradients_of_whole_networks_agree_with_central_differences() {
    let mut tally = Tally::default();
    for small in small_networks() {
        match small.name {
            // Larger than the others: only one unit, which has a projection.
            "preresnet" => check_network(&mut tally, &small, 1, |parameter| {
                parameter.contains("layer2.0")
            }),
            "imagenet stem" => check_network(&mut tally, &small, 1, |_| true),
            _ => check_network(&mut tally, &small, 3, |_| true),
        }
    }
    tally.finish(200);
}

#[test]
fn a_path_without_a_gradient_is_named_and_no_path_gives_none() {
    use pyr_wgpu::graph::ops::Relu;

    let mut graph = Graph::new();
    let [x, other] =
        ["x", "other"].map(|name| graph.external(name, Shape::channels(&[2, 2, 2, 3])));
    let moments = graph
        .push_one(BatchMoments { running: None }, &[x], "moments")
        .unwrap();
    let relu = graph.push_one(Relu, &[x], "relu").unwrap();
    let seed = graph.external("u", graph.shape(moments).clone());
    let error = autodiff::backward(&mut graph.clone(), &[(moments, seed)], &[x]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("batch_moments") && text.contains("moments"),
        "{text}"
    );
    let seed = graph.external("v", graph.shape(relu).clone());
    let gradients = autodiff::backward(&mut graph, &[(relu, seed)], &[x, other]).unwrap();
    assert!(gradients[0].is_some() && gradients[1].is_none());
}
