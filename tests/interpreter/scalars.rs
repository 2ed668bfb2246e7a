//! Arithmetic on 32-bit words, lane by lane: which function computes an operator of naga's IR.
//!
//! Booleans are 0 and 1. Halves are held as the equal `f32` and rounded by each conversion.

use half::f16;
use naga::{BinaryOperator, MathFunction, ScalarKind, UnaryOperator};

use crate::code::{Map1, Map2, Map3};

macro_rules! map1 {
    (|$a:ident| $value:expr) => {
        |out, a| {
            for (out, &$a) in out.iter_mut().zip(a) {
                *out = $value;
            }
        }
    };
}

macro_rules! map2 {
    (|$a:ident, $b:ident| $value:expr) => {
        |out, a, b| {
            for ((out, &$a), &$b) in out.iter_mut().zip(a).zip(b) {
                *out = $value;
            }
        }
    };
}

macro_rules! map3 {
    (|$a:ident, $b:ident, $c:ident| $value:expr) => {
        |out, a, b, c| {
            for (((out, &$a), &$b), &$c) in out.iter_mut().zip(a).zip(b).zip(c) {
                *out = $value;
            }
        }
    };
}

fn float(word: u32) -> f32 {
    f32::from_bits(word)
}

fn rounded_to_half(value: f32) -> f32 {
    f32::from(f16::from_f32(value))
}

pub(crate) const COPY: Map1 = map1!(|a| a);
pub(crate) const OR: Map2 = map2!(|a, b| a | b);
pub(crate) const AND: Map2 = map2!(|a, b| a & b);
pub(crate) const FMA: Map3 = map3!(|a, b, c| (float(a) * float(b) + float(c)).to_bits());
/// Condition, accepted, rejected.
pub(crate) const SELECT: Map3 = map3!(|a, b, c| if a != 0 { b } else { c });

pub(crate) fn unary(op: UnaryOperator, kind: ScalarKind) -> Option<Map1> {
    use ScalarKind::{Bool, Float, Sint, Uint};
    Some(match (op, kind) {
        (UnaryOperator::Negate, Float) => map1!(|a| (-float(a)).to_bits()),
        (UnaryOperator::Negate, Sint) => map1!(|a| a.wrapping_neg()),
        (UnaryOperator::LogicalNot, Bool) => map1!(|a| a ^ 1),
        (UnaryOperator::BitwiseNot, Sint | Uint) => map1!(|a| !a),
        _ => return None,
    })
}

pub(crate) fn binary(op: BinaryOperator, kind: ScalarKind) -> Option<Map2> {
    use BinaryOperator as Op;
    use ScalarKind::{Bool, Float, Sint, Uint};
    Some(match (op, kind) {
        (Op::Add, Float) => map2!(|a, b| (float(a) + float(b)).to_bits()),
        (Op::Subtract, Float) => map2!(|a, b| (float(a) - float(b)).to_bits()),
        (Op::Multiply, Float) => map2!(|a, b| (float(a) * float(b)).to_bits()),
        (Op::Divide, Float) => map2!(|a, b| (float(a) / float(b)).to_bits()),
        (Op::Modulo, Float) => map2!(|a, b| (float(a) % float(b)).to_bits()),
        (Op::Less, Float) => map2!(|a, b| u32::from(float(a) < float(b))),
        (Op::LessEqual, Float) => map2!(|a, b| u32::from(float(a) <= float(b))),
        (Op::Greater, Float) => map2!(|a, b| u32::from(float(a) > float(b))),
        (Op::GreaterEqual, Float) => map2!(|a, b| u32::from(float(a) >= float(b))),
        (Op::Equal, Float) => map2!(|a, b| u32::from(float(a) == float(b))),
        (Op::NotEqual, Float) => map2!(|a, b| u32::from(float(a) != float(b))),

        (Op::Add, Sint | Uint) => map2!(|a, b| a.wrapping_add(b)),
        (Op::Subtract, Sint | Uint) => map2!(|a, b| a.wrapping_sub(b)),
        (Op::Multiply, Sint | Uint) => map2!(|a, b| a.wrapping_mul(b)),
        // By zero: the dividend, and a remainder of zero.
        (Op::Divide, Uint) => map2!(|a, b| a.checked_div(b).unwrap_or(a)),
        (Op::Modulo, Uint) => map2!(|a, b| a.checked_rem(b).unwrap_or(0)),
        (Op::Divide, Sint) => {
            map2!(|a, b| (a as i32).checked_div(b as i32).unwrap_or(a as i32) as u32)
        }
        (Op::Modulo, Sint) => map2!(|a, b| (a as i32).checked_rem(b as i32).unwrap_or(0) as u32),
        (Op::Less, Uint) => map2!(|a, b| u32::from(a < b)),
        (Op::LessEqual, Uint) => map2!(|a, b| u32::from(a <= b)),
        (Op::Greater, Uint) => map2!(|a, b| u32::from(a > b)),
        (Op::GreaterEqual, Uint) => map2!(|a, b| u32::from(a >= b)),
        (Op::Less, Sint) => map2!(|a, b| u32::from((a as i32) < b as i32)),
        (Op::LessEqual, Sint) => map2!(|a, b| u32::from(a as i32 <= b as i32)),
        (Op::Greater, Sint) => map2!(|a, b| u32::from(a as i32 > b as i32)),
        (Op::GreaterEqual, Sint) => map2!(|a, b| u32::from(a as i32 >= b as i32)),

        (Op::Equal, _) => map2!(|a, b| u32::from(a == b)),
        (Op::NotEqual, _) => map2!(|a, b| u32::from(a != b)),
        (Op::And | Op::LogicalAnd, Sint | Uint | Bool) => AND,
        (Op::InclusiveOr | Op::LogicalOr, Sint | Uint | Bool) => OR,
        (Op::ExclusiveOr, Sint | Uint | Bool) => map2!(|a, b| a ^ b),
        (Op::ShiftLeft, Sint | Uint) => map2!(|a, b| a.wrapping_shl(b)),
        (Op::ShiftRight, Uint) => map2!(|a, b| a.wrapping_shr(b)),
        (Op::ShiftRight, Sint) => map2!(|a, b| (a as i32).wrapping_shr(b) as u32),
        _ => return None,
    })
}

/// Functions of one number.
pub(crate) fn math1(function: MathFunction, kind: ScalarKind) -> Option<Map1> {
    use MathFunction as Fun;
    use ScalarKind::{Float, Sint, Uint};
    Some(match (function, kind) {
        (Fun::Abs, Float) => map1!(|a| float(a).abs().to_bits()),
        (Fun::Abs, Sint) => map1!(|a| (a as i32).wrapping_abs() as u32),
        (Fun::Abs, Uint) => COPY,
        (Fun::Sqrt, Float) => map1!(|a| float(a).sqrt().to_bits()),
        (Fun::InverseSqrt, Float) => map1!(|a| (1.0 / float(a).sqrt()).to_bits()),
        (Fun::Exp, Float) => map1!(|a| float(a).exp().to_bits()),
        (Fun::Log, Float) => map1!(|a| float(a).ln().to_bits()),
        (Fun::Floor, Float) => map1!(|a| float(a).floor().to_bits()),
        (Fun::Ceil, Float) => map1!(|a| float(a).ceil().to_bits()),
        (Fun::Trunc, Float) => map1!(|a| float(a).trunc().to_bits()),
        (Fun::Round, Float) => map1!(|a| float(a).round_ties_even().to_bits()),
        (Fun::CountOneBits, Sint | Uint) => map1!(|a| a.count_ones()),
        (Fun::FirstLeadingBit, Uint) => map1!(|a| a.checked_ilog2().unwrap_or(u32::MAX)),
        _ => return None,
    })
}

/// Functions of two numbers.
pub(crate) fn math2(function: MathFunction, kind: ScalarKind) -> Option<Map2> {
    use MathFunction as Fun;
    use ScalarKind::{Float, Sint, Uint};
    Some(match (function, kind) {
        (Fun::Min, Float) => map2!(|a, b| float(a).min(float(b)).to_bits()),
        (Fun::Max, Float) => map2!(|a, b| float(a).max(float(b)).to_bits()),
        (Fun::Min, Uint) => map2!(|a, b| a.min(b)),
        (Fun::Max, Uint) => map2!(|a, b| a.max(b)),
        (Fun::Min, Sint) => map2!(|a, b| (a as i32).min(b as i32) as u32),
        (Fun::Max, Sint) => map2!(|a, b| (a as i32).max(b as i32) as u32),
        (Fun::Pow, Float) => map2!(|a, b| float(a).powf(float(b)).to_bits()),
        _ => return None,
    })
}

/// The halves of a word.
pub(crate) const UNPACK_HALVES: [Map1; 2] = [
    map1!(|a| f32::from(f16::from_bits(a as u16)).to_bits()),
    map1!(|a| f32::from(f16::from_bits((a >> 16) as u16)).to_bits()),
];

/// Conversion of a value; `None` where it needs more than one word or does not exist.
pub(crate) fn convert(from: ScalarKind, to: ScalarKind, to_half: bool) -> Option<Map1> {
    use ScalarKind::{Bool, Float, Sint, Uint};
    Some(match (from, to) {
        (Float, Float) if to_half => map1!(|a| rounded_to_half(float(a)).to_bits()),
        (Float, Float) | (Sint | Uint, Sint | Uint) | (Bool, Bool | Sint | Uint) => COPY,
        (_, Float) if to_half => return None,
        (Uint, Float) => map1!(|a| (a as f32).to_bits()),
        (Sint, Float) => map1!(|a| (a as i32 as f32).to_bits()),
        (Bool, Float) => map1!(|a| (a as f32).to_bits()),
        (Float, Uint) => map1!(|a| float(a) as u32),
        (Float, Sint) => map1!(|a| float(a) as i32 as u32),
        (Sint | Uint, Bool) => map1!(|a| u32::from(a != 0)),
        (Float, Bool) => map1!(|a| u32::from(float(a) != 0.0)),
        _ => return None,
    })
}
