//! Whether the interpreter notices faults in kernels: mutants of `mutation.rs` must be caught, except
//! for those that `survivors.rs` lists with the reason.
//!
//! A mutant is caught by a report, or by a result that differs from the reference.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use pyr_wgpu::program::Kernel;

use crate::code::Code;
use crate::compile::compile;
use crate::host::{Options, code_of};
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
    two_rows: bool,
}

impl Witness {
    fn new(subject: &'static Subject, two_rows: bool) -> Witness {
        let options = Options {
            two_rows,
            ..Options::default()
        };
        let steps = subject.run(&subject.codes(), &options).steps;
        Witness {
            subject,
            steps,
            two_rows,
        }
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
        let options = Options {
            ends_at_first: true,
            most_steps: Some(4 * self.steps + 100_000),
            two_rows: self.two_rows,
        };
        let verdict = changed.then(|| self.subject.run(&codes, &options))?;
        Some(match (verdict.report.is_empty(), verdict.difference) {
            (false, _) => Fate::Reported,
            (true, Some(_)) => Fate::Differed,
            (true, None) => Fate::Survived,
        })
    }
}

/// Programs that are tried on the mutants of a convolution's kernel, and of another one, if it has as
/// many.
const WITNESSES: [usize; 2] = [12, 48];

/// How many of them are tried in two rows of workgroups too.
const ROWS: usize = 3;

/// A kernel's name without sizes: its file, flags and precision. Without fused operations, of matrices
/// also the numbers and sizes of the subgroups.
fn form(kernel: &Kernel, subgroup: u32) -> String {
    let flags = [
        "NORMALIZE_INPUT=1",
        "NORMALIZE_OUTPUT=1",
        "MOMENTS=1",
        "REDUCE=1",
    ];
    let is_fused = kernel.name.split(' ').any(|word| flags.contains(&word));
    let by_subgroups = kernel.needs.matrices && !is_fused;
    let is_kept = |word: &&str| match word.split_once('=') {
        Some((name, _)) if name.ends_with("SUBGROUPS") => by_subgroups,
        Some((_, value)) => ["0", "1"].contains(&value),
        None => *word != "wide",
    };
    let words = kernel.name.split(' ').filter(is_kept);
    let mut form = words.collect::<Vec<_>>().join(" ");
    if by_subgroups {
        form += &format!(" {subgroup}");
    }
    form
}

/// For each stem, subjects with all forms of its kernel, of several sizes, and ragged ones.
fn witnesses() -> BTreeMap<&'static str, Vec<&'static Subject>> {
    let mut stems: BTreeMap<&str, BTreeMap<String, Vec<&Subject>>> = BTreeMap::new();
    for subject in subjects() {
        // Whole training steps take long, and other programs have the same kernels.
        let is_short = subject.job.dispatches().len() < 20;
        for kernel in subject.job.kernels().iter().filter(|_| is_short) {
            let forms = stems.entry(stem(kernel)).or_default();
            let form = form(kernel, subject.job.subgroup);
            forms.entry(form).or_default().push(subject);
        }
    }
    let chosen = stems.into_iter().map(|(stem, forms)| {
        let [of_convolution, of_other] = WITNESSES;
        let most = if stem.starts_with("conv2d") {
            of_convolution
        } else {
            of_other
        };
        let each = (most / forms.len()).max(1);
        let mut chosen = Vec::new();
        for mut users in forms.into_values() {
            users.sort_by_key(|subject| subject.job.workgroups());
            let (ragged, others): (Vec<&Subject>, Vec<&Subject>) =
                users.into_iter().partition(|subject| subject.is_ragged);
            chosen.extend(spread(&ragged, 4));
            chosen.extend(spread(&others, each));
        }
        (stem, chosen)
    });
    chosen.collect()
}

/// At most so many of a list, evenly spread, the last among them.
fn spread<T: Copy>(list: &[T], most: usize) -> impl Iterator<Item = T> {
    let count = most.min(list.len());
    (1..=count).map(move |step| list[list.len() * step / count - 1])
}

/// All mutants, each with the stems of the kernels in which it is tried.
///
/// A function that several kernels import is changed in one after another until one is caught, but
/// each kernel needs its own barriers.
fn mutants(
    witnesses: &BTreeMap<&'static str, Vec<&'static Subject>>,
) -> Vec<(Mutant, Vec<&'static str>)> {
    let mut numbers = HashMap::new();
    let mut mutants: Vec<(Mutant, Vec<&str>)> = Vec::new();
    for (of, subjects) in witnesses {
        let kernels = subjects.iter().flat_map(|subject| subject.job.kernels());
        let sources: BTreeSet<&str> = kernels
            .filter(|kernel| stem(kernel) == *of)
            .map(|kernel| &*kernel.source)
            .collect();
        for mutant in sources.into_iter().flat_map(Mutant::all) {
            let is_own = mutant.function == "main" || mutant.kind == Kind::Barrier;
            let key = (is_own.then_some(of), mutant.key());
            let number = *numbers.entry(key).or_insert(mutants.len());
            if number == mutants.len() {
                mutants.push((mutant, Vec::new()));
            }
            let stems = &mut mutants[number].1;
            if stems.last() != Some(of) {
                stems.push(of);
            }
        }
    }
    mutants
}

#[test]
fn mutants_are_caught() {
    let subjects = witnesses();
    let mut witnesses: BTreeMap<&str, Vec<Witness>> = BTreeMap::new();
    for (of, subjects) in &subjects {
        let mut own: Vec<Witness> = subjects.iter().map(|s| Witness::new(s, false)).collect();
        let rows = subjects.iter().filter(|subject| subject.job.has_rows());
        own.extend(rows.take(ROWS).map(|subject| Witness::new(subject, true)));
        own.sort_by_key(|witness| witness.steps);
        witnesses.insert(of, own);
    }
    let [mut all, mut reported, mut differed] = [0, 0, 0];
    let mut survivors = BTreeSet::new();
    for (mutant, stems) in mutants(&subjects) {
        let mut fate = Fate::Invalid;
        'tried: for of in &stems {
            let witnesses = witnesses.get_mut(of).expect("each stem has witnesses");
            for number in 0..witnesses.len() {
                match witnesses[number].fate(of, &mutant) {
                    None | Some(Fate::Invalid) => continue,
                    Some(found) => fate = found,
                }
                if fate != Fate::Survived {
                    // It may catch the next one too.
                    witnesses[..=number].rotate_right(1);
                    break 'tried;
                }
            }
        }
        all += u32::from(fate != Fate::Invalid);
        reported += u32::from(fate == Fate::Reported);
        differed += u32::from(fate == Fate::Differed);
        if fate == Fate::Survived {
            let Mutant {
                function, change, ..
            } = &mutant;
            survivors.insert(format!("{} {function}: {change}", stems[0]));
        }
    }
    let share = f64::from(reported + differed) / f64::from(all);
    println!("{reported} of {all} mutants reported, {differed} gave wrong results: {share:.3}");
    let listed = SURVIVORS.iter().map(|(mutant, _)| (*mutant).to_owned());
    let listed: BTreeSet<String> = listed.collect();
    let unlisted: Vec<&String> = survivors.difference(&listed).collect();
    let caught: Vec<&String> = listed.difference(&survivors).collect();
    assert!(unlisted.is_empty(), "survived: {unlisted:#?}");
    assert!(
        caught.is_empty(),
        "listed as survivors, but caught: {caught:#?}"
    );
    assert!(share >= LEAST_CAUGHT, "{share}");
}
