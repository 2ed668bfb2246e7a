//! The conversion of numbers to halves and back: to the nearest half, ties to even, infinite beyond
//! the largest, subnormal halves included.

use super::CheckError;
use super::case::{Change, run};
use crate::engine::Device;
use crate::graph::{Graph, ops};
use crate::kernels::Choices;
use crate::shape::{DType, Shape};
use half::f16;

/// All halves, the midpoints between neighbours, and the numbers next to the midpoints stand for
/// all numbers.
pub struct Halves {
    graph: Graph,
    x: Vec<u32>,
}

impl Halves {
    /// A graph x → halves → y, with all numbers.
    pub fn all() -> Halves {
        let positive = (0..=f16::INFINITY.to_bits()).map(f16::from_bits);
        let around = |half: f16| {
            let [this, next] = [half, f16::from_bits(half.to_bits() + 1)].map(f32::from);
            // Where the next half would be infinite, its number would be 65536.
            let next = if next.is_finite() { next } else { 65536.0 };
            let midpoint = ((this + next) / 2.0).to_bits();
            [this.to_bits(), midpoint - 1, midpoint, midpoint + 1]
        };
        let numbers: Vec<u32> = positive
            .flat_map(around)
            .chain([65536.0, 1e20, f32::MAX, f32::MIN_POSITIVE, 1e-45].map(f32::to_bits))
            .filter(|bits| !f32::from_bits(*bits).is_nan())
            .flat_map(|bits| [bits, bits | 1 << 31])
            .chain([0x7f80_0001, 0x7fc0_0000, 0xffff_ffff])
            .collect();
        // Repeated four times, each number has each place of a vector once.
        assert_eq!(numbers.len() % 2, 1);
        let shape = Shape::channels(&[1, 1, numbers.len(), 4]);
        let x = numbers.iter().copied().cycle().take(shape.len()).collect();

        let mut graph = Graph::new();
        let operand = graph.external("x", shape);
        let halves = graph
            .push_one(ops::Convert, &[operand], "halves")
            .expect("the operand is a map");
        let y = graph
            .push_one(ops::Convert, &[halves], "y")
            .expect("the operand is a map");
        graph.output(y, "y");
        graph.values[halves.0].shape.dtype = DType::F16;
        Halves { graph, x }
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Checks the kernels of a device, or those of a changed program.
    ///
    /// # Errors
    /// The first number that becomes another half, or an error of the device.
    pub async fn check(
        &self,
        device: &Device,
        change: Option<Change<'_>>,
    ) -> Result<(), CheckError> {
        let operands = vec![("x".to_owned(), self.x.clone())];
        let results = ["y".to_owned()];
        let choices = Choices::default();
        let runs = run(device, &self.graph, &choices, change, &[operands], &results).await;
        let what = "conversion to halves".to_owned();
        let mut runs = runs.map_err(|error| CheckError::device(what, error))?;
        let y = runs.remove(0).remove(0);
        for (number, found) in self.x.iter().zip(&y) {
            let [number, found] = [number, found].map(|bits| f32::from_bits(*bits));
            let half = f32::from(f16::from_f32(number));
            let is_same = half.to_bits() == found.to_bits() || half.is_nan() && found.is_nan();
            if !is_same {
                let text = format!("{number:e} becomes {found:e}, not {half:e}");
                return Err(CheckError::Differs(text));
            }
        }
        Ok(())
    }
}
