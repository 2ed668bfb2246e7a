//! Mutants that change nothing that the interpreter could notice, with the reason.

/// Kernel, function, line before and after; and why it is harmless.
pub(crate) const SURVIVORS: &[(&str, &str)] = &[];
