//! From naga's IR to the flat form: pointers, loads and stores.

use std::rc::Rc;

use naga::{Span, TypeInner};

use crate::code::{Address, Limit, Line, MemoryId, Op, Slot, Space};
use crate::compile::{Compiler, Origin, Pointer, Root, Value};
use crate::scalars;

impl Compiler<'_> {
    /// Cells or registers of a part.
    pub(crate) fn units(&self, root: Root, slots: u32, bytes: u32) -> u32 {
        match root {
            Root::Local(..) => slots,
            Root::Memory(memory) => bytes / self.memories[memory].granule,
        }
    }

    pub(crate) fn part_of(&self, pointer: &Pointer, index: u32) -> Pointer {
        let part = self.layouts.part(&pointer.ty, index);
        Pointer {
            fixed: pointer.fixed + self.units(pointer.root, part.slots, part.bytes),
            ty: part.ty,
            vector: vector_of(pointer),
            ..pointer.clone()
        }
    }

    /// The number of elements behind a pointer, which are so many bytes long.
    pub(crate) fn limit(&self, pointer: &Pointer, count: Option<u32>, bytes: u32) -> Limit {
        match (count, pointer.root) {
            (Some(count), _) => Limit::Fixed(count),
            (None, Root::Memory(memory)) => Limit::Runtime {
                memory,
                start: pointer.fixed,
                stride: bytes / self.memories[memory].granule,
            },
            (None, Root::Local(..)) => panic!("a variable has a size"),
        }
    }

    pub(crate) fn element_of(&mut self, pointer: &Pointer, index: &Value, span: Span) -> Pointer {
        let (element, count) = self.layouts.elements(&pointer.ty);
        let result = self.fresh();
        let name = match pointer.root {
            Root::Memory(memory) => self.memories[memory].name.as_str().into(),
            Root::Local(..) => "a variable".into(),
        };
        let line = self.line(span);
        self.emit(Op::Index {
            result,
            index: index.slots[0],
            base: pointer.dynamic,
            stride: self.units(pointer.root, element.slots, element.bytes),
            limit: self.limit(pointer, count, element.bytes),
            of: name,
            line,
        });
        Pointer {
            root: pointer.root,
            ty: element.ty,
            fixed: pointer.fixed,
            dynamic: Some(result),
            tainted: pointer.tainted || index.tainted,
            vector: vector_of(pointer),
        }
    }

    /// An element of a value.
    pub(crate) fn element(
        &mut self,
        value: &Value,
        ty: &TypeInner,
        index: &Value,
        span: Span,
    ) -> Value {
        let (element, count) = self.layouts.elements(ty);
        let line = self.line(span);
        if index.tainted {
            self.note(true, line);
        }
        let clamped = self.fresh();
        self.emit(Op::Index {
            result: clamped,
            index: index.slots[0],
            base: None,
            stride: 1,
            limit: Limit::Fixed(count.expect("a value has a size")),
            of: "a value".into(),
            line,
        });
        let width = element.slots as usize;
        let slots = (0..width).map(|at| {
            let result = self.fresh();
            let list = value.slots.iter().copied().skip(at).step_by(width);
            self.emit(Op::Pick {
                result,
                list: list.collect(),
                index: clamped,
            });
            result
        });
        Value {
            slots: slots.collect(),
            tainted: value.tainted || index.tainted,
        }
    }

    pub(crate) fn address(&self, pointer: &Pointer, memory: MemoryId) -> Address {
        Address {
            memory,
            fixed: pointer.fixed,
            dynamic: pointer.dynamic,
        }
    }

    /// The distances in cells from a pointer to the words of a value, with their registers.
    pub(crate) fn cells(
        &self,
        pointer: &Pointer,
        memory: MemoryId,
        slots: &[Slot],
    ) -> Box<[(u32, Slot)]> {
        let granule = self.memories[memory].granule;
        let words = self.layouts.words(&pointer.ty).into_iter();
        let cells = words.map(|bytes| bytes / granule);
        cells.zip(slots.iter().copied()).collect()
    }

    /// Whether what a pointer points to depends on the contents of storage buffers.
    pub(crate) fn is_tainted_in(&self, pointer: &Pointer) -> bool {
        let contents = match pointer.root {
            Root::Local(_, origin) => self.is_tainted(origin),
            Root::Memory(memory) => match self.memories[memory].space {
                Space::Uniform => false,
                Space::Workgroup => self.is_tainted(Origin::Memory(memory)),
                Space::Storage(_) => true,
            },
        };
        contents || pointer.tainted
    }

    pub(crate) fn load(&mut self, pointer: &Pointer, span: Span) -> Value {
        let slots = self.fresh_many(self.layouts.width(&pointer.ty));
        let tainted = self.is_tainted_in(pointer);
        match (pointer.root, pointer.dynamic) {
            (Root::Local(base, _), None) => {
                for (from, to) in (base + pointer.fixed..).zip(slots.iter()) {
                    self.emit(Op::Map1(scalars::COPY, *to, from));
                }
            }
            (Root::Local(base, _), Some(offset)) => {
                if pointer.tainted {
                    let line = self.line(span);
                    self.note(true, line);
                }
                for (base, result) in (base + pointer.fixed..).zip(slots.iter()) {
                    self.emit(Op::LoadLocal {
                        result: *result,
                        base,
                        offset,
                    });
                }
            }
            (Root::Memory(memory), _) => {
                let line = self.line(span);
                if self.memories[memory].space != Space::Uniform {
                    self.note(pointer.tainted, line);
                    self.beside(pointer, memory, false, line);
                }
                self.emit(Op::Load {
                    address: self.address(pointer, memory),
                    cells: self.cells(pointer, memory, &slots),
                    atomic: matches!(pointer.ty, TypeInner::Atomic(_)),
                    line,
                });
            }
        }
        Value { slots, tainted }
    }

    pub(crate) fn store(&mut self, pointer: &Pointer, value: &Value, span: Span) {
        let tainted = value.tainted || pointer.tainted || self.is_controlled();
        match (pointer.root, pointer.dynamic) {
            (Root::Local(base, origin), dynamic) => {
                if tainted {
                    self.taint(origin);
                }
                if pointer.tainted {
                    let line = self.line(span);
                    self.note(true, line);
                }
                for (to, value) in (base + pointer.fixed..).zip(value.slots.iter()) {
                    self.emit(match dynamic {
                        None => Op::Assign(to, *value),
                        Some(offset) => Op::StoreLocal {
                            base: to,
                            offset,
                            value: *value,
                        },
                    });
                }
            }
            (Root::Memory(memory), _) => {
                let line = self.line(span);
                self.note(pointer.tainted, line);
                if tainted {
                    self.taint(Origin::Memory(memory));
                }
                self.beside(pointer, memory, true, line);
                self.emit(Op::Store {
                    address: self.address(pointer, memory),
                    cells: self.cells(pointer, memory, &value.slots),
                    atomic: matches!(pointer.ty, TypeInner::Atomic(_)),
                    line,
                });
            }
        }
    }

    /// Accesses the vector of which a pointer is a component.
    pub(crate) fn beside(&mut self, pointer: &Pointer, memory: MemoryId, write: bool, line: Line) {
        let Some(vector) = &pointer.vector else {
            return;
        };
        let words = self.layouts.words(&vector.ty).into_iter();
        let granule = self.memories[memory].granule;
        self.emit(Op::Beside {
            address: self.address(vector, memory),
            cells: words.map(|bytes| bytes / granule).collect(),
            write,
            line,
        });
    }
}

/// The vector of which a part of what a pointer points to is a component.
fn vector_of(pointer: &Pointer) -> Option<Rc<Pointer>> {
    let is_shared = matches!(pointer.root, Root::Memory(_));
    let is_vector = matches!(pointer.ty, TypeInner::Vector { .. });
    (is_shared && is_vector).then(|| Rc::new(pointer.clone()))
}
