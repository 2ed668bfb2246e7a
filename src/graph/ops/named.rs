//! Operands and results by name.
//!
//! A node holds its operands and results as lists, which generic passes walk. Each operator
//! declares the meaning of the entries once, as the fields of a struct: `inputs` and `outputs`
//! turn a list of any type (values, shapes, tensors, bindings) into such a struct, and `list`
//! turns it back.

/// Operands of a normalisation besides its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormOperands<T> {
    /// Mean and variance [2, C].
    pub moments: T,
    /// Scale and shift [2, C].
    pub affine: T,
}

/// All operands of a normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormalizedOperands<T> {
    /// Activation [.., C].
    pub x: T,
    /// Mean and variance [2, C].
    pub moments: T,
    /// Scale and shift [2, C].
    pub affine: T,
}

/// Takes entries off a list, in order.
pub(super) struct Entries<'a, T> {
    list: std::slice::Iter<'a, T>,
}

impl<'a, T: Clone> Entries<'a, T> {
    pub(super) fn new(list: &'a [T]) -> Entries<'a, T> {
        Entries { list: list.iter() }
    }

    pub(super) fn one(&mut self) -> Option<T> {
        self.list.next().cloned()
    }

    pub(super) fn norm(&mut self) -> Option<NormOperands<T>> {
        Some(NormOperands {
            moments: self.one()?,
            affine: self.one()?,
        })
    }

    pub(super) fn normalized(&mut self) -> Option<NormalizedOperands<T>> {
        Some(NormalizedOperands {
            x: self.one()?,
            moments: self.one()?,
            affine: self.one()?,
        })
    }

    pub(super) fn many(&mut self, count: usize) -> Option<Vec<T>> {
        (0..count).map(|_| self.one()).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.as_slice().is_empty()
    }
}

/// Calls the closure of a field's declaration, whose parameter types are inferred from here.
pub(super) fn call<O, R>(op: &O, count: usize, form: impl Fn(&O, usize) -> R) -> R {
    form(op, count)
}

/// Declares the operands of an operator: a struct with one field for each, in order.
///
/// A plain field is one operand, and `pair` the two of [`NormOperands`]. `optional(f)` (one),
/// `norm(f)` (a pair) and `normalized(f)` ([`NormalizedOperands`]) are present if
/// `f(operator, length of the list)` is true; `many(f)` has as many operands as `f` returns.
macro_rules! inputs {
    ($($declaration:tt)*) => { named! { inputs try_inputs $($declaration)* } };
}

/// Declares the results of an operator that has several, like [`inputs`].
macro_rules! outputs {
    ($($declaration:tt)*) => { named! { outputs try_outputs $($declaration)* } };
}

macro_rules! named {
    ($method:ident $try_method:ident $(#[$meta:meta])* $name:ident of $op:ident {
        $($(#[$field_meta:meta])* $field:ident $(: $kind:ident $(($form:expr))?)?),* $(,)?
    }) => {
        $(#[$meta])*
        pub struct $name<T> {
            $($(#[$field_meta])* pub $field: named!(@type T $($kind)?),)*
        }

        impl<T> $name<T> {
            /// All entries, in the operator's order.
            pub fn list(self) -> Vec<T> {
                let mut list = Vec::new();
                self.put(&mut list);
                list
            }

            fn put(self, list: &mut Vec<T>) {
                $(named!(@put self.$field, list $(, $kind)?);)*
            }
        }

        impl $op {
            /// The entries of a list by name.
            ///
            /// # Panics
            /// If the length of the list does not fit the operator, which a graph's nodes exclude.
            pub fn $method<T: Clone>(&self, list: &[T]) -> $name<T> {
                let found = self.$try_method(list);
                found.unwrap_or_else(|reason| panic!("{self:?}: {reason}"))
            }

            fn $try_method<T: Clone>(&self, list: &[T]) -> Result<$name<T>, String> {
                let mut entries = super::named::Entries::new(list);
                let mut take = || {
                    Some($name {
                        $($field: named!(@take entries, self, list.len() $(, $kind $(, $form)?)?),)*
                    })
                };
                let named = take().filter(|_| entries.is_empty());
                named.ok_or_else(|| format!("wrong operand or result count: {}", list.len()))
            }
        }
    };
    (@type $t:ident) => { $t };
    (@type $t:ident optional) => { Option<$t> };
    (@type $t:ident pair) => { super::NormOperands<$t> };
    (@type $t:ident norm) => { Option<super::NormOperands<$t>> };
    (@type $t:ident normalized) => { Option<super::NormalizedOperands<$t>> };
    (@type $t:ident many) => { Vec<$t> };
    (@put $value:expr, $list:ident) => { $list.push($value) };
    (@put $value:expr, $list:ident, optional) => { $list.extend($value) };
    (@put $value:expr, $list:ident, pair) => { $list.extend([$value.moments, $value.affine]) };
    (@put $value:expr, $list:ident, norm) => {
        if let Some(norm) = $value {
            $list.extend([norm.moments, norm.affine]);
        }
    };
    (@put $value:expr, $list:ident, normalized) => {
        if let Some(norm) = $value {
            $list.extend([norm.x, norm.moments, norm.affine]);
        }
    };
    (@put $value:expr, $list:ident, many) => { $list.extend($value) };
    (@take $entries:ident, $op:expr, $count:expr) => { $entries.one()? };
    (@take $entries:ident, $op:expr, $count:expr, pair) => { $entries.norm()? };
    (@take $entries:ident, $op:expr, $count:expr, optional, $form:expr) => {
        match super::named::call($op, $count, $form) {
            true => Some($entries.one()?),
            false => None,
        }
    };
    (@take $entries:ident, $op:expr, $count:expr, norm, $form:expr) => {
        match super::named::call($op, $count, $form) {
            true => Some($entries.norm()?),
            false => None,
        }
    };
    (@take $entries:ident, $op:expr, $count:expr, normalized, $form:expr) => {
        match super::named::call($op, $count, $form) {
            true => Some($entries.normalized()?),
            false => None,
        }
    };
    (@take $entries:ident, $op:expr, $count:expr, many, $form:expr) => {
        $entries.many(super::named::call($op, $count, $form))?
    };
}

pub(super) use {inputs, named, outputs};
