//! From naga's IR to the flat form: arithmetic, component by component.

use std::rc::Rc;

use naga::{BinaryOperator, MathFunction, Scalar, ScalarKind, TypeInner};

use crate::code::{Map1, Map2, Op, Slot};
use crate::compile::{Compiler, Value};
use crate::scalars;

impl Compiler<'_> {
    pub(crate) fn map1(&mut self, map: Map1, a: Slot) -> Slot {
        let result = self.fresh();
        self.emit(Op::Map1(map, result, a));
        result
    }

    pub(crate) fn map2(&mut self, map: Map2, a: Slot, b: Slot) -> Slot {
        let result = self.fresh();
        self.emit(Op::Map2(map, result, [a, b]));
        result
    }

    /// A function of each component.
    pub(crate) fn each1(&mut self, map: Map1, a: &Value) -> Value {
        let slots = a.slots.iter().map(|slot| self.map1(map, *slot));
        Value {
            slots: slots.collect(),
            tainted: a.tainted,
        }
    }

    /// The same of two values, where a scalar stands for each component.
    pub(crate) fn each2(&mut self, map: Map2, a: &Value, b: &Value) -> Value {
        let count = a.slots.len().max(b.slots.len());
        let slots = (0..count).map(|at| self.map2(map, component(a, at), component(b, at)));
        Value {
            slots: slots.collect(),
            tainted: a.tainted || b.tainted,
        }
    }

    pub(crate) fn fold(&mut self, map: Map2, slots: &[Slot]) -> Slot {
        let rest = slots[1..].iter();
        rest.fold(slots[0], |all, slot| self.map2(map, all, *slot))
    }

    pub(crate) fn binary(
        &mut self,
        op: BinaryOperator,
        scalar: Scalar,
        a: &Value,
        b: &Value,
    ) -> Value {
        use BinaryOperator::{And, ExclusiveOr, InclusiveOr, ShiftLeft, ShiftRight};
        let tainted = a.tainted || b.tainted;
        if scalar.width == 8 && matches!(op, ShiftLeft | ShiftRight) {
            let mut slots = Vec::new();
            for (value, bits) in a.slots.chunks(2).zip(b.slots.iter()) {
                let result = [self.fresh(), self.fresh()];
                self.emit(Op::Shift64 {
                    left: op == ShiftLeft,
                    result,
                    value: [value[0], value[1]],
                    bits: *bits,
                });
                slots.extend(result);
            }
            let slots = slots.into();
            return Value { slots, tainted };
        }
        let by_words = scalar.width <= 4 || matches!(op, And | InclusiveOr | ExclusiveOr);
        let map = scalars::binary(op, scalar.kind).filter(|_| by_words);
        let map = map.unwrap_or_else(|| panic!("no kernel has {op:?} of {scalar:?}"));
        self.each2(map, a, b)
    }

    /// A matrix of so many rows times a vector.
    pub(crate) fn matrix_product(&mut self, rows: usize, [matrix, vector]: &[Value; 2]) -> Value {
        let zero = self.constant(0);
        let sums = (0..rows).map(|row| {
            let elements = matrix.slots.iter().skip(row).step_by(rows);
            let terms = elements.zip(vector.slots.iter());
            terms.fold(zero, |sum, (element, factor)| {
                let result = self.fresh();
                self.emit(Op::Map3(scalars::FMA, result, [*element, *factor, sum]));
                result
            })
        });
        Value {
            slots: sums.collect(),
            tainted: matrix.tainted || vector.tainted,
        }
    }

    pub(crate) fn math(
        &mut self,
        function: MathFunction,
        ty: &TypeInner,
        kind: ScalarKind,
        operands: &[Value],
    ) -> Value {
        let tainted = operands.iter().any(|operand| operand.tainted);
        match (function, operands) {
            (MathFunction::Dot, [a, b]) => {
                let pick = |op| known(scalars::binary(op, kind), function, kind);
                let products = self.each2(pick(BinaryOperator::Multiply), a, b);
                let sum = self.fold(pick(BinaryOperator::Add), &products.slots);
                let slots = [sum].into();
                Value { slots, tainted }
            }
            (MathFunction::Transpose, [a]) => {
                let TypeInner::Matrix { columns, rows, .. } = *ty else {
                    panic!("{ty:?} is no matrix");
                };
                let [columns, rows] = [columns as usize, rows as usize];
                let places = (0..rows).flat_map(|r| (0..columns).map(move |c| c * rows + r));
                let slots = places.map(|at| a.slots[at]).collect();
                Value { slots, tainted }
            }
            (MathFunction::Unpack2x16float, [a]) => {
                let halves = scalars::UNPACK_HALVES.map(|map| self.map1(map, a.slots[0]));
                let slots = halves.into();
                Value { slots, tainted }
            }
            (MathFunction::Fma, [a, b, c]) => {
                let slots = (0..a.slots.len()).map(|at| {
                    let result = self.fresh();
                    let of = [a.slots[at], b.slots[at], c.slots[at]];
                    self.emit(Op::Map3(scalars::FMA, result, of));
                    result
                });
                let slots = slots.collect();
                Value { slots, tainted }
            }
            (MathFunction::Clamp, [a, least, most]) => {
                let pick = |function| known(scalars::math2(function, kind), function, kind);
                let raised = self.each2(pick(MathFunction::Max), a, least);
                self.each2(pick(MathFunction::Min), &raised, most)
            }
            (_, [a]) => self.each1(known(scalars::math1(function, kind), function, kind), a),
            (_, [a, b]) => {
                let map = known(scalars::math2(function, kind), function, kind);
                self.each2(map, a, b)
            }
            _ => known(None, function, kind),
        }
    }

    pub(crate) fn convert(&mut self, value: &Value, from: Scalar, to: Scalar) -> Value {
        let tainted = value.tainted;
        let is_integer = |kind| matches!(kind, ScalarKind::Uint | ScalarKind::Sint);
        let slots: Rc<[Slot]> = match (from.width, to.width) {
            (4, 8) if from.kind == ScalarKind::Uint && is_integer(to.kind) => {
                let zero = self.constant(0);
                value.slots.iter().flat_map(|low| [*low, zero]).collect()
            }
            (8, 4) if is_integer(from.kind) && is_integer(to.kind) => {
                value.slots.iter().copied().step_by(2).collect()
            }
            (8, _) | (_, 8) => panic!("no kernel converts {from:?} to {to:?}"),
            _ => {
                let map = scalars::convert(from.kind, to.kind, to.width == 2);
                let map = map.unwrap_or_else(|| panic!("no kernel converts {from:?} to {to:?}"));
                return self.each1(map, value);
            }
        };
        Value { slots, tainted }
    }
}

/// The map of a function that the interpreter has.
fn known<T>(map: Option<T>, function: MathFunction, kind: ScalarKind) -> T {
    map.unwrap_or_else(|| panic!("no kernel has {function:?} of {kind:?}"))
}

pub(crate) fn component(value: &Value, at: usize) -> Slot {
    match value.slots.len() {
        1 => value.slots[0],
        _ => value.slots[at],
    }
}

pub(crate) fn joined(parts: &[Value]) -> Value {
    Value {
        slots: parts
            .iter()
            .flat_map(|part| part.slots.iter().copied())
            .collect(),
        tainted: parts.iter().any(|part| part.tainted),
    }
}
