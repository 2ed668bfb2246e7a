//! Half precision as a pass: feature maps and their gradients are stored in two bytes a number.
//!
//! Only storage changes. Kernels load halves, compute in single precision and round what they
//! store (matrix units multiply halves and add in single precision). Parameters, their
//! gradients, statistics, pooled features, logits and losses stay in single precision
//! (Micikevicius et al., *Mixed Precision Training*, ICLR 2018). So do external values and
//! outputs: [`ops::Convert`] converts between them and half-precision operands.
//!
//! Gradients of feature maps are small; [`ops::ScaleLoss`] keeps them from underflowing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ops::{self, HalfMaps};
use super::{Graph, Node, Role, ValueId};
use crate::shape::{DType, Layout};

/// How feature maps are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// In single precision.
    #[default]
    F32,
    /// In half precision.
    F16,
}

impl Precision {
    /// Whether this is single precision.
    pub fn is_single(&self) -> bool {
        *self == Precision::F32
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(word: &str) -> Result<Precision, String> {
        match word {
            "f32" => Ok(Precision::F32),
            "f16" => Ok(Precision::F16),
            _ => Err("expected f32 or f16".to_owned()),
        }
    }
}

/// Whether any value of a graph is stored in half precision.
pub fn is_half(graph: &Graph) -> bool {
    let half = |value: &super::Value| value.shape.dtype == DType::F16;
    graph.values.iter().any(half)
}

/// Stores feature maps in half precision.
///
/// A feature map becomes half-precision if it is temporary and every operator that reads or
/// writes it supports that ([`HalfMaps`]). If a node has both such maps and maps that stay in
/// single precision, the latter are converted before or after it.
pub fn halve(graph: &mut Graph) {
    let mut half: Vec<bool> = graph.values.iter().map(is_map).collect();
    for (value, half) in graph.values.iter().zip(&mut half) {
        *half &= value.role == Role::Temporary;
    }
    for node in &graph.nodes {
        let able = maps(graph, node);
        for id in node.inputs.iter().chain(&node.outputs) {
            half[id.0] &= able.contains(id) || node.op.half_maps() == HalfMaps::Each;
        }
    }
    for (value, half) in graph.values.iter_mut().zip(&half) {
        if *half {
            value.shape.dtype = DType::F16;
        }
    }
    convert_borders(graph, &half);
}

fn is_map(value: &super::Value) -> bool {
    let shape = &value.shape;
    shape.dims.len() == 4 && shape.layout == Layout::Channels && shape.dtype == DType::F32
}

/// The feature maps of a node that its operator supports in half precision: all or none are.
fn maps(graph: &Graph, node: &Node) -> Vec<ValueId> {
    let (inputs, outputs): (&[ValueId], &[ValueId]) = match node.op.half_maps() {
        HalfMaps::All => (&node.inputs, &node.outputs),
        HalfMaps::Inputs => (&node.inputs, &[]),
        HalfMaps::Outputs => (&[], &node.outputs),
        HalfMaps::Neither | HalfMaps::Each => (&[], &[]),
    };
    let ids = inputs.iter().chain(outputs).copied();
    let map = |id: &ValueId| is_map(graph.value(*id)) || graph.shape(*id).dtype == DType::F16;
    ids.filter(map).collect()
}

/// Converts the remaining single-precision maps of each node that has half-precision ones.
fn convert_borders(graph: &mut Graph, half: &[bool]) {
    let nodes = std::mem::take(&mut graph.nodes);
    for mut node in nodes {
        let maps = maps(graph, &node);
        let others: Vec<ValueId> = match maps.iter().any(|id| half[id.0]) {
            true => maps.into_iter().filter(|id| !half[id.0]).collect(),
            false => Vec::new(),
        };
        let mut after = Vec::new();
        for id in others {
            let mut shape = graph.shape(id).clone();
            shape.dtype = DType::F16;
            let name = format!("{} as f16", graph.value(id).name);
            let converted = graph.declare(&name, shape, Role::Temporary);
            let read = node.inputs.contains(&id);
            for operand in node.inputs.iter_mut().chain(&mut node.outputs) {
                if *operand == id {
                    *operand = converted;
                }
            }
            match read {
                true => graph.nodes.push(conversion(id, converted)),
                false => after.push(conversion(converted, id)),
            }
        }
        graph.nodes.push(node);
        graph.nodes.extend(after);
    }
}

fn conversion(from: ValueId, to: ValueId) -> Node {
    Node {
        op: ops::Convert.into(),
        inputs: vec![from],
        outputs: vec![to],
    }
}
