//! Geometry of convolutions, their gradients and pooling along one axis: which taps of a kernel
//! connect which inputs and outputs.

/// Stride and padding, the same along both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Distance between the windows of adjacent outputs.
    pub stride: usize,
    /// Rows and columns of padding on each side.
    pub padding: usize,
}

/// One stride phase along one axis: result elements that sum over the same taps.
///
/// The result is the output of a convolution and the source its input; for the gradient, the
/// result is the input's gradient and the source the output's.
/// For i in 0..`count` and a in 0..`taps`, result `first + step·i` sums the product of tap
/// `tap_first + tap_step·a` and source `source_base + source_step·i + a`, unless the latter lies
/// outside the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taps {
    /// First result.
    pub first: usize,
    /// Distance between results.
    pub step: usize,
    /// Number of results.
    pub count: usize,
    /// Number of taps.
    pub taps: usize,
    /// First tap.
    pub tap_first: isize,
    /// Distance between taps.
    pub tap_step: isize,
    /// Source that the first tap of the first result reads; negative in the padding.
    pub source_base: isize,
    /// Distance between the sources of adjacent results.
    pub source_step: usize,
}

impl Window {
    /// Output extent for an input extent and a kernel extent.
    pub fn outputs(self, input: usize, kernel: usize) -> usize {
        (input + 2 * self.padding - kernel) / self.stride + 1
    }

    /// Output extent of a pooling that rounds it up: the last window may end outside the input and
    /// its padding, but begins inside the input or the padding before it (Caffe, and `ceil_mode` of
    /// PyTorch).
    pub fn outputs_rounded_up(self, input: usize, kernel: usize) -> usize {
        let outputs = (input + 2 * self.padding - kernel).div_ceil(self.stride) + 1;
        match (outputs - 1) * self.stride >= input + self.padding {
            true => outputs - 1,
            false => outputs,
        }
    }

    /// The input index that `output` reads through `tap`; `None` in the padding.
    pub fn input_index(self, output: usize, tap: usize, input: usize) -> Option<usize> {
        (output * self.stride + tap)
            .checked_sub(self.padding)
            .filter(|at| *at < input)
    }

    /// The single phase of a convolution: the result is the output, the source the input.
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

    /// The phases of the gradient with respect to the input: the result is the input's gradient,
    /// the source the output's.
    ///
    /// Tap r connects input h to output (h + padding − r) / stride if that is an integer, so the
    /// taps of an input depend only on h mod stride: one [`Taps`] for each remainder.
    pub fn backward(self, input: usize, kernel: usize) -> impl Iterator<Item = Taps> {
        (0..self.stride.min(input)).map(move |first| {
            let smallest = (first + self.padding) % self.stride;
            let taps = kernel.saturating_sub(smallest).div_ceil(self.stride);
            // The largest tap of the phase reads the smallest source.
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
    /// Kernel index of the phase's tap `a`.
    pub fn tap(&self, a: usize) -> usize {
        (self.tap_first + self.tap_step * a as isize) as usize
    }

    /// Number of consecutive sources from `source_base` that the phase reads, padding included.
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
            .filter_map(|(output, tap)| {
                Some((window.input_index(output, tap, INPUT)?, tap, output))
            })
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
