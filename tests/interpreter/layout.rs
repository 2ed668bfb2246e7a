//! How types of naga's IR lie in registers and in memory.

use naga::proc::Layouter;
use naga::{ArraySize, Handle, Module, Scalar, ScalarKind, Type, TypeInner};

/// Layouts of a module's types, for one size of subgroups.
pub(crate) struct Layouts<'a> {
    pub(crate) module: &'a Module,
    layouter: Layouter,
    subgroup: u32,
}

/// A part of a composite type, at a distance in registers and one in bytes.
pub(crate) struct Part {
    pub(crate) ty: TypeInner,
    pub(crate) slots: u32,
    pub(crate) bytes: u32,
}

impl<'a> Layouts<'a> {
    pub(crate) fn new(module: &'a Module, subgroup: u32) -> Layouts<'a> {
        let mut layouter = Layouter::default();
        layouter
            .update(module.to_ctx())
            .expect("the module is valid");
        Layouts {
            module,
            layouter,
            subgroup,
        }
    }

    pub(crate) fn inner(&self, ty: Handle<Type>) -> &'a TypeInner {
        &self.module.types[ty].inner
    }

    /// Registers of a value.
    pub(crate) fn width(&self, ty: &TypeInner) -> u32 {
        match ty {
            TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) => scalar_slots(*scalar),
            TypeInner::Vector { size, scalar } => *size as u32 * scalar_slots(*scalar),
            TypeInner::Matrix {
                columns,
                rows,
                scalar,
            } => *columns as u32 * *rows as u32 * scalar_slots(*scalar),
            // Elements are distributed over the subgroup, row after row.
            TypeInner::CooperativeMatrix { rows, columns, .. } => {
                (*rows as u32 * *columns as u32).div_ceil(self.subgroup)
            }
            TypeInner::Array {
                base,
                size: ArraySize::Constant(count),
                ..
            } => count.get() * self.width(self.inner(*base)),
            TypeInner::Struct { members, .. } => {
                let widths = members.iter().map(|m| self.width(self.inner(m.ty)));
                widths.sum()
            }
            other => panic!("no value has the type {other:?}"),
        }
    }

    /// Bytes of a type in memory, without padding at the end.
    pub(crate) fn bytes(&self, ty: Handle<Type>) -> u32 {
        self.layouter[ty].size
    }

    /// A part with a constant index.
    pub(crate) fn part(&self, ty: &TypeInner, index: u32) -> Part {
        if let TypeInner::Struct { members, .. } = ty {
            let before = &members[..index as usize];
            let widths = before.iter().map(|m| self.width(self.inner(m.ty)));
            let member = &members[index as usize];
            return Part {
                ty: self.inner(member.ty).clone(),
                slots: widths.sum(),
                bytes: member.offset,
            };
        }
        let (stride, _) = self.elements(ty);
        Part {
            slots: index * stride.slots,
            bytes: index * stride.bytes,
            ..stride
        }
    }

    /// The type of the elements of a vector, matrix or array, with the distances from one to the
    /// next, and their number; `None` for a run-time-sized array.
    pub(crate) fn elements(&self, ty: &TypeInner) -> (Part, Option<u32>) {
        match ty {
            TypeInner::Vector { size, scalar } => {
                let part = Part {
                    ty: TypeInner::Scalar(*scalar),
                    slots: scalar_slots(*scalar),
                    bytes: u32::from(scalar.width),
                };
                (part, Some(*size as u32))
            }
            TypeInner::Matrix {
                columns,
                rows,
                scalar,
            } => {
                let rows_in_memory = (*rows as u32).next_power_of_two();
                let part = Part {
                    ty: TypeInner::Vector {
                        size: *rows,
                        scalar: *scalar,
                    },
                    slots: *rows as u32 * scalar_slots(*scalar),
                    bytes: rows_in_memory * u32::from(scalar.width),
                };
                (part, Some(*columns as u32))
            }
            TypeInner::Array { base, size, stride } => {
                let inner = self.inner(*base);
                let part = Part {
                    ty: inner.clone(),
                    slots: self.width(inner),
                    bytes: *stride,
                };
                let count = match size {
                    ArraySize::Constant(count) => Some(count.get()),
                    ArraySize::Dynamic => None,
                    ArraySize::Pending(_) => panic!("an array's size is an override"),
                };
                (part, count)
            }
            other => panic!("{other:?} has no elements"),
        }
    }

    /// Bytes from the start of a value in memory to each of its words, in the order of registers.
    pub(crate) fn words(&self, ty: &TypeInner) -> Vec<u32> {
        let mut words = Vec::new();
        self.add_words(ty, 0, &mut words);
        words
    }

    fn add_words(&self, ty: &TypeInner, at: u32, words: &mut Vec<u32>) {
        match ty {
            TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) => {
                assert!(scalar.kind != ScalarKind::Bool, "a bool in shared memory");
                words.extend((0..scalar_slots(*scalar)).map(|word| at + 4 * word));
            }
            TypeInner::Struct { members, .. } => {
                for member in members {
                    self.add_words(self.inner(member.ty), at + member.offset, words);
                }
            }
            _ => {
                let (element, count) = self.elements(ty);
                for index in 0..count.expect("a value has a size") {
                    self.add_words(&element.ty, at + index * element.bytes, words);
                }
            }
        }
    }

    /// The smallest scalar in a type, in bytes.
    pub(crate) fn granule(&self, ty: &TypeInner) -> u32 {
        match ty {
            TypeInner::Scalar(s) | TypeInner::Atomic(s) => u32::from(s.width).min(4),
            TypeInner::Vector { scalar, .. } | TypeInner::Matrix { scalar, .. } => {
                u32::from(scalar.width).min(4)
            }
            TypeInner::Array { base, .. } => self.granule(self.inner(*base)),
            TypeInner::Struct { members, .. } => {
                let granules = members.iter().map(|m| self.granule(self.inner(m.ty)));
                granules.min().unwrap_or(4)
            }
            other => panic!("{other:?} in shared memory"),
        }
    }
}

/// Registers of a scalar: 64-bit numbers have two, the low word first.
pub(crate) fn scalar_slots(scalar: Scalar) -> u32 {
    if scalar.width == 8 { 2 } else { 1 }
}
