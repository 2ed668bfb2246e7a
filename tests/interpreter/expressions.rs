//! From naga's IR to the flat form: expressions. `arithmetic.rs` and `accesses.rs` compute them.

use naga::{Expression, Handle, Literal, RelationalFunction, Scalar, TypeInner};

use crate::arithmetic::{component, joined};
use crate::code::Op;
use crate::compile::{Compiler, Instance, Operand, Pointer, Root, Value};
use crate::scalars;

impl<'a> Compiler<'a> {
    pub(crate) fn operand(
        &mut self,
        instance: &mut Instance<'a>,
        handle: Handle<Expression>,
    ) -> Operand {
        if let Some(operand) = &instance.operands[handle.index()] {
            return operand.clone();
        }
        let operand = self.expression(instance, handle);
        instance.operands[handle.index()] = Some(operand.clone());
        operand
    }

    pub(crate) fn value(
        &mut self,
        instance: &mut Instance<'a>,
        handle: Handle<Expression>,
    ) -> Value {
        match self.operand(instance, handle) {
            Operand::Value(value) => value,
            Operand::Pointer(_) => panic!("a pointer is no value"),
        }
    }

    pub(crate) fn pointer(
        &mut self,
        instance: &mut Instance<'a>,
        handle: Handle<Expression>,
    ) -> Pointer {
        match self.operand(instance, handle) {
            Operand::Pointer(pointer) => pointer,
            Operand::Value(_) => panic!("a value is no pointer"),
        }
    }

    pub(crate) fn type_of(
        &self,
        instance: &Instance<'a>,
        handle: Handle<Expression>,
    ) -> &'a TypeInner {
        instance.info[handle].ty.inner_with(&self.module.types)
    }

    pub(crate) fn scalar_of(&self, instance: &Instance<'a>, handle: Handle<Expression>) -> Scalar {
        let ty = self.type_of(instance, handle);
        let scalar = match *ty {
            TypeInner::Matrix { scalar, .. } => Some(scalar),
            _ => ty.scalar(),
        };
        scalar.unwrap_or_else(|| panic!("{ty:?} has no scalars"))
    }

    /// A literal as words.
    fn literal(&mut self, literal: Literal) -> Value {
        let words = match literal {
            Literal::F32(value) => vec![value.to_bits()],
            Literal::F16(value) => vec![f32::from(value).to_bits()],
            Literal::U32(value) => vec![value],
            Literal::I32(value) => vec![value as u32],
            Literal::Bool(value) => vec![u32::from(value)],
            Literal::U64(value) => vec![value as u32, (value >> 32) as u32],
            other => panic!("no kernel has the literal {other:?}"),
        };
        let slots = words.into_iter().map(|word| self.constant(word));
        Value {
            slots: slots.collect(),
            tainted: false,
        }
    }

    fn zero(&mut self, ty: &TypeInner) -> Value {
        let zero = self.constant(0);
        Value {
            slots: (0..self.layouts.width(ty)).map(|_| zero).collect(),
            tainted: false,
        }
    }

    /// A constant of the module.
    fn global(&mut self, handle: Handle<Expression>) -> Value {
        let module = self.module;
        match &module.global_expressions[handle] {
            Expression::Literal(literal) => self.literal(*literal),
            Expression::Constant(constant) => self.global(module.constants[*constant].init),
            Expression::ZeroValue(ty) => self.zero(self.layouts.inner(*ty)),
            Expression::Compose { components, .. } => {
                let parts: Vec<Value> = components.iter().map(|part| self.global(*part)).collect();
                joined(&parts)
            }
            Expression::Splat { size, value } => {
                let value = self.global(*value);
                joined(&vec![value; *size as usize])
            }
            other => panic!("a constant is {other:?}"),
        }
    }

    pub(crate) fn expression(
        &mut self,
        instance: &mut Instance<'a>,
        handle: Handle<Expression>,
    ) -> Operand {
        let span = instance.function.expressions.get_span(handle);
        Operand::Value(match &instance.function.expressions[handle] {
            Expression::Literal(literal) => self.literal(*literal),
            Expression::Constant(constant) => self.global(self.module.constants[*constant].init),
            Expression::ZeroValue(ty) => self.zero(self.layouts.inner(*ty)),
            Expression::Compose { components, .. } => {
                let parts = components.iter().map(|part| self.value(instance, *part));
                joined(&parts.collect::<Vec<_>>())
            }
            Expression::Splat { size, value } => {
                let value = self.value(instance, *value);
                joined(&vec![value; *size as usize])
            }
            Expression::Swizzle {
                size,
                vector,
                pattern,
            } => {
                let vector = self.value(instance, *vector);
                let pattern = pattern[..*size as usize].iter();
                Value {
                    slots: pattern.map(|from| vector.slots[*from as usize]).collect(),
                    tainted: vector.tainted,
                }
            }
            Expression::AccessIndex { base, index } => match self.operand(instance, *base) {
                Operand::Pointer(pointer) => {
                    return Operand::Pointer(self.part_of(&pointer, *index));
                }
                Operand::Value(value) => {
                    let ty = self.type_of(instance, *base);
                    let part = self.layouts.part(ty, *index);
                    let from = part.slots as usize;
                    let width = self.layouts.width(&part.ty) as usize;
                    Value {
                        slots: value.slots[from..from + width].into(),
                        tainted: value.tainted,
                    }
                }
            },
            Expression::Access { base, index } => {
                let index = self.value(instance, *index);
                match self.operand(instance, *base) {
                    Operand::Pointer(pointer) => {
                        return Operand::Pointer(self.element_of(&pointer, &index, span));
                    }
                    Operand::Value(value) => {
                        let ty = self.type_of(instance, *base);
                        self.element(&value, ty, &index, span)
                    }
                }
            }
            Expression::FunctionArgument(number) => {
                return instance.arguments[*number as usize].clone();
            }
            Expression::LocalVariable(variable) => {
                return Operand::Pointer(instance.locals[variable.index()].clone());
            }
            Expression::GlobalVariable(variable) => {
                let ty = self
                    .layouts
                    .inner(self.module.global_variables[*variable].ty);
                return Operand::Pointer(Pointer {
                    root: Root::Memory(self.globals[variable]),
                    ty: ty.clone(),
                    fixed: 0,
                    dynamic: None,
                    tainted: false,
                    vector: None,
                });
            }
            Expression::Load { pointer } => {
                let pointer = self.pointer(instance, *pointer);
                self.load(&pointer, span)
            }
            Expression::Unary { op, expr } => {
                let kind = self.scalar_of(instance, *expr).kind;
                let map = scalars::unary(*op, kind);
                let map = map.unwrap_or_else(|| panic!("no kernel has {op:?} of {kind:?}"));
                let value = self.value(instance, *expr);
                self.each1(map, &value)
            }
            Expression::Binary { op, left, right } => {
                let scalar = self.scalar_of(instance, *left);
                let types = [*left, *right].map(|side| self.type_of(instance, side));
                if let [TypeInner::Matrix { rows, .. }, TypeInner::Vector { .. }] = types {
                    let rows = *rows as usize;
                    let sides = [*left, *right].map(|side| self.value(instance, side));
                    return Operand::Value(self.matrix_product(rows, &sides));
                }
                let [left, right] = [*left, *right].map(|side| self.value(instance, side));
                self.binary(*op, scalar, &left, &right)
            }
            Expression::Select {
                condition,
                accept,
                reject,
            } => {
                let sides = [*condition, *accept, *reject];
                let [condition, accept, reject] = sides.map(|side| self.value(instance, side));
                let slots = (0..accept.slots.len()).map(|at| {
                    let of = [
                        component(&condition, at),
                        accept.slots[at],
                        reject.slots[at],
                    ];
                    let result = self.fresh();
                    self.emit(Op::Map3(scalars::SELECT, result, of));
                    result
                });
                Value {
                    slots: slots.collect(),
                    tainted: condition.tainted || accept.tainted || reject.tainted,
                }
            }
            Expression::Relational { fun, argument } => {
                let value = self.value(instance, *argument);
                let map = match fun {
                    RelationalFunction::All => scalars::AND,
                    RelationalFunction::Any => scalars::OR,
                    other => panic!("no kernel has {other:?}"),
                };
                Value {
                    slots: [self.fold(map, &value.slots)].into(),
                    tainted: value.tainted,
                }
            }
            Expression::Math {
                fun,
                arg,
                arg1,
                arg2,
                ..
            } => {
                let ty = self.type_of(instance, *arg);
                let kind = self.scalar_of(instance, *arg).kind;
                let operands = [Some(*arg), *arg1, *arg2].into_iter().flatten();
                let operands = operands.map(|operand| self.value(instance, operand));
                let operands: Vec<Value> = operands.collect();
                self.math(*fun, ty, kind, &operands)
            }
            Expression::As {
                expr,
                kind,
                convert,
            } => {
                let from = self.scalar_of(instance, *expr);
                let value = self.value(instance, *expr);
                match convert {
                    None => value,
                    Some(width) => {
                        let to = Scalar {
                            kind: *kind,
                            width: *width,
                        };
                        self.convert(&value, from, to)
                    }
                }
            }
            Expression::ArrayLength(pointer) => {
                let pointer = self.pointer(instance, *pointer);
                let (element, _) = self.layouts.elements(&pointer.ty);
                let result = self.fresh();
                let limit = self.limit(&pointer, None, element.bytes);
                self.emit(Op::ArrayLength { result, limit });
                Value {
                    slots: [result].into(),
                    tainted: false,
                }
            }
            Expression::CooperativeLoad { rows, data, .. } => {
                let width = self.layouts.width(self.type_of(instance, handle));
                let results = self.fresh_many(width);
                let (pointer, address, stride) = self.matrix(instance, data);
                let line = self.line(span);
                self.note(pointer.tainted, line);
                let tainted = self.is_tainted_in(&pointer);
                self.emit(Op::MatrixLoad {
                    extent: *rows as u32,
                    results: results.to_vec(),
                    address,
                    stride,
                    row_major: data.row_major,
                    line,
                });
                Value {
                    slots: results,
                    tainted,
                }
            }
            Expression::CooperativeMultiplyAdd { a, b, c } => {
                let TypeInner::CooperativeMatrix { rows, .. } = self.type_of(instance, *c) else {
                    panic!("a sum of products is a matrix");
                };
                let operands = [*a, *b, *c].map(|operand| self.value(instance, operand));
                let results = self.fresh_many(operands[2].slots.len() as u32);
                let line = self.line(span);
                self.note(false, line);
                self.emit(Op::MatrixMultiplyAdd {
                    extent: *rows as u32,
                    results: results.to_vec(),
                    operands: operands.each_ref().map(|operand| operand.slots.to_vec()),
                    line,
                });
                Value {
                    slots: results,
                    tainted: operands.iter().any(|operand| operand.tainted),
                }
            }
            other => panic!("no kernel has the expression {other:?}"),
        })
    }
}
