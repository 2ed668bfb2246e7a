//! Which taps of a kernel reach which cells, along one axis: the geometry that convolutions,
//! their gradients and pooling share.

/// Stride and zero padding, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Distance between the windows of neighbouring outputs.
    pub stride: usize,
    /// Rows and columns of zeros on each side.
    pub padding: usize,
}

/// Cells of a result along one axis that all sum over the same taps.
///
/// For i in 0..`count` and a in 0..`taps`, result cell `first + step·i` gets a contribution
/// of kernel cell `tap_first + tap_step·a` with source cell
/// `source_base + source_step·i + a`, unless that lies outside the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taps {
    /// First cell of the result.
    pub first: usize,
    /// Distance to the next one.
    pub step: usize,
    /// Number of cells.
    pub count: usize,
    /// Number of taps.
    pub taps: usize,
    /// First tap.
    pub tap_first: isize,
    /// Distance to the next one.
    pub tap_step: isize,
    /// Source cell that the first tap of the first cell reads.
    pub source_base: isize,
    /// How far the source cell moves from cell to cell.
    pub source_step: usize,
}

impl Window {
    /// Output extent for an input extent and a kernel extent.
    pub fn outputs(self, input: usize, kernel: usize) -> usize {
        (input + 2 * self.padding - kernel) / self.stride + 1
    }

    /// The input coordinate that output `output` reads through tap `tap`, if it is inside.
    pub fn source(self, output: usize, tap: usize, input: usize) -> Option<usize> {
        (output * self.stride + tap)
            .checked_sub(self.padding)
            .filter(|at| *at < input)
    }

    /// A convolution: results are outputs, the source is the input.
    pub fn forward(self, input: usize, kernel: usize) -> Taps {
        Taps {
            first: 0,
            step: 1,
            count: self.outputs(input, kernel),
            taps: kernel,
            tap_first: 0,
            tap_step: 1,
            source_base: -(self.padding as isize),
            source_step: self.stride,
        }
    }

    /// Its gradient by the input: results are inputs, the source is the outputs' gradient.
    ///
    /// Input h gets a contribution of tap r from output (h + padding − r) / stride when that
    /// is a whole number, so the taps of an input depend on h mod stride only: one [`Taps`]
    /// for each remainder, together all inputs.
    pub fn backward(self, input: usize, kernel: usize) -> impl Iterator<Item = Taps> {
        (0..self.stride.min(input)).map(move |first| {
            let smallest = (first + self.padding) % self.stride;
            let taps = kernel.saturating_sub(smallest).div_ceil(self.stride);
            // With the largest tap of the phase the source cell is the smallest.
            let tap_first = smallest as isize + self.stride as isize * (taps as isize - 1);
            Taps {
                first,
                step: self.stride,
                count: (input - first).div_ceil(self.stride),
                taps,
                tap_first,
                tap_step: -(self.stride as isize),
                source_base: ((first + self.padding) as isize - tap_first) / self.stride as isize,
                source_step: 1,
            }
        })
    }
}

impl Taps {
    /// The kernel's cell of tap `a`.
    pub fn tap(&self, a: usize) -> usize {
        (self.tap_first + self.tap_step * a as isize) as usize
    }

    /// Cells of the source, counted from `source_base`, that the phase reads, inside or not.
    pub fn receptive_extent(&self) -> usize {
        match self.count {
            0 => 0,
            count => (count - 1) * self.source_step + self.taps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: usize = 7;

    fn all() -> impl Iterator<Item = (Window, usize)> {
        let kernels = [1, 2, 3, 5, 7].into_iter();
        kernels.flat_map(|kernel| {
            let windows = (1..=4).flat_map(|stride| (0..=3).map(move |padding| (stride, padding)));
            windows.map(move |(stride, padding)| (Window { stride, padding }, kernel))
        })
    }

    /// The products as (input, tap, output), straight from the definition.
    fn products(window: Window, kernel: usize) -> Vec<(usize, usize, usize)> {
        let outputs = 0..window.outputs(INPUT, kernel);
        let pairs = outputs.flat_map(|output| (0..kernel).map(move |tap| (output, tap)));
        let mut products: Vec<_> = pairs
            .filter_map(|(output, tap)| Some((window.source(output, tap, INPUT)?, tap, output)))
            .collect();
        products.sort_unstable();
        products
    }

    /// The products of a phase as (result, tap, source).
    fn formed(taps: &Taps, source: usize) -> Vec<(usize, usize, usize)> {
        let cells = (0..taps.count).flat_map(|i| (0..taps.taps).map(move |a| (i, a)));
        cells
            .filter_map(|(i, a)| {
                let at = taps.source_base + (taps.source_step * i + a) as isize;
                let inside = (0..source as isize).contains(&at);
                inside.then(|| (taps.first + taps.step * i, taps.tap(a), at as usize))
            })
            .collect()
    }

    #[test]
    fn forward_forms_every_product_once() {
        for (window, kernel) in all() {
            let formed = formed(&window.forward(INPUT, kernel), INPUT);
            let mut found: Vec<_> = formed.into_iter().map(|(o, t, i)| (i, t, o)).collect();
            found.sort_unstable();
            assert_eq!(found, products(window, kernel), "{window:?} {kernel}");
        }
    }

    #[test]
    fn backward_forms_every_product_once() {
        for (window, kernel) in all() {
            let outputs = window.outputs(INPUT, kernel);
            let phases = window.backward(INPUT, kernel);
            let mut found: Vec<_> = phases.flat_map(|c| formed(&c, outputs)).collect();
            found.sort_unstable();
            assert_eq!(found, products(window, kernel), "{window:?} {kernel}");
        }
    }
}
