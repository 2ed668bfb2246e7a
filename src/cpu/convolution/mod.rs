//! The product of windows and weights that a convolution and its input gradient share.
//!
//! Both sum over the taps of each result pixel (see [`crate::graph::ops::Taps`]). The source is
//! x in the forward pass and dy in the backward pass; the result is y or dx.
//! A task owns some rows of one result image, or a few images. It copies the source rows,
//! normalised on request and zero-padded where windows reach outside, and computes its pixels
//! directly (`direct.rs`) or by Winograd's convolution (`winograd.rs`).

mod direct;
mod packing;
mod slices;
mod winograd;
mod winograd_grad_weight;

use std::ops::Range;

use rayon::prelude::*;

use super::Cpu;
use super::batch_norm::{Channels, normalize_in_place};
use super::call::{Call, Extent, Plane};
use crate::graph::ops::{NormOperands, Normalize, Taps};
use crate::shape::LANES;
pub(super) use packing::{Filter, Method, pack, packed_len};
pub(super) use slices::{Slices, Task};
pub(super) use winograd_grad_weight::{
    Operands as GradWeightOperands, run as winograd_grad_weight,
};

/// A convolution or its input gradient, without the weights.
pub(super) struct Convolution<'a> {
    pub(super) source: Plane<'a>,
    pub(super) result: Extent,
    pub(super) method: Method,
    /// Normalisation of the source, applied while it is copied.
    pub(super) normalize_input: Option<FusedNormalize>,
    /// Normalisation of the result.
    pub(super) epilogue: Option<FusedNormalize>,
}

/// A normalisation fused into the convolution.
pub(super) struct FusedNormalize {
    channels: Channels,
    relu: bool,
}

impl FusedNormalize {
    /// From an operator's attribute and operands: either both are present or neither.
    pub(super) fn of(
        op: &Option<Normalize>,
        operands: Option<NormOperands<usize>>,
        channels: usize,
        call: &Call<'_>,
    ) -> Option<FusedNormalize> {
        op.as_ref().zip(operands).map(|(op, norm)| {
            let (moments, affine) = (call.numbers(norm.moments), call.numbers(norm.affine));
            FusedNormalize {
                channels: Channels::new(channels, moments, affine, op.epsilon),
                relu: op.relu,
            }
        })
    }

    #[inline(always)]
    fn apply(&self, numbers: &mut [f32]) {
        normalize_in_place(&self.channels, self.relu, numbers);
    }
}

/// Some rows of one image of the result, or all rows of a few images.
pub(super) struct Block {
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
}

impl Method {
    /// The faster method for a kernel, given the phases of its taps.
    pub(super) fn new(
        kernel: [usize; 2],
        phases: Vec<[Taps; 2]>,
        source: Extent,
        result: Extent,
    ) -> Method {
        match phases[..] {
            [taps] if winograd(kernel, &taps, source, result) => Method::Winograd(taps),
            _ => Method::Direct(phases),
        }
    }
}

/// Whether Winograd's convolution applies, and takes less time than direct convolution.
pub(super) fn winograd(
    kernel: [usize; 2],
    taps: &[Taps; 2],
    source: Extent,
    result: Extent,
) -> bool {
    let unit_stride = |taps: &Taps| taps.source_step == 1 && taps.step == 1;
    kernel == [3, 3] && taps.iter().all(unit_stride) && winograd::wins(source, result)
}

impl Convolution<'_> {
    /// Computes the result. `packed` has the weights if they are kept packed.
    pub(super) fn run(
        &self,
        cpu: &Cpu,
        filter: Filter<'_>,
        packed: Option<&[f32]>,
        numbers: &mut [f32],
    ) {
        if numbers.is_empty() {
            return;
        }
        match packed {
            Some(packed) => self.multiply(cpu, packed, numbers),
            None => {
                let len = packed_len(cpu, &self.method, [filter.sources(), filter.results()]);
                cpu.scratch.lend(len, |packed| {
                    pack(cpu, &self.method, filter, packed);
                    self.multiply(cpu, packed, numbers);
                });
            }
        }
    }

    fn multiply(&self, cpu: &Cpu, packed: &[f32], numbers: &mut [f32]) {
        let Extent {
            size: [height, width],
            channels,
            ..
        } = self.result;
        let row = width * channels;
        let block = |block: Block, numbers: &mut [f32]| {
            match &self.method {
                Method::Direct(phases) => direct::run(cpu, self, phases, packed, block, numbers),
                Method::Winograd(taps) => winograd::run(cpu, self, taps, packed, block, numbers),
            }
            if let Some(epilogue) = &self.epilogue {
                cpu.instructions.vectorise(
                    #[inline(always)]
                    || epilogue.apply(numbers),
                );
            }
        };
        let [images, rows] = match &self.method {
            Method::Direct(phases) => [1, direct::rows(cpu, self, phases)],
            Method::Winograd(_) => winograd::block(cpu, self),
        };
        let parts = numbers.par_chunks_mut(images * height * row).enumerate();
        parts
            .flat_map(|(part, numbers)| {
                let first = part * images;
                let images = first..first + numbers.len() / (height * row);
                let rows = if images.len() == 1 {
                    rows
                } else {
                    images.len() * height
                };
                let blocks = numbers.par_chunks_mut(rows * row).enumerate();
                blocks.map(move |(index, numbers)| {
                    let first = index * rows;
                    let rows = match images.len() {
                        1 => first..first + numbers.len() / row,
                        _ => 0..height,
                    };
                    let images = images.clone();
                    (Block { images, rows }, numbers)
                })
            })
            .for_each(|(rows, numbers)| block(rows, numbers));
    }
}

impl Plane<'_> {
    /// Whether the windows of some cells are contiguous in the source and need no padding.
    fn holds(&self, height: &Taps, width: &Taps, cells: &std::ops::Range<usize>) -> bool {
        let last = height.source_base + (height.source_step * (cells.end - 1)) as isize;
        height.source_base + (height.source_step * cells.start) as isize >= 0
            && last + height.taps as isize <= self.size[0] as isize
            && width.source_base == 0
            && width.receptive_extent() == self.size[1]
    }

    /// Copies the windows of some cells, optionally normalised, zero-padded outside.
    #[inline(always)]
    pub(super) fn stage(
        &self,
        image: &[f32],
        [height, width]: [&Taps; 2],
        cells: &std::ops::Range<usize>,
        normalize_input: Option<&FusedNormalize>,
        staged: &mut [f32],
    ) {
        let channels = self.channels;
        debug_assert_eq!(channels % LANES, 0);
        let pitch = width.receptive_extent() * channels;
        let lines = (cells.len() - 1) * height.source_step + height.taps;
        let first = height.source_base + (height.source_step * cells.start) as isize;
        let [rows, columns] = self.size.map(|extent| extent as isize);
        // Columns of the window inside the source.
        let start = (-width.source_base).clamp(0, width.receptive_extent() as isize) as usize;
        let end =
            (columns - width.source_base).clamp(start as isize, width.receptive_extent() as isize);
        let end = end as usize;
        for (line, staged) in staged
            .chunks_exact_mut(pitch.max(1))
            .take(lines)
            .enumerate()
        {
            let row = first + line as isize;
            if !(0..rows).contains(&row) || start == end {
                staged.fill(0.0);
                continue;
            }
            let column = (width.source_base + start as isize) as usize;
            let from = (row as usize * self.size[1] + column) * channels;
            staged[..start * channels].fill(0.0);
            let inside = &mut staged[start * channels..end * channels];
            inside.copy_from_slice(&image[from..from + (end - start) * channels]);
            if let Some(normalize_input) = normalize_input {
                normalize_input.apply(inside);
            }
            staged[end * channels..].fill(0.0);
        }
    }
}
