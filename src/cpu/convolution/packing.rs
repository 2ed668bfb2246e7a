//! Convolution weights in the order in which register tiles read them.
//!
//! The result's channels are divided into groups of vectors ([`tile::groups`]). For each group
//! and each source channel, packed weights have the group's lanes side by side, zero past the last
//! channel.

use rayon::prelude::*;

use super::super::Cpu;
use super::super::call::Weights;
use super::super::tile;
use super::winograd;
use crate::graph::ops::Taps;

/// Minimum number of elements that justifies a task.
const TASK: usize = 1 << 13;

/// Lanes of the widest group: five vectors of 16.
const WIDEST: usize = 80;

/// How a convolution, or its input gradient, is computed: what the packed weights depend on
/// besides the weights.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cpu) enum Method {
    /// Sums over the taps of each stride phase. For each phase, group and tap, a row of lanes for
    /// each source channel.
    Direct(Vec<[Taps; 2]>),
    /// Winograd's convolution. For each group and component, a row of lanes for each source
    /// channel.
    Winograd([Taps; 2]),
}

/// The weights of a convolution, or of its input gradient.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Filter<'a> {
    pub(in crate::cpu) weights: Weights<'a>,
    /// Whether the result is the input's gradient.
    pub(in crate::cpu) transposed: bool,
}

impl Filter<'_> {
    /// Channels of the source.
    pub(in crate::cpu) fn sources(&self) -> usize {
        match self.transposed {
            true => self.weights.outputs,
            false => self.weights.inputs,
        }
    }

    /// Channels of the result.
    pub(in crate::cpu) fn results(&self) -> usize {
        match self.transposed {
            true => self.weights.inputs,
            false => self.weights.outputs,
        }
    }

    /// The weights of a tap and a source channel for consecutive result channels from `first`.
    #[inline(always)]
    fn lanes(&self, cell: usize, source: usize, first: usize, lanes: &mut [f32]) {
        let Weights {
            inputs,
            outputs,
            numbers,
            ..
        } = self.weights;
        let tap = &numbers[cell * inputs * outputs..][..inputs * outputs];
        let (inside, outside) = lanes.split_at_mut(lanes.len().min(self.results() - first));
        if self.transposed {
            let column = tap[first * outputs + source..].iter().step_by(outputs);
            for (lane, weight) in inside.iter_mut().zip(column) {
                *lane = *weight;
            }
        } else {
            inside.copy_from_slice(&tap[source * outputs + first..][..inside.len()]);
        }
        outside.fill(0.0);
    }
}

/// A part of the packed weights that one task computes: rows of lanes of some source channels in
/// one group.
struct Part<'a> {
    /// For each tap or component, the rows of the source channels.
    rows: Vec<&'a mut [f32]>,
    /// First lane, and number of lanes.
    lanes: (usize, usize),
    /// First source channel.
    source: usize,
    taps: &'a [Taps; 2],
}

impl Method {
    /// The phases of taps, and how many rows of lanes each has per source channel.
    fn phases(&self) -> Vec<(&[Taps; 2], usize)> {
        match self {
            Method::Direct(phases) => phases
                .iter()
                .map(|taps| (taps, taps[0].taps * taps[1].taps))
                .collect(),
            Method::Winograd(taps) => vec![(taps, winograd::COMPONENTS)],
        }
    }
}

/// Number of elements of packed weights, given the channels of source and result.
pub(in crate::cpu) fn packed_len(
    cpu: &Cpu,
    method: &Method,
    [sources, results]: [usize; 2],
) -> usize {
    let rows: usize = method.phases().iter().map(|(_, rows)| rows).sum();
    let lanes: usize = groups(cpu, results).map(|(_, lanes)| lanes).sum();
    rows * sources * lanes
}

/// Packs weights into [`packed_len`] elements, which may hold anything before.
pub(in crate::cpu) fn pack(cpu: &Cpu, method: &Method, filter: Filter<'_>, packed: &mut [f32]) {
    let groups: Vec<(usize, usize)> = groups(cpu, filter.results()).collect();
    let sources = filter.sources();
    let mut rest = packed;
    let mut parts = Vec::new();
    for (taps, rows) in method.phases() {
        for group in &groups {
            let sources_at_once = (TASK / (rows * group.1).max(1)).max(1);
            let first = parts.len();
            let part = |part: usize| Part {
                rows: Vec::with_capacity(rows),
                lanes: *group,
                source: part * sources_at_once,
                taps,
            };
            parts.extend((0..sources.div_ceil(sources_at_once)).map(part));
            for _ in 0..rows {
                let row = rest.split_off_mut(..sources * group.1);
                let row = row.expect("the parts fill the packed weights");
                let sources = row.chunks_mut(sources_at_once * group.1);
                for (part, sources) in parts[first..].iter_mut().zip(sources) {
                    part.rows.push(sources);
                }
            }
        }
    }
    parts.into_par_iter().for_each(|part| {
        cpu.instructions.vectorise(
            #[inline(always)]
            || match method {
                Method::Direct(_) => part.copy(filter),
                Method::Winograd(_) => part.transform(filter),
            },
        );
    });
}

impl Part<'_> {
    /// Copies the weights of each tap.
    #[inline(always)]
    fn copy(self, filter: Filter<'_>) {
        let (first, lanes) = self.lanes;
        let [height, width] = self.taps;
        let taps = (0..height.taps).flat_map(|a| (0..width.taps).map(move |b| (a, b)));
        for ((a, b), rows) in taps.zip(self.rows) {
            let cell = cell(&filter, self.taps, a, b);
            for (row, lanes) in rows.chunks_exact_mut(lanes).enumerate() {
                filter.lanes(cell, self.source + row, first, lanes);
            }
        }
    }

    /// Transforms the weights of all taps to components.
    #[inline(always)]
    fn transform(mut self, filter: Filter<'_>) {
        let (first, lanes) = self.lanes;
        let mut taps = [[[0.0; WIDEST]; 3]; 3];
        let mut columns = [[0.0; WIDEST]; 3];
        for row in 0..self.rows[0].len() / lanes {
            for (b, column) in taps.iter_mut().enumerate() {
                for (a, tap) in column.iter_mut().enumerate() {
                    let cell = cell(&filter, self.taps, a, b);
                    filter.lanes(cell, self.source + row, first, &mut tap[..lanes]);
                }
            }
            for i in 0..winograd::EXTENT {
                for (column, taps) in columns.iter_mut().zip(&taps) {
                    winograd::transform_weights(i, taps, &mut column[..lanes]);
                }
                for j in 0..winograd::EXTENT {
                    let component = &mut self.rows[i * winograd::EXTENT + j];
                    let to = &mut component[row * lanes..][..lanes];
                    winograd::transform_weights(j, &columns, to);
                }
            }
        }
    }
}

/// Groups of the result's channels: first lane and number of lanes.
fn groups(cpu: &Cpu, channels: usize) -> impl Iterator<Item = (usize, usize)> {
    let lanes = cpu.lanes;
    tile::groups(channels.div_ceil(lanes), cpu.widest)
        .map(move |(first, count)| (first * lanes, count * lanes))
}

/// Index in the kernel of a phase's tap.
fn cell(filter: &Filter<'_>, [height, width]: &[Taps; 2], a: usize, b: usize) -> usize {
    height.tap(a) * filter.weights.kernel[1] + width.tap(b)
}
