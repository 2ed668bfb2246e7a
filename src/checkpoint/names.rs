//! The prefixes that wrappers add to the names of a network's tensors.

use std::collections::BTreeMap;

/// What PyTorch's wrappers, and those around them, put before the names of a network's tensors:
/// `DataParallel`, `torch.compile`, Lightning, averaged weights, and dictionaries that are saved flat.
const PREFIXES: [&str; 5] = ["module.", "_orig_mod.", "model.", "ema.", "state_dict."];

/// The prefix that most names have, put together from [`PREFIXES`]; empty if most have none.
pub(super) fn shared_prefix<'a>(names: &[&'a str]) -> &'a str {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        let mut rest = *name;
        while let Some(shorter) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
            rest = shorter;
        }
        *counts.entry(&name[..name.len() - rest.len()]).or_default() += 1;
    }
    let most = counts
        .iter()
        .max_by_key(|(prefix, count)| (**count, prefix.len()));
    most.map_or("", |(prefix, _)| prefix)
}
