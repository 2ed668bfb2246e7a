//! Memory layout of lasting values, the same on every device.
//!
//! A lasting value outlives a run and occupies a *region*. All values of an arena share the
//! arena's region; every external value and every output has a region of its own. Graphs that
//! are loaded together share regions by name, each as large as the largest of them needs.
//!
//! An arena holds its values in order of declaration. Each starts at a multiple of
//! [`ARENA_ALIGNMENT`] bytes and is stored as its shape prescribes, padding included. The words
//! between two values are zero. An arena read from one device can therefore be written to any
//! other that has loaded graphs of the same network.

use std::collections::HashMap;

use super::{Arena, Graph, Role, Value};
use crate::shape::Shape;

/// Alignment in bytes of a value's offset in its arena: WebGPU's default limit
/// `minStorageBufferOffsetAlignment`.
pub const ARENA_ALIGNMENT: u64 = 256;

/// Contiguous memory of an arena, or of one lasting value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Name of the arena or the value.
    pub name: String,
    /// Size in 32-bit words.
    pub words: usize,
}

/// Part of a region, in 32-bit words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// Index of the region.
    pub region: usize,
    /// First word.
    pub offset: usize,
    /// Length.
    pub words: usize,
}

/// A value that outlives a run.
#[derive(Clone, Debug, PartialEq)]
pub struct LastingValue {
    /// Name, the same in all graphs.
    pub name: String,
    /// Shape; the largest one if graphs differ.
    pub shape: Shape,
    /// Location, as large as the shape needs.
    pub range: MemoryRange,
}

/// The layout of the lasting values of some graphs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastingMemory {
    /// All regions.
    pub regions: Vec<Region>,
    /// All values.
    pub values: Vec<LastingValue>,
    region_of: HashMap<String, usize>,
    value_of: HashMap<String, usize>,
}

impl LastingMemory {
    /// Lays out the lasting values of graphs that are loaded together.
    ///
    /// # Panics
    /// If graphs place a value in different locations, which is a bug.
    pub fn of(graphs: &[Graph]) -> LastingMemory {
        let mut memory = LastingMemory::default();
        for graph in graphs {
            for arena in Arena::ALL {
                memory.place_arena(graph, arena);
            }
            let values = graph.values.iter();
            for value in values.filter(|v| matches!(v.role, Role::External | Role::Output)) {
                let words = words(&value.shape);
                let region = memory.region(&value.name, words);
                memory.place(value, region, 0);
            }
        }
        memory
    }

    fn place_arena(&mut self, graph: &Graph, arena: Arena) {
        let (offsets, bytes) = graph.arena_offsets(arena);
        if offsets.is_empty() {
            return;
        }
        let words = usize::try_from(bytes / 4).unwrap_or(usize::MAX);
        let region = self.region(arena.name(), words);
        for (id, offset) in graph.arena(arena).into_iter().zip(offsets) {
            self.place(graph.value(id), region, offset as usize / 4);
        }
    }

    /// The region of this name, created if new and enlarged to `words`.
    fn region(&mut self, name: &str, words: usize) -> usize {
        let regions = &mut self.regions;
        let region = *self.region_of.entry(name.to_owned()).or_insert_with(|| {
            regions.push(Region {
                name: name.to_owned(),
                words: 0,
            });
            regions.len() - 1
        });
        let region_words = &mut regions[region].words;
        *region_words = words.max(*region_words);
        region
    }

    fn place(&mut self, value: &Value, region: usize, offset: usize) {
        let range = MemoryRange {
            region,
            offset,
            words: words(&value.shape),
        };
        let values = &mut self.values;
        let index = *self.value_of.entry(value.name.clone()).or_insert_with(|| {
            values.push(LastingValue {
                name: value.name.clone(),
                shape: value.shape.clone(),
                range,
            });
            values.len() - 1
        });
        let known = &mut values[index];
        assert_eq!(
            (known.range.region, known.range.offset),
            (region, offset),
            "graphs place {} in different locations",
            value.name
        );
        if known.range.words < range.words {
            known.shape = value.shape.clone();
            known.range = range;
        }
    }

    /// Bytes of all values, without the padding between them.
    pub fn bytes(&self) -> u64 {
        let values = self.values.iter();
        values.map(|value| 4 * value.range.words as u64).sum()
    }

    /// Index of the value with this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.value_of.get(name).copied()
    }

    /// The whole region of an arena, if any graph declares it.
    pub fn arena(&self, arena: Arena) -> Option<MemoryRange> {
        let region = *self.region_of.get(arena.name())?;
        Some(MemoryRange {
            region,
            offset: 0,
            words: self.regions[region].words,
        })
    }

    /// Location of each value of one of the graphs, with the size it has in that graph; `None`
    /// for temporary values.
    ///
    /// # Panics
    /// If the graph is not one of those laid out, which is a bug.
    pub fn ranges(&self, graph: &Graph) -> Vec<Option<MemoryRange>> {
        let range = |value: &Value| MemoryRange {
            words: words(&value.shape),
            ..self.values[self.value_of[&value.name]].range
        };
        let values = graph.values.iter();
        values
            .map(|value| (value.role != Role::Temporary).then(|| range(value)))
            .collect()
    }
}

impl Graph {
    /// Byte offset of each value of an arena, in order, and the size of the arena in bytes.
    pub fn arena_offsets(&self, arena: Arena) -> (Vec<u64>, u64) {
        offsets(self.arena(arena).into_iter().map(|id| self.shape(id)))
    }
}

/// Byte offset in an arena of each of its shapes, in order, and the size of the arena in bytes.
pub fn offsets<'a>(shapes: impl IntoIterator<Item = &'a Shape>) -> (Vec<u64>, u64) {
    let mut bytes = 0;
    let mut offsets = Vec::new();
    for shape in shapes {
        offsets.push(bytes);
        bytes += shape.bytes().next_multiple_of(ARENA_ALIGNMENT);
    }
    (offsets, bytes)
}

fn words(shape: &Shape) -> usize {
    // More than the address space of WebAssembly is refused before it is allocated.
    usize::try_from(shape.bytes() / 4).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arenas_are_aligned_and_others_as_large_as_the_largest_graph_needs() {
        let graph = |batch: usize| {
            let mut graph = Graph::new();
            graph.external("labels", Shape::indices(&[batch]));
            graph.kept("weight", Shape::weights([3, 3, 3, 5]), Arena::Parameters);
            graph.kept("bias", Shape::channels(&[5]), Arena::Parameters);
            graph
        };
        let graphs = [graph(2), graph(7)];
        let memory = LastingMemory::of(&graphs);
        // The weight has 9 taps of 4·8 stored words, 288 in all; offsets are multiples of 64.
        let region = |name: &str, words| Region {
            name: name.to_owned(),
            words,
        };
        let expected = [region("parameters", 320 + 64), region("labels", 7)];
        assert_eq!(memory.regions, expected);
        let range = |region, offset, words| MemoryRange {
            region,
            offset,
            words,
        };
        let find = |name| memory.values[memory.find(name).unwrap()].range;
        assert_eq!(find("bias"), range(0, 320, 8));
        assert_eq!(find("labels"), range(1, 0, 7));
        assert_eq!(memory.ranges(&graphs[0])[0], Some(range(1, 0, 2)));
        assert_eq!(memory.arena(Arena::Parameters), Some(range(0, 0, 384)));
        assert_eq!(memory.arena(Arena::Sums), None);
    }
}
