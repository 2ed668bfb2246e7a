//! Figures of a card over the convolutions of a training step, weighted by their arithmetic.

use super::report::Row;

/// Precisions of the activations, in the order of [`Row::flops`].
const STEPS: [&str; 2] = ["f32", "f16"];

/// Two lines for a card, one for each precision.
pub(crate) fn totals(rows: &[&Row]) -> Vec<String> {
    (0..STEPS.len()).map(|step| line(rows, step)).collect()
}

fn line(rows: &[&Row], step: usize) -> String {
    let convolutions = rows
        .iter()
        .filter(|row| row.is_convolution() && row.flops[step] > 0);
    let convolutions: Vec<&&Row> = convolutions.collect();
    let all: u64 = convolutions.iter().map(|row| row.flops[step]).sum();
    let mean = |value: &dyn Fn(&Row) -> Option<f64>| -> Option<f64> {
        let weighted = convolutions.iter().map(|row| {
            let share = row.flops[step] as f64 / all as f64;
            value(row).map(|value| share * value)
        });
        weighted.sum()
    };
    let figure = |name: &'static str| mean(&|row| row.figure(name).map(|f| f as f64));
    let mut words = vec![
        format!("registers {:.0}", figure("registers").unwrap_or_default()),
        format!("spills {:.1}", figure("spills").unwrap_or_default()),
        format!("occupancy {:.1}", figure("occupancy").unwrap_or_default()),
    ];
    for name in ["latency", "inverse_throughput"] {
        if let Some(mean) = figure(name) {
            words.push(format!("{} {mean:.0}", name.replace('_', " ")));
        }
    }
    // Instructions add up, so the mean is that of instructions per multiply-add.
    let per_fma = |kinds: &[&str]| {
        let share = mean(&|row| {
            let sum: Option<u64> = kinds.iter().map(|kind| row.figure(kind)).sum();
            Some(sum? as f64 / row.figure("fma").filter(|fma| *fma > 0)? as f64)
        });
        share.map(f64::recip)
    };
    if let (Some(vector), Some(issued)) = (
        per_fma(&["valu"]),
        per_fma(&["valu", "lds_instructions", "vmem"]),
    ) {
        words.push(format!("FMA/VALU {vector:.3}"));
        words.push(format!("FMA/(VALU+LDS+VMEM) {issued:.3}"));
        let waits = figure("full_waits").unwrap_or_default();
        words.push(format!("full waits {waits:.1}"));
    }
    format!("{} convolutions: {}", STEPS[step], words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::table::tests::row_of;

    #[test]
    fn kernels_count_by_their_arithmetic() {
        // registers, spills, lds, occupancy, instructions, latency, inverse throughput, fma,
        // valu, lds, vmem, full waits
        let mut half = row_of(
            "a",
            "conv2d A=1",
            &[10, 0, 0, 8, 0, 150, 100, 50, 100, 0, 0, 4],
        );
        let full = row_of(
            "a",
            "conv2d A=2",
            &[40, 4, 0, 4, 0, 300, 0, 100, 100, 50, 50, 0],
        );
        let other = row_of("a", "relu", &[99, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        half.flops = [20, 0];
        assert_eq!(
            totals(&[&half, &full, &other]),
            [
                "f32 convolutions: registers 20, spills 1.3, occupancy 6.7, latency 200, inverse \
                 throughput 67, FMA/VALU 0.600, FMA/(VALU+LDS+VMEM) 0.500, full waits 2.7",
                "f16 convolutions: registers 40, spills 4.0, occupancy 4.0, latency 300, inverse \
                 throughput 0, FMA/VALU 1.000, FMA/(VALU+LDS+VMEM) 0.500, full waits 0.0"
            ]
        );
        let silent = row_of("a", "conv2d A=1", &[10, 0, 0, 8]);
        assert!(!totals(&[&silent])[0].contains("FMA"));
    }
}
