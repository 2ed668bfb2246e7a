//! Graph to program: a place for every value, dispatches for every node.

use std::collections::HashMap;

use super::shader::{ActivationStorage, F32Storage, StorageForms};
use super::{Choices, Target};
use super::{
    assemble_batch, batch_moments, bias_add, conv2d, convert, count_metrics, dropout, elementwise,
    global_average_pool, loss_scale, max_pool, normalize, optimizer, running_average, shortcut,
    softmax_cross_entropy,
};
use crate::graph::{Arena, Graph, Node, Op, Role, ValueId};
use crate::program::{
    Access, Binding, BufferId, Dispatch, Kernel, Lifetime, OFFSET_ALIGNMENT, Program,
};
use crate::shape::{DType, Shape};

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which buffer.
    pub buffer: BufferId,
    /// First byte.
    pub offset: u64,
}

/// A program and the places of its graph's values.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The program.
    pub program: Program,
    /// Place of each value; `None` for values that nothing uses.
    pub places: Vec<Option<Place>>,
    /// The kernels that were chosen, for every node that had a choice.
    pub choices: Choices,
    /// What else could have been chosen.
    pub offers: Vec<Offer>,
}

/// A node that several kernels can compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its number in the graph.
    pub node: usize,
    /// Its key in the table of choices.
    pub key: String,
    /// Those that may be the fastest, the default first.
    pub candidates: Vec<&'static str>,
}

/// Why a graph cannot become a program for a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// A tensor that no binding can show.
    #[error(
        "{name} {shape} takes {bytes} bytes, more than the {limit} bytes that one binding of \
         this adapter can show; use a smaller batch"
    )]
    TooLarge {
        /// The value.
        name: String,
        /// Its shape.
        shape: String,
        /// Its size.
        bytes: u64,
        /// The adapter's limit.
        limit: u64,
    },
    /// A choice that names no kernel, or one that cannot run.
    #[error("kernel choice `{key}`: `{variant}` cannot run here; it can be {legal}")]
    Variant {
        /// Which node.
        key: String,
        /// What was chosen.
        variant: String,
        /// What could be.
        legal: String,
    },
}

/// Lowers a graph for a target.
///
/// # Errors
/// If a tensor exceeds the target's limits, or a choice names a kernel that cannot run.
pub fn lower(graph: &Graph, target: &Target, choices: &Choices) -> Result<Lowered, LowerError> {
    let mut lowering = Lowering::new(graph, target, choices)?;
    for (number, node) in graph.nodes.iter().enumerate() {
        lowering.number = number;
        lowering.node(node)?;
    }
    Ok(Lowered {
        program: lowering.program,
        places: lowering.places,
        choices: lowering.made,
        offers: lowering.offers,
    })
}

/// What the kernels' files emit their dispatches into.
pub(super) struct Lowering<'a> {
    pub(super) graph: &'a Graph,
    pub(super) target: &'a Target,
    program: Program,
    places: Vec<Option<Place>>,
    choices: &'a Choices,
    made: Choices,
    offers: Vec<Offer>,
    /// Partial results that were left for a later node's value.
    left: HashMap<ValueId, Binding>,
    /// Of the node that is being lowered.
    number: usize,
}

/// One launch, before it becomes a dispatch.
pub(super) struct Launch {
    pub(super) kernel: Kernel,
    pub(super) uniforms: Vec<u32>,
    pub(super) bindings: Vec<Binding>,
    pub(super) grid: [u32; 3],
    pub(super) flops: u64,
}

impl<'a> Lowering<'a> {
    fn new(
        graph: &'a Graph,
        target: &'a Target,
        choices: &'a Choices,
    ) -> Result<Lowering<'a>, LowerError> {
        let mut lowering = Lowering {
            graph,
            target,
            program: Program::new(),
            places: vec![None; graph.values.len()],
            choices,
            made: Choices::default(),
            offers: Vec::new(),
            left: HashMap::new(),
            number: 0,
        };
        for arena in Arena::ALL {
            lowering.place_arena(arena);
        }
        let mut used = vec![false; graph.values.len()];
        for node in &graph.nodes {
            for id in node.inputs.iter().chain(&node.outputs) {
                used[id.0] = true;
            }
        }
        for (index, value) in graph.values.iter().enumerate() {
            let bytes = value.shape.bytes();
            if bytes > target.max_binding && used[index] {
                return Err(LowerError::TooLarge {
                    name: value.name.clone(),
                    shape: value.shape.to_string(),
                    bytes,
                    limit: target.max_binding,
                });
            }
            let lifetime = match value.role {
                Role::Kept(_) => continue,
                Role::External | Role::Output => Lifetime::Kept,
                Role::Temporary if used[index] => Lifetime::Temporary,
                Role::Temporary => continue,
            };
            let buffer = lowering.program.buffer(&value.name, bytes, lifetime);
            lowering.places[index] = Some(Place { buffer, offset: 0 });
        }
        Ok(lowering)
    }

    /// Values of an arena follow one another, each at a legal offset.
    fn place_arena(&mut self, arena: Arena) {
        let ids = self.graph.arena(arena);
        let mut bytes = 0;
        let mut offsets = Vec::with_capacity(ids.len());
        for id in &ids {
            offsets.push(bytes);
            bytes += self
                .graph
                .shape(*id)
                .bytes()
                .next_multiple_of(OFFSET_ALIGNMENT);
        }
        if bytes == 0 {
            return;
        }
        let buffer = self.program.buffer(arena.name(), bytes, Lifetime::Kept);
        for (id, offset) in ids.into_iter().zip(offsets) {
            self.places[id.0] = Some(Place { buffer, offset });
        }
    }

    fn node(&mut self, node: &Node) -> Result<(), LowerError> {
        match &node.op {
            Op::Accumulate(_) => optimizer::accumulate(self, node),
            Op::Add(_) => elementwise::add(self, node),
            Op::AdjustLossScale(_) => loss_scale::adjust(self, node),
            Op::AssembleBatch(op) => assemble_batch::lower(self, op, node),
            Op::BatchMoments(op) => batch_moments::lower(self, op, node),
            Op::BiasAdd(_) => bias_add::lower(self, node),
            Op::ColumnSum(_) => bias_add::column_sum(self, node),
            Op::Conv2d(op) => conv2d::forward(self, op, node)?,
            Op::Conv2dGradInput(op) => conv2d::grad_input(self, op, node)?,
            Op::Conv2dGradWeight(op) => conv2d::grad_weight(self, op, node)?,
            Op::Convert(_) => convert::lower(self, node),
            Op::CountMetrics(_) => count_metrics::lower(self, node),
            Op::Dropout(op) => dropout::lower(self, op, node),
            Op::FindOverflow(_) => optimizer::find_overflow(self, node),
            Op::GlobalAveragePool(_) => global_average_pool::lower(self, node),
            Op::GlobalAveragePoolGrad(_) => global_average_pool::grad(self, node),
            Op::MaxPool(op) => max_pool::lower(self, op, node),
            Op::MaxPoolGrad(op) => max_pool::grad(self, op, node),
            Op::Normalize(op) => normalize::lower(self, op, node),
            Op::NormalizeGrad(op) => normalize::grad(self, op, node),
            Op::NormalizeGradReduce(op) => normalize::grad_reduce(self, op, node),
            Op::Relu(_) => elementwise::relu(self, node),
            Op::ReluGrad(_) => elementwise::relu_grad(self, node),
            Op::RunningAverage(op) => running_average::lower(self, op, node),
            Op::ScaleLoss(_) => loss_scale::scale(self, node),
            Op::Sgd(op) => optimizer::sgd(self, op, node),
            Op::ShortcutAdd(op) => shortcut::add(self, op, node),
            Op::ShortcutGrad(op) => shortcut::grad(self, op, node),
            Op::SoftmaxCrossEntropy(_) => softmax_cross_entropy::lower(self, node),
            Op::SoftmaxCrossEntropyGrad(_) => softmax_cross_entropy::grad(self, node),
        }
        Ok(())
    }

    /// Shape of a value.
    pub(super) fn shape(&self, id: ValueId) -> &'a Shape {
        self.graph.shape(id)
    }

    /// How vectors are stored for a kernel that reads or writes this activation.
    ///
    /// Software adapters with 64-bit integers load and store f32 in pairs of those.
    pub(super) fn memory(&self, activation: ValueId) -> StorageForms {
        StorageForms {
            activation: match self.shape(activation).dtype {
                DType::F16 => ActivationStorage::F16,
                DType::F32 | DType::U32 => ActivationStorage::F32,
            },
            f32: match self.target.software && self.target.int64 {
                true => F32Storage::U64,
                false => F32Storage::Vec4,
            },
        }
    }

    /// A value as a kernel reads it.
    pub(super) fn read(&self, id: ValueId) -> Binding {
        self.bind(id, Access::Read)
    }

    /// A value as a kernel writes (and perhaps reads) it.
    pub(super) fn write(&self, id: ValueId) -> Binding {
        self.bind(id, Access::Write)
    }

    fn bind(&self, id: ValueId, access: Access) -> Binding {
        let place = self.places[id.0].expect("values of nodes have places");
        Binding {
            buffer: place.buffer,
            offset: place.offset,
            bytes: self.shape(id).bytes(),
            access,
        }
    }

    /// A buffer that lives from its first to its last use, as a kernel writes it.
    pub(super) fn scratch(&mut self, of: ValueId, bytes: u64) -> Binding {
        let name = format!("{} slices", self.graph.value(of).name);
        Binding {
            buffer: self.program.buffer(&name, bytes, Lifetime::Temporary),
            offset: 0,
            bytes,
            access: Access::Write,
        }
    }

    /// The first later node of a kind.
    pub(super) fn follower(&self, kind: impl Fn(&Node) -> bool) -> Option<&'a Node> {
        let graph = self.graph;
        graph.nodes[self.number + 1..]
            .iter()
            .find(|node| kind(node))
    }

    /// Whether a value is there before the node that is being lowered. What later nodes only
    /// update is.
    pub(super) fn is_made(&self, id: ValueId) -> bool {
        let makes = |node: &Node| node.outputs.contains(&id) && !node.inputs.contains(&id);
        !self.graph.nodes[self.number..].iter().any(makes)
    }

    /// Leaves partial results for a later node's value, whose own kernel then only has to
    /// gather them: reductions fused with the kernel that makes what they reduce.
    pub(super) fn leave(&mut self, value: ValueId, partial: &Binding) {
        self.left.insert(value, partial.clone());
    }

    /// The partial results that were left for a value.
    pub(super) fn by_product(&mut self, value: ValueId) -> Option<Binding> {
        self.left.remove(&value)
    }

    /// Emits a dispatch that computes `of`.
    pub(super) fn launch(&mut self, of: ValueId, launch: Launch) {
        debug_assert_eq!(
            launch.kernel.bindings,
            launch.bindings.iter().map(|b| b.access).collect::<Vec<_>>()
        );
        let kernel = self.program.kernel(launch.kernel);
        self.program.dispatches.push(Dispatch {
            kernel,
            label: self.graph.value(of).name.clone(),
            uniforms: launch.uniforms,
            bindings: launch.bindings,
            grid: launch.grid,
            flops: launch.flops,
        });
    }

    /// Arithmetic of a node on true elements.
    pub(super) fn flops(&self, node: &Node) -> u64 {
        let shapes = |ids: &[ValueId]| ids.iter().map(|id| self.shape(*id)).collect::<Vec<_>>();
        node.op.flops(&shapes(&node.inputs), &shapes(&node.outputs))
    }

    /// Picks a kernel among the legal ones, the default first; of these the first `candidates`
    /// may be the fastest.
    pub(super) fn choose(
        &mut self,
        key: String,
        legal: &[&'static str],
        candidates: usize,
    ) -> Result<&'static str, LowerError> {
        let variant = match self.choices.get(&key) {
            None => legal[0],
            Some(wanted) => {
                *legal
                    .iter()
                    .find(|v| **v == wanted)
                    .ok_or_else(|| LowerError::Variant {
                        key: key.clone(),
                        variant: wanted.to_owned(),
                        legal: legal.join(" or "),
                    })?
            }
        };
        if !self.offers.iter().any(|offer| offer.key == key) {
            self.offers.push(Offer {
                node: self.number,
                key: key.clone(),
                candidates: legal[..candidates.min(legal.len())].to_vec(),
            });
        }
        self.made.set(key, variant);
        Ok(variant)
    }
}

/// The same binding, read only.
pub(super) fn reading(binding: &Binding) -> Binding {
    Binding {
        access: Access::Read,
        ..binding.clone()
    }
}
