//! Whether the interpreter notices faults in kernels: mutants of `mutation.rs` must be caught, except
//! for those that `survivors.rs` lists with the reason.
//!
//! A mutant is caught by a report, or by a result that differs from the reference. A function that
//! several kernels import is changed in one of them; its barriers in all.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use pyr_wgpu::program::Kernel;

use crate::code::Code;
use crate::compile::compile;
use crate::host::{Limits, code_of};
use crate::mutation::{Kind, Mutant};
use crate::subjects::{Subject, stem, subjects};
use crate::survivors::SURVIVORS;

/// Share of the mutants that must be caught.
const LEAST_CAUGHT: f64 = 0.95;

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// naga refuses it.
    Invalid,
    Reported,
    /// Only the results were wrong.
    Differed,
    Survived,
}

/// A program that runs a kernel, with the number of its instructions.
struct Witness {
    subject: &'static Subject,
    steps: u64,
}

impl Witness {
    fn new(subject: &'static Subject) -> Witness {
        let steps = subject.run(&subject.codes(), &Limits::default()).steps;
        Witness { subject, steps }
    }

    /// `None` if the mutant changes nothing in the kernel of this stem.
    fn fate(&self, of: &str, mutant: &Mutant) -> Option<Fate> {
        let job = &self.subject.job;
        let mut codes: Vec<Arc<Code>> = Vec::new();
        let mut changed = false;
        for kernel in job.kernels() {
            let text = (stem(kernel) == of).then(|| mutant.apply(&kernel.source));
            codes.push(match text.flatten() {
                None => code_of(kernel, job.subgroup),
                Some(text) => {
                    changed = true;
                    match compile(&kernel.name, &text, job.subgroup) {
                        Ok(code) => Arc::new(code),
                        Err(_) => return Some(Fate::Invalid),
                    }
                }
            });
        }
        let limits = Limits {
            ends_at_first: true,
            most_steps: Some(4 * self.steps + 100_000),
        };
        let verdict = changed.then(|| self.subject.run(&codes, &limits))?;
        Some(match (verdict.report.is_empty(), verdict.difference) {
            (false, _) => Fate::Reported,
            (true, Some(_)) => Fate::Differed,
            (true, None) => Fate::Survived,
        })
    }
}

/// A kernel's name without the sizes of its tile: its file, flags and precision.
fn form(kernel: &Kernel) -> String {
    let is_kept = |word: &&str| !word.contains('=') || word.ends_with("=0") || word.ends_with("=1");
    let words = kernel.name.split(' ').filter(is_kept);
    words.collect::<Vec<_>>().join(" ")
}

/// For each stem, subjects that together have all forms of its kernel.
fn witnesses() -> BTreeMap<&'static str, Vec<&'static Subject>> {
    let mut forms: BTreeMap<(&str, String), Vec<&Subject>> = BTreeMap::new();
    for subject in subjects() {
        for kernel in subject.job.kernels() {
            let key = (stem(kernel), form(kernel));
            forms.entry(key).or_default().push(subject);
        }
    }
    let mut witnesses: BTreeMap<&str, Vec<&Subject>> = BTreeMap::new();
    for ((stem, _), mut users) in forms {
        // Programs of few dispatches, then of many operations, but not of the most.
        users.sort_by_key(|subject| (subject.job.dispatches().len() > 8, subject.job.flops()));
        let few = users.partition_point(|subject| subject.job.dispatches().len() <= 8);
        users.truncate(few.max(1));
        let last = users.len() - 1;
        let own = witnesses.entry(stem).or_default();
        own.extend([2 * last / 3, last].map(|number| users[number]));
        own.dedup_by_key(|subject| std::ptr::from_ref(*subject));
    }
    witnesses
}

/// The mutants of each stem.
fn mutants(
    witnesses: &BTreeMap<&'static str, Vec<&'static Subject>>,
) -> Vec<(&'static str, Vec<Mutant>)> {
    // The kernel with the most forms has the most mutants of what several import.
    let mut stems: Vec<&str> = witnesses.keys().copied().collect();
    stems.sort_by_key(|stem| std::cmp::Reverse(witnesses[stem].len()));
    let mut seen = HashSet::new();
    let mut mutants = Vec::new();
    for of in stems {
        let kernels = witnesses[of].iter().flat_map(|subject| subject.job.kernels());
        let sources: BTreeSet<&str> = kernels
            .filter(|kernel| stem(kernel) == of)
            .map(|kernel| &*kernel.source)
            .collect();
        let mut own = Vec::new();
        for mutant in sources.into_iter().flat_map(Mutant::all) {
            let is_own = mutant.function == "main" || mutant.kind == Kind::Barrier;
            let key = (is_own.then_some(of), mutant.key());
            if seen.insert(key) {
                own.push(mutant);
            }
        }
        mutants.push((of, own));
    }
    mutants
}

#[test]
fn mutants_are_caught() {
    let subjects = witnesses();
    let [mut all, mut reported, mut differed] = [0, 0, 0];
    let mut survivors = BTreeSet::new();
    for (of, mutants) in mutants(&subjects) {
        let start = std::time::Instant::now();
        let mut witnesses: Vec<Witness> = subjects[of].iter().map(|s| Witness::new(s)).collect();
        let count = mutants.len();
        for mutant in mutants {
            let mut fate = Fate::Invalid;
            for number in 0..witnesses.len() {
                match witnesses[number].fate(of, &mutant) {
                    None | Some(Fate::Invalid) => continue,
                    Some(found) => fate = found,
                }
                if fate != Fate::Survived {
                    // It may catch the next one too.
                    witnesses[..=number].rotate_right(1);
                    break;
                }
            }
            all += u32::from(fate != Fate::Invalid);
            reported += u32::from(fate == Fate::Reported);
            differed += u32::from(fate == Fate::Differed);
            if fate == Fate::Survived {
                survivors.insert(format!("{of} {}: {} > {}", mutant.function, mutant.lines[0], mutant.lines[1]));
            }
        }
        println!("{of}: {count} mutants, {} witnesses, {:?}", witnesses.len(), start.elapsed());
    }
    let share = f64::from(reported + differed) / f64::from(all);
    println!("{reported} of {all} mutants reported, {differed} gave wrong results: {share:.3}");
    let listed = SURVIVORS.iter().map(|(mutant, _)| (*mutant).to_owned());
    let listed: BTreeSet<String> = listed.collect();
    let unlisted: Vec<&String> = survivors.difference(&listed).collect();
    let caught: Vec<&String> = listed.difference(&survivors).collect();
    assert!(unlisted.is_empty(), "survived: {unlisted:#?}");
    assert!(caught.is_empty(), "listed as survivors, but caught: {caught:#?}");
    assert!(share >= LEAST_CAUGHT, "{share}");
}
