//! The committed table of all cards: reading, writing, and the difference of a run from it.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::cards::FIGURES;
use super::report::Row;
use crate::command::{Failure, root};

/// The figures of a version of Mesa.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Mesa's version.
    pub(crate) mesa: String,
    pub(crate) rows: Vec<Row>,
}

fn path() -> PathBuf {
    root().join("xtask").join("isa.csv")
}

impl Table {
    /// Reads the committed table.
    ///
    /// # Errors
    /// If it is missing or not as [`Table::write`] writes it.
    pub(crate) fn read() -> Result<Table, Failure> {
        let name = path().display().to_string();
        let text = std::fs::read_to_string(&name);
        let text = text.map_err(|e| Failure::new(format!("{name}: {e}")))?;
        Table::parse(&text).map_err(|e| Failure::new(format!("{name}: {e}")))
    }

    /// Writes the table in place of the committed one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        let path = path();
        std::fs::write(&path, self.text())
            .map_err(|e| Failure::new(format!("{}: {e}", path.display())))
    }

    /// The rows of a card.
    pub(crate) fn of(&self, card: &str) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.card == card).collect()
    }

    /// Puts the rows of a card in place of those that the table has.
    pub(crate) fn replace(&mut self, card: &str, rows: &[Row]) {
        self.rows.retain(|row| row.card != card);
        self.rows.extend_from_slice(rows);
        self.rows.sort_by(|a, b| a.card.cmp(&b.card));
    }

    fn text(&self) -> String {
        let mut text = format!("# Mesa {}\n{}\n", self.mesa, header());
        for row in &self.rows {
            let Row {
                card,
                kernel,
                dispatches: [a, b],
                flops: [c, d],
                figures,
            } = row;
            let _ = write!(text, "{card},{kernel},{a},{c},{b},{d}");
            for figure in figures {
                let figure = figure.map(|figure| figure.to_string()).unwrap_or_default();
                let _ = write!(text, ",{figure}");
            }
            text.push('\n');
        }
        text
    }

    fn parse(text: &str) -> Result<Table, String> {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let mesa = first.strip_prefix("# Mesa ").ok_or("no version of Mesa")?;
        if lines.next() != Some(&header()) {
            return Err(format!("the second line is not `{}`", header()));
        }
        let rows = lines.map(|line| row(line).ok_or(format!("`{line}` is not a row")));
        Ok(Table {
            mesa: mesa.to_owned(),
            rows: rows.collect::<Result<_, _>>()?,
        })
    }
}

fn header() -> String {
    let figures: Vec<&str> = FIGURES.iter().map(|(name, _)| *name).collect();
    let figures = figures.join(",");
    format!("card,kernel,f32_dispatches,f32_flops,f16_dispatches,f16_flops,{figures}")
}

fn row(line: &str) -> Option<Row> {
    let mut words = line.split(',');
    let mut next = || words.next();
    let (card, kernel) = (next()?.to_owned(), next()?.to_owned());
    let mut number = || next()?.parse().ok();
    let [a, c, b, d] = [number()?, number()?, number()?, number()?];
    let mut row = Row {
        card,
        kernel,
        dispatches: [a, b],
        flops: [c, d],
        ..Row::default()
    };
    for figure in &mut row.figures {
        *figure = match words.next()? {
            "" => None,
            word => Some(word.parse().ok()?),
        };
    }
    words.next().is_none().then_some(row)
}

/// What changed on a card, a line for each kernel.
pub(crate) fn changes(before: &[&Row], after: &[&Row]) -> Vec<String> {
    let find = |rows: &[&Row], name: &str| rows.iter().position(|row| row.kernel == name);
    let mut lines = Vec::new();
    for row in after {
        let Some(old) = find(before, &row.kernel) else {
            lines.push(format!("new: {}", row.kernel));
            continue;
        };
        let old = before[old];
        let mut changed = Vec::new();
        let mut compare = |name: &str, old: Option<u64>, new: Option<u64>| {
            let word = |value: Option<u64>| value.map_or("-".to_owned(), |v| v.to_string());
            if old != new {
                changed.push(format!("{name} {} -> {}", word(old), word(new)));
            }
        };
        for (step, name) in ["f32 dispatches", "f16 dispatches"].iter().enumerate() {
            compare(name, Some(old.dispatches[step]), Some(row.dispatches[step]));
        }
        for (index, (name, _)) in FIGURES.iter().enumerate() {
            compare(name, old.figures[index], row.figures[index]);
        }
        if !changed.is_empty() {
            lines.push(format!("{}: {}", row.kernel, changed.join(", ")));
        }
    }
    for row in before {
        if find(after, &row.kernel).is_none() {
            lines.push(format!("gone: {}", row.kernel));
        }
    }
    lines
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row whose first figures are given.
    pub(crate) fn row_of(card: &str, kernel: &str, first: &[u64]) -> Row {
        let mut row = Row {
            card: card.to_owned(),
            kernel: kernel.to_owned(),
            dispatches: [1, 2],
            flops: [10, 20],
            ..Row::default()
        };
        for (place, figure) in row.figures.iter_mut().zip(first) {
            *place = Some(*figure);
        }
        row
    }

    #[test]
    fn tables_are_read_as_they_are_written() {
        let mut table = Table {
            mesa: "26.1.6".to_owned(),
            rows: vec![
                row_of("b", "conv2d A=1 B=2", &[128, 0]),
                row_of("b", "relu", &[]),
            ],
        };
        assert_eq!(Table::parse(&table.text()).as_ref(), Ok(&table));
        table.replace("a", &[row_of("a", "relu", &[4])]);
        table.replace("b", &[row_of("b", "relu", &[9])]);
        let text = table.text();
        assert_eq!(Table::parse(&text).as_ref(), Ok(&table));
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "a,relu,1,10,2,20,4,,,,,,,,,,,,",
                "b,relu,1,10,2,20,9,,,,,,,,,,,,"
            ]
        );
        let error = Table::parse(&text.replace("b,relu,1", "b,relu,x")).unwrap_err();
        assert!(error.contains("b,relu,x"), "{error}");
    }

    #[test]
    fn the_committed_table_can_be_read() {
        let table = Table::read().unwrap();
        assert!(!table.rows.is_empty() && !table.mesa.is_empty());
    }

    #[test]
    fn changes_name_what_changed() {
        let before = [
            row_of("a", "x", &[1, 2]),
            row_of("a", "y", &[]),
            row_of("a", "z", &[5]),
        ];
        let after = [
            row_of("a", "x", &[1, 3, 4]),
            row_of("a", "w", &[]),
            row_of("a", "z", &[5]),
        ];
        let lines = changes(&before.each_ref(), &after.each_ref());
        let expected = ["x: spills 2 -> 3, lds - -> 4", "new: w", "gone: y"];
        assert_eq!(lines, expected);
    }
}
