//! What the kernels may cost on each card, from a committed file.
//!
//! A line has a card, the beginning of kernels' names, a figure, and its limit: a minimum for the
//! occupancy, a maximum for the others. Of several lines for a kernel and a figure, the one with
//! the longest beginning counts.

use super::cards::{CARDS, Card, FIGURES};
use super::report::Row;
use crate::command::{Failure, root};

/// The figure of which less is worse.
const MINIMUM: &str = "occupancy";

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Limit {
    card: &'static str,
    kernels: String,
    figure: &'static str,
    limit: u64,
}

/// All limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ceilings(Vec<Limit>);

impl Ceilings {
    /// Reads the committed file.
    ///
    /// # Errors
    /// If it is missing, or a line is not a limit.
    pub(crate) fn read() -> Result<Ceilings, Failure> {
        let path = root().join("xtask").join("isa-ceilings.txt");
        let failure = |e: String| Failure::new(format!("{}: {e}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|e| failure(e.to_string()))?;
        Ceilings::parse(&text).map_err(failure)
    }

    fn parse(text: &str) -> Result<Ceilings, String> {
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim());
        let lines = lines.filter(|line| !line.is_empty());
        let limit = |line| parse(line).ok_or_else(|| format!("`{line}` is not a limit"));
        Ok(Ceilings(lines.map(limit).collect::<Result<_, _>>()?))
    }

    /// The limits that a card's kernels exceed, a line for each; an error for a limit of that card
    /// that no kernel has, because it would check nothing.
    pub(crate) fn exceeded(&self, card: &Card, rows: &[Row]) -> Vec<String> {
        let limits: Vec<&Limit> = self
            .0
            .iter()
            .filter(|limit| limit.card == card.name)
            .collect();
        let mut used = vec![false; limits.len()];
        let mut lines = Vec::new();
        for row in rows {
            for (figure, _) in FIGURES {
                let fits = |limit: &Limit| {
                    limit.figure == figure && row.kernel.starts_with(&limit.kernels)
                };
                let fitting = (0..limits.len()).filter(|index| fits(limits[*index]));
                let Some(index) = fitting.max_by_key(|index| limits[*index].kernels.len()) else {
                    continue;
                };
                let Some(value) = row.figure(figure) else {
                    continue;
                };
                used[index] = true;
                let limit = limits[index].limit;
                let (exceeded, word) = match figure == MINIMUM {
                    true => (value < limit, "minimum"),
                    false => (value > limit, "maximum"),
                };
                if exceeded {
                    let name = &row.kernel;
                    lines.push(format!("{figure} {value}, {word} {limit}: {name}"));
                }
            }
        }
        for (limit, used) in limits.iter().zip(used) {
            if !used {
                let Limit {
                    kernels, figure, ..
                } = limit;
                lines.push(format!("no kernel `{kernels}` has a limited {figure}"));
            }
        }
        if limits.is_empty() {
            lines.push("there are no limits".to_owned());
        }
        lines
    }
}

/// `*` stands for all kernels.
fn parse(line: &str) -> Option<Limit> {
    let mut words = line.split_whitespace();
    let (card, kernels, figure) = (words.next()?, words.next()?, words.next()?);
    let limit = Limit {
        card: CARDS.iter().find(|known| known.name == card)?.name,
        kernels: kernels.trim_end_matches('*').to_owned(),
        figure: FIGURES.iter().find(|(known, _)| *known == figure)?.0,
        limit: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::table::tests::row_of;

    #[test]
    fn the_longest_beginning_counts() {
        let text = "# of all\nm1 * registers 64\nm1 * spills 0 # none\nm1 conv2d spills 90\n\
                    a730 * occupancy 5\nm1 * occupancy 5\n";
        let ceilings = Ceilings::parse(text).unwrap();
        let m1 = Card::named("m1").unwrap();
        let rows = |rest: &[u64], conv: &[u64]| {
            [row_of("m1", "relu", rest), row_of("m1", "conv2d A=1", conv)]
        };
        let none: [String; 0] = [];
        let fine = rows(&[64, 0, 0, 5], &[64, 90, 0, 9]);
        assert_eq!(ceilings.exceeded(m1, &fine), none);
        let wrong = rows(&[65, 1, 0, 5], &[64, 91, 0, 4]);
        assert_eq!(
            ceilings.exceeded(m1, &wrong),
            [
                "registers 65, maximum 64: relu",
                "spills 1, maximum 0: relu",
                "spills 91, maximum 90: conv2d A=1",
                "occupancy 4, minimum 5: conv2d A=1"
            ]
        );
    }

    #[test]
    fn a_limit_that_checks_nothing_is_an_error() {
        let m1 = Card::named("m1").unwrap();
        let rows = [row_of("m1", "relu", &[64])];
        let ceilings = Ceilings::parse("m1 matrix registers 64\n").unwrap();
        assert_eq!(
            ceilings.exceeded(m1, &rows),
            ["no kernel `matrix` has a limited registers"]
        );
        let other = Card::named("a730").unwrap();
        assert_eq!(ceilings.exceeded(other, &rows), ["there are no limits"]);
    }

    #[test]
    fn only_limits_of_known_cards_and_figures_are_read() {
        for line in [
            "m2 * spills 0",
            "m1 * spill 0",
            "m1 * spills",
            "m1 * spills 0 0",
        ] {
            assert!(Ceilings::parse(line).unwrap_err().contains(line), "{line}");
        }
    }

    #[test]
    fn every_tested_card_has_limits() {
        let Ceilings(limits) = Ceilings::read().unwrap();
        for card in CARDS.iter().filter(|card| card.tested) {
            assert!(
                limits.iter().any(|limit| limit.card == card.name),
                "{}",
                card.name
            );
        }
    }
}
