//! Synchronised batch norm: a run pauses at each reduction, which the hosts compute.

use super::super::TrainError;
use super::super::replica::{Replica, StepContext, Work};
use super::{Replicas, on_each};
use crate::engine::{Engine, PartEnd};
use crate::graph::Arena;

impl Replicas {
    /// Runs one micro-batch of each replica with common statistics; each is with whether it is the
    /// replica's last one of the step. `images` are those of the replicas of all ranks; replicas without
    /// any have no work.
    pub(super) async fn run_synchronized(
        &mut self,
        context: &StepContext<'_>,
        work: &[Option<(&Work, bool)>],
        images: &[usize],
    ) -> Result<(), TrainError> {
        // The graphs differ in their batch only.
        let ends = self.first().engine.part_ends(0).to_vec();
        for (part, end) in ends.into_iter().enumerate() {
            on_each(&mut self.all, |number, replica| {
                let Some((work, is_last)) = work[number] else {
                    return Ok(());
                };
                if part == 0 {
                    replica.write(context, work);
                }
                replica.run_part(context.graph(work.part), part, is_last)
            })?;
            if let PartEnd::Reduction(_) = end {
                self.reduce_statistics(part, images).await?;
            }
        }
        self.copy_running_statistics(images).await
    }

    /// Gives the replicas without images the running statistics of the first one with some: only those
    /// have updated theirs. If there are any, waits for the end of the micro-batch.
    async fn copy_running_statistics(&mut self, images: &[usize]) -> Result<(), TrainError> {
        let first = images.iter().position(|images| *images > 0);
        let first = first.expect("a round has images");
        if !images.contains(&0) {
            return Ok(());
        }
        let numbers = &mut self.statistics;
        numbers.clear();
        let own = self.first..self.first + self.all.len();
        if own.contains(&first) {
            let engine = &self.all[first - self.first].engine;
            *numbers = engine.read_arena(Arena::Statistics).await?;
        }
        if let Some(ranks) = &self.ranks {
            ranks.agree(&[])?;
            let length = self.all[0].engine.arena_len(Arena::Statistics);
            let mut before = 0;
            let lengths = ranks.replicas().into_iter().map(|replicas| {
                let own = before..before + replicas;
                before = own.end;
                length * usize::from(own.contains(&first))
            });
            ranks.all_gather_numbers(numbers, &lengths.collect::<Vec<_>>());
        }
        for (Replica { engine, .. }, images) in self.all.iter_mut().zip(&images[own]) {
            if *images == 0 {
                engine.write_arena(Arena::Statistics, numbers);
            }
        }
        Ok(())
    }

    /// Reduces the statistics with which a part ends, over the replicas of all ranks that have images.
    async fn reduce_statistics(&mut self, part: usize, images: &[usize]) -> Result<(), TrainError> {
        let reduction = |engine: &Engine| match engine.part_ends(0)[part] {
            PartEnd::Reduction(reduction) => reduction,
            PartEnd::Sums(_) | PartEnd::Nothing => unreachable!("it is the same for all replicas"),
        };
        let engine = &self.first().engine;
        let length = engine.shape(reduction(engine).own).bytes() as usize / 4;
        let own = &images[self.numbers()];
        let all = self.all.iter().zip(&mut self.statistics_readers);
        let mut reading: Vec<_> = all
            .zip(own)
            .filter(|(_, images)| **images > 0)
            .map(|((replica, reader), _)| (&replica.engine, reader))
            .collect();
        for (engine, reader) in &mut reading {
            engine.start_reading_statistics(reader, &reduction(engine));
        }
        let statistics = &mut self.statistics;
        statistics.clear();
        for (engine, reader) in reading {
            let take = |own: &[f32]| statistics.extend_from_slice(own);
            engine.finish_reading(reader, take).await?;
        }
        if let Some(ranks) = &self.ranks {
            ranks.agree(&[])?;
            let mut rest = images;
            let lengths = ranks.replicas().into_iter().map(|replicas| {
                let (own, others) = rest.split_at(replicas);
                rest = others;
                length * own.iter().filter(|images| **images > 0).count()
            });
            ranks.all_gather_numbers(statistics, &lengths.collect::<Vec<_>>());
        }
        let with_images = images.iter().copied().filter(|images| *images > 0);
        let all: Vec<(usize, &[f32])> = with_images.zip(statistics.chunks(length)).collect();
        for (Replica { engine, .. }, images) in self.all.iter_mut().zip(own) {
            if *images > 0 {
                let reduction = reduction(engine);
                let result = reduction.reduction.combine(&all, *images);
                engine.write(reduction.all, bytemuck::cast_slice(&result));
            }
        }
        Ok(())
    }
}
