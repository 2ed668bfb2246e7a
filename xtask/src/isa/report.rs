//! What a card's driver reported of the kernels, as `tests/isa` writes it, reduced to the same
//! figures for all drivers.

use serde_json::Value;

use super::cards::FIGURES;

/// A kernel on a card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) card: String,
    pub(crate) kernel: String,
    /// Dispatches of a training step with activations in single and in half precision.
    pub(crate) dispatches: [u64; 2],
    /// Their multiplications and additions.
    pub(crate) flops: [u64; 2],
    /// In the order of [`FIGURES`]; `None` where the driver has no such figure.
    pub(crate) figures: [Option<u64>; FIGURES.len()],
}

impl Row {
    /// A figure by its name.
    ///
    /// # Panics
    /// If there is no figure of this name.
    pub(crate) fn figure(&self, name: &str) -> Option<u64> {
        let index = FIGURES.iter().position(|(known, _)| *known == name);
        self.figures[index.expect("a figure's name")]
    }

    /// Whether it is a convolution, where the multiply-adds are.
    pub(crate) fn is_convolution(&self) -> bool {
        self.kernel.starts_with("conv2d")
    }
}

/// Reads the report of a card: the version of the driver, and the kernels, those with the largest
/// share of the step first.
///
/// # Errors
/// If it is not such a report; the message names what is missing.
pub(crate) fn parse(card: &str, text: &str) -> Result<(String, Vec<Row>), String> {
    let wrong = |what: &str| format!("the report of {card} lacks {what}");
    let report: Value = serde_json::from_str(text).map_err(|e| format!("{card}: {e}"))?;
    let driver = report["driver"].as_str().ok_or_else(|| wrong("a driver"))?;
    let kernels = report["kernels"].as_array();
    let kernels = kernels.filter(|kernels| !kernels.is_empty());
    let mut rows = Vec::new();
    for kernel in kernels.ok_or_else(|| wrong("kernels"))? {
        let name = kernel["name"].as_str().ok_or_else(|| wrong("a name"))?;
        let pair = |key: &str| -> Option<[u64; 2]> {
            Some([kernel[key][0].as_u64()?, kernel[key][1].as_u64()?])
        };
        let mut row = Row {
            card: card.to_owned(),
            kernel: name.to_owned(),
            dispatches: pair("dispatches").ok_or_else(|| wrong("dispatches"))?,
            flops: pair("flops").ok_or_else(|| wrong("flops"))?,
            ..Row::default()
        };
        for ((figure, words), place) in FIGURES.iter().zip(&mut row.figures) {
            let reported = words
                .iter()
                .filter_map(|w| kernel["statistics"][*w].as_f64());
            let sum = reported.reduce(|a, b| a + b);
            *place = sum
                .map(|sum| sum.round() as u64)
                .or(kernel["mix"][*figure].as_u64());
        }
        let counted = kernel["mix"].is_object();
        let counts = FIGURES
            .iter()
            .filter(|(_, words)| counted && words.is_empty());
        let needed = counts.map(|(figure, _)| *figure);
        for needed in needed.chain(["registers", "spills", "occupancy", "instructions"]) {
            if row.figure(needed).is_none() {
                return Err(wrong(&format!("{needed} of {name}")));
            }
        }
        rows.push(row);
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.flops));
    Ok((version(driver), rows))
}

/// Major, minor and patch of Mesa, of a text such as `Mesa 26.1.6-1`.
fn version(driver: &str) -> String {
    let digits = |c: char| c.is_ascii_digit();
    let start = driver.find(digits).unwrap_or(driver.len());
    let end = driver[start..].find(|c: char| !digits(c) && c != '.');
    driver[start..][..end.unwrap_or(driver.len() - start)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"driver": "Mesa 26.1.6-1", "kernels": [
        {"name": "relu", "dispatches": [1, 0], "flops": [5, 0],
         "statistics": {"VGPRs": 8, "Spilled VGPRs": 1, "Spilled SGPRs": 2, "Instructions": 9,
                        "Subgroups per SIMD": 16},
         "mix": {"fma": 3, "valu": 4, "lds_instructions": 5, "vmem": 6, "full_waits": 7,
                 "rounds_to_zero": 0}},
        {"name": "conv2d A=1", "dispatches": [2, 3], "flops": [50, 60],
         "statistics": {"GPRs": 128, "Spills": 4, "Instructions": 7, "Threads": 384}, "mix": null}
    ]}"#;

    #[test]
    fn reports_are_reduced_to_common_figures() {
        let (mesa, rows) = parse("m1", REPORT).unwrap();
        assert_eq!(mesa, "26.1.6");
        let names: Vec<&str> = rows.iter().map(|row| row.kernel.as_str()).collect();
        assert_eq!(names, ["conv2d A=1", "relu"]);
        assert_eq!((rows[0].dispatches, rows[0].flops), ([2, 3], [50, 60]));
        let figures = |row: &Row| ["registers", "spills", "fma", "lds"].map(|f| row.figure(f));
        assert_eq!(figures(&rows[0]), [Some(128), Some(4), None, None]);
        assert_eq!(figures(&rows[1]), [Some(8), Some(3), Some(3), None]);
    }

    #[test]
    fn an_incomplete_report_says_what_it_lacks() {
        for (text, part) in [
            (REPORT.replace("GPRs", "unknown"), "registers of"),
            (REPORT.replace("\"vmem\"", "\"other\""), "vmem of relu"),
            (REPORT.replace("\"kernels\"", "\"others\""), "lacks kernels"),
            (REPORT.replace("\"driver\"", "\"others\""), "lacks a driver"),
        ] {
            let error = parse("m1", &text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
