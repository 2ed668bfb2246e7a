//! How a weight gradient is divided into tasks.
//!
//! Rows of the batch are divided into slices, and groups of output channels into parts, whose
//! numbers depend on sizes only, not on the number of threads. A task sums one slice of one part;
//! the slices are then added in order.

use std::ops::Range;

/// Tasks of a gradient, if it is large enough.
const TASKS: usize = 16;

/// Limit of all sums together, in elements, vector padding apart.
const PARTIAL: usize = 1 << 23;

/// Minimum number of groups of a part: each part copies or transforms the input.
const LEAST_GROUPS: usize = 2;

/// Rows divided into slices, and groups of channels into parts.
pub(in crate::cpu) struct Slices<'a> {
    rows: usize,
    rows_per_slice: usize,
    /// First vector and number of vectors of each group.
    groups: &'a [(usize, usize)],
    groups_per_part: usize,
}

/// A task.
pub(in crate::cpu) struct Task<'a, 's> {
    pub(in crate::cpu) rows: Range<usize>,
    pub(in crate::cpu) groups: &'a [(usize, usize)],
    /// For each group, its sums.
    pub(in crate::cpu) sums: &'s mut [f32],
}

impl<'a> Slices<'a> {
    /// Slices of at least `least` rows, unless there are fewer: writing and adding the `sums` of a
    /// slice takes as long as computing some rows.
    pub(in crate::cpu) fn new(
        rows: usize,
        least: usize,
        sums: usize,
        groups: &'a [(usize, usize)],
    ) -> Slices<'a> {
        let most = TASKS.min(PARTIAL / sums.max(1)).max(1);
        let slices = (rows / least.max(1)).clamp(1, most);
        let parts = TASKS
            .div_ceil(slices)
            .min(groups.len() / LEAST_GROUPS)
            .max(1);
        Slices {
            rows,
            rows_per_slice: rows.div_ceil(slices).max(1),
            groups,
            groups_per_part: groups.len().div_ceil(parts).max(1),
        }
    }

    /// Number of slices.
    pub(in crate::cpu) fn count(&self) -> usize {
        self.rows.div_ceil(self.rows_per_slice)
    }

    /// Maximum number of rows in a slice.
    pub(in crate::cpu) fn longest(&self) -> usize {
        self.rows_per_slice.min(self.rows)
    }

    /// The tasks, given room for all sums; a vector of channels has `sums` elements of them.
    pub(in crate::cpu) fn tasks<'s>(
        &self,
        sums: usize,
        partial: &'s mut [f32],
    ) -> Vec<Task<'a, 's>> {
        let mut rest = partial;
        let mut tasks = Vec::new();
        for slice in 0..self.count() {
            let first = slice * self.rows_per_slice;
            for groups in self.groups.chunks(self.groups_per_part) {
                let vectors: usize = groups.iter().map(|(_, count)| count).sum();
                let sums = rest.split_off_mut(..sums * vectors);
                tasks.push(Task {
                    rows: first..(first + self.rows_per_slice).min(self.rows),
                    groups,
                    sums: sums.expect("there is room for all sums"),
                });
            }
        }
        tasks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_every_row_of_every_group_once() {
        let all: Vec<(usize, usize)> = (0..13).map(|group| (3 * group, 3)).collect();
        for (rows, least, groups) in [
            (1, 8, 1),
            (100, 8, 1),
            (100, 8, 13),
            (5, 8, 13),
            (128, 8, 4),
        ] {
            let groups = &all[..groups];
            let slices = Slices::new(rows, least, 1, groups);
            let mut partial = vec![0.0; slices.count() * 3 * groups.len() * 2];
            let mut covered = vec![0; rows * groups.len()];
            for task in slices.tasks(2, &mut partial) {
                assert_eq!(task.sums.len(), 6 * task.groups.len());
                for (first, _) in task.groups {
                    task.rows
                        .clone()
                        .for_each(|row| covered[row * groups.len() + first / 3] += 1);
                }
            }
            assert!(
                covered.iter().all(|times| *times == 1),
                "{rows} {}",
                groups.len()
            );
            assert!(slices.count() * groups.len() >= TASKS.min(rows / least).min(groups.len()));
        }
    }
}
