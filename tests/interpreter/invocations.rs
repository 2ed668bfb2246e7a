//! From naga's IR to the flat form: statements by which invocations exchange values.

use naga::{
    AtomicFunction, CooperativeData, Expression, GatherMode, Handle, ScalarKind, Span, Statement,
    TypeInner,
};

use crate::code::{Address, Op, Shuffle, Slot};
use crate::compile::{Compiler, Instance, Operand, Origin, Pointer, Root, Value};
use crate::layout::scalar_slots;

impl<'a> Compiler<'a> {
    /// Where a matrix is in memory, with the distance of its rows or columns in elements.
    pub(crate) fn matrix(
        &mut self,
        instance: &mut Instance<'a>,
        data: &CooperativeData,
    ) -> (Pointer, Address, Slot) {
        let pointer = self.pointer(instance, data.pointer);
        let Root::Memory(memory) = pointer.root else {
            panic!("a matrix in a variable of a function");
        };
        let stride = self.value(instance, data.stride);
        let address = self.address(&pointer, memory);
        let pointer = Pointer {
            tainted: pointer.tainted || stride.tainted,
            ..pointer
        };
        (pointer, address, stride.slots[0])
    }

    /// Statements on shared memory and among invocations, other than loads, stores and barriers.
    pub(crate) fn shared(
        &mut self,
        instance: &mut Instance<'a>,
        statement: &'a Statement,
        span: Span,
    ) {
        let line = self.line(span);
        match statement {
            Statement::Atomic {
                pointer,
                fun,
                value,
                result,
            } => {
                let signed = self.scalar_of(instance, *value).kind == ScalarKind::Sint;
                let pointer = self.pointer(instance, *pointer);
                let value = self.value(instance, *value);
                let Root::Memory(memory) = pointer.root else {
                    panic!("an atomic in a variable of a function");
                };
                let compare = match fun {
                    AtomicFunction::Exchange { compare } => *compare,
                    _ => None,
                };
                let compare = compare.map(|compare| self.value(instance, compare));
                self.note(pointer.tainted, line);
                let tainted = value.tainted || pointer.tainted || self.is_controlled();
                if tainted || compare.as_ref().is_some_and(|compare| compare.tainted) {
                    self.taint(Origin::Memory(memory));
                }
                // naga keeps a result that nothing reads.
                let result = result.filter(|result| is_used(instance, *result));
                let slots = result.map(|_| [self.fresh(), self.fresh()]);
                self.emit(Op::Atomic {
                    address: self.address(&pointer, memory),
                    function: *fun,
                    signed,
                    value: value.slots[0],
                    compare: compare.map(|compare| compare.slots[0]),
                    result: slots,
                    line,
                });
                if let Some((result, slots)) = result.zip(slots) {
                    let width = self.layouts.width(self.type_of(instance, result));
                    let value = Value {
                        slots: slots[..width as usize].into(),
                        tainted: self.is_tainted_in(&pointer),
                    };
                    instance.operands[result.index()] = Some(Operand::Value(value));
                }
            }
            Statement::SubgroupGather {
                mode,
                argument,
                result,
            } => {
                let values = self.value(instance, *argument);
                let index = match mode {
                    GatherMode::BroadcastFirst => None,
                    GatherMode::Broadcast(index)
                    | GatherMode::Shuffle(index)
                    | GatherMode::ShuffleDown(index)
                    | GatherMode::ShuffleUp(index)
                    | GatherMode::ShuffleXor(index) => Some(self.value(instance, *index)),
                    other => panic!("no kernel has {other:?}"),
                };
                let from = index.as_ref().map_or(0, |index| index.slots[0]);
                let mode = match mode {
                    GatherMode::BroadcastFirst => Shuffle::First,
                    GatherMode::ShuffleDown(_) => Shuffle::Down(from),
                    GatherMode::ShuffleUp(_) => Shuffle::Up(from),
                    GatherMode::ShuffleXor(_) => Shuffle::Xor(from),
                    _ => Shuffle::Index(from),
                };
                let index_tainted = index.is_some_and(|index| index.tainted);
                self.note(index_tainted, line);
                let results = self.fresh_many(values.slots.len() as u32);
                self.emit(Op::Shuffle {
                    mode,
                    results: results.to_vec(),
                    values: values.slots.to_vec(),
                    line,
                });
                instance.operands[result.index()] = Some(Operand::Value(Value {
                    slots: results,
                    tainted: values.tainted || index_tainted,
                }));
            }
            Statement::SubgroupCollectiveOperation {
                op,
                collective_op,
                argument,
                result,
            } => {
                let scalar = self.scalar_of(instance, *argument);
                assert!(scalar_slots(scalar) == 1, "no kernel reduces {scalar:?}");
                let values = self.value(instance, *argument);
                let results = self.fresh_many(values.slots.len() as u32);
                self.note(false, line);
                self.emit(Op::Collective {
                    operation: *op,
                    scan: *collective_op,
                    kind: scalar.kind,
                    results: results.to_vec(),
                    values: values.slots.to_vec(),
                    line,
                });
                instance.operands[result.index()] = Some(Operand::Value(Value {
                    slots: results,
                    tainted: values.tainted,
                }));
            }
            Statement::CooperativeStore { target, data } => {
                let TypeInner::CooperativeMatrix { rows, .. } = self.type_of(instance, *target)
                else {
                    panic!("only a matrix is stored as one");
                };
                let values = self.value(instance, *target);
                let (pointer, address, stride) = self.matrix(instance, data);
                self.note(pointer.tainted, line);
                if values.tainted || pointer.tainted || self.is_controlled() {
                    self.taint(Origin::Memory(address.memory));
                }
                self.emit(Op::MatrixStore {
                    extent: *rows as u32,
                    values: values.slots.to_vec(),
                    address,
                    stride,
                    row_major: data.row_major,
                    line,
                });
            }
            other => panic!("no kernel has the statement {other:?}"),
        }
    }
}

/// Whether an expression of a function uses another.
fn is_used(instance: &Instance<'_>, of: Handle<Expression>) -> bool {
    instance.info[of].ref_count > 0
}
