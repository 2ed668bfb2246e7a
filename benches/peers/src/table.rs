//! The table of results: one line for each row and peer.

/// The speeds of our program and a peer over the rounds of a row.
#[derive(Debug, PartialEq)]
pub(crate) struct Comparison {
    /// Images per second, medians.
    ours: f64,
    theirs: f64,
    /// Our speed divided by theirs within a round: median, smallest, largest.
    ratio: f64,
    min: f64,
    max: f64,
}

impl Comparison {
    /// From images per second, ours and theirs, of each round.
    pub(crate) fn of(rounds: &[[f64; 2]]) -> Comparison {
        let ratios: Vec<f64> = rounds.iter().map(|[ours, theirs]| ours / theirs).collect();
        Comparison {
            ours: median(rounds.iter().map(|round| round[0]).collect()),
            theirs: median(rounds.iter().map(|round| round[1]).collect()),
            min: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            max: ratios.iter().copied().fold(0.0, f64::max),
            ratio: median(ratios),
        }
    }
}

/// The median; NaN for no values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => 0.5 * (values[middle - 1] + values[middle]),
    }
}

/// Widths of the columns of names.
const ROW: usize = 20;
const PEER: usize = 14;

/// The lines above the table.
pub(crate) fn header(rounds: u32, seconds: f64) -> String {
    format!(
        "Images per second, medians of {rounds} rounds of {seconds} s, ours and theirs in \
         alternation;\nours/theirs is the median of the rounds' ratios, with their range.\n\n\
         {:<ROW$} {:<PEER$} {:>9} {:>9}  ours/theirs",
        "row", "peer", "ours", "theirs"
    )
}

/// The line of a row and a peer that were measured.
pub(crate) fn line(row: &str, peer: &str, comparison: &Comparison) -> String {
    let Comparison {
        ours,
        theirs,
        ratio,
        min,
        max,
    } = comparison;
    format!(
        "{row:<ROW$} {peer:<PEER$} {ours:>9.1} {theirs:>9.1}  \
         {ratio:.2} ({min:.2}\u{2013}{max:.2})"
    )
}

/// The line of a row and a peer whose measurement failed.
pub(crate) fn failure(row: &str, peer: &str, reason: &str) -> String {
    format!("{row:<ROW$} {peer:<PEER$} failed: {reason}")
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::options::{Peer, Row};

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn ratios_compare_neighbours_in_time() {
        // The machine was half as fast in the second round, which cancels in the ratios.
        let comparison = Comparison::of(&[[300.0, 100.0], [150.0, 50.0], [320.0, 100.0]]);
        let text = line("w1-train-b32", "burn", &comparison);
        let expected =
            "w1-train-b32         burn               300.0     100.0  3.00 (3.00\u{2013}3.20)";
        assert_eq!(text, expected);
        let header = header(3, 5.0);
        let columns = header.lines().last().unwrap();
        assert_eq!(columns.find("ours/theirs"), text.find("3.00 ("));
        assert!(header.contains("3 rounds of 5 s"), "{header}");
    }

    #[test]
    fn names_fit_their_columns() {
        for row in Row::value_variants() {
            assert!(row.name.len() <= ROW, "{row}");
        }
        for peer in Peer::value_variants() {
            assert!(peer.name.len() <= PEER, "{peer}");
        }
    }

    #[test]
    fn a_failure_takes_the_place_of_figures() {
        let text = failure("w2-train-b16", "torch-compile", "no compiler");
        assert_eq!(
            text,
            "w2-train-b16         torch-compile  failed: no compiler"
        );
    }
}
