//! What the interpreter runs: samples of all operators, in every variant of their kernels, for every
//! kind of device that lowering knows.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};

use pyr_wgpu::graph::interp::{self, Store};
use pyr_wgpu::graph::ops::{Conv2dGradWeight, Sample, Window};
use pyr_wgpu::graph::{Graph, Op, Passes, Precision, Tensor};
use pyr_wgpu::kernels::{Choices, MATRIX_NAMES, Target, probe};
use pyr_wgpu::program::{Dispatch, Kernel};
use pyr_wgpu::shape::Shape;
use pyr_wgpu::train::{Mode, step_graph};

use crate::code::Code;
use crate::common::networks::{images, tiny};
use crate::common::targets::{matrix_targets, targets};
use crate::host::{Job, Options, code_of};
use crate::report::Report;
use crate::samples::ragged;
use pyr_wgpu::selftest::{Case, Operands, Pair, RESULTS, images as store_images, pairs};
use pyr_wgpu::train::sample_operands;

/// Sizes of subgroups.
const SUBGROUPS: [u32; 3] = [4, 8, 16];

/// The size where kernels do not use subgroups.
const ANY_SUBGROUP: u32 = 32;

/// A program with its operands and the check of its results.
pub(crate) struct Subject {
    pub(crate) job: Job,
    /// Whether its shapes are of `samples.rs`.
    pub(crate) is_ragged: bool,
    choices: Choices,
    check: Check,
}

enum Check {
    Case(&'static Sample, Arc<Case>),
    Pair(&'static Sample, Arc<Pair>),
    /// Operands, and values that must result.
    Operands(Operands, Operands),
}

/// What a run of a subject has shown.
pub(crate) struct Verdict {
    pub(crate) report: Report,
    /// A difference from the reference.
    pub(crate) difference: Option<String>,
    pub(crate) steps: u64,
}

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        self.report.is_empty() && self.difference.is_none()
    }
}

impl Subject {
    /// The codes of its kernels.
    pub(crate) fn codes(&self) -> Vec<Arc<Code>> {
        let kernels = self.job.kernels().iter();
        kernels
            .map(|kernel| code_of(kernel, self.job.subgroup))
            .collect()
    }

    /// Runs it with these codes of its kernels.
    pub(crate) fn run(&self, codes: &[Arc<Code>], options: &Options) -> Verdict {
        let run = |operands: &Operands, results: &[String]| {
            self.job.run(codes, operands, results, options)
        };
        match &self.check {
            Check::Operands(operands, expected) => {
                let names = expected.iter().map(|(name, _)| name.clone());
                let outcome = run(operands, &names.collect::<Vec<_>>());
                let words = expected.iter().map(|(_, words)| words);
                let is_same = words.eq(&outcome.results);
                Verdict {
                    report: outcome.report,
                    difference: (!is_same).then(|| "the result differs".to_owned()),
                    steps: outcome.steps,
                }
            }
            Check::Case(sample, case) => {
                let outcome = run(&case.operands(), &case.results());
                let judge = || {
                    case.judge(sample, &self.choices, &outcome.results)
                        .err()
                        .map(|error| error.to_string())
                };
                Verdict {
                    difference: outcome.report.is_empty().then(judge).flatten(),
                    report: outcome.report,
                    steps: outcome.steps,
                }
            }
            Check::Pair(sample, pair) => {
                let results = RESULTS.map(str::to_owned);
                let [clean, poisoned] = pair.operands(sample);
                let clean = run(&clean, &results);
                let steps = clean.steps;
                if !clean.report.is_empty() {
                    return Verdict {
                        report: clean.report,
                        difference: None,
                        steps,
                    };
                }
                let poisoned = run(&poisoned, &results);
                let tensors = [&clean, &poisoned].map(|outcome| pair.tensors(&outcome.results));
                let judged = pair.judge(sample, &self.choices, tensors.each_ref());
                Verdict {
                    report: poisoned.report,
                    difference: judged.err().map(|error| error.to_string()),
                    steps,
                }
            }
        }
    }

    /// Whether accesses of a kernel depend on contents of buffers.
    fn is_dependent(&self) -> bool {
        self.codes().iter().any(|code| !code.dependences.is_empty())
    }

    /// What identifies the accesses of a dispatch whose kernel does not depend on data.
    fn shape_of(&self, dispatch: &Dispatch) -> String {
        let kernel = &self.job.kernels()[dispatch.kernel.0].name;
        let Dispatch {
            uniforms,
            bindings,
            grid,
            ..
        } = dispatch;
        let bytes: Vec<u64> = bindings.iter().map(|binding| binding.bytes).collect();
        format!(
            "{kernel} {} {uniforms:?} {bytes:?} {grid:?}",
            self.job.subgroup
        )
    }
}

/// The stem of a kernel's file.
pub(crate) fn stem(kernel: &Kernel) -> &str {
    kernel.name.split(' ').next().unwrap_or_default()
}

/// Each target with a size of its subgroups.
fn devices() -> Vec<(Target, u32)> {
    let plain = targets(&SUBGROUPS).into_iter();
    let plain = plain.map(|target| {
        let subgroup = target.subgroup_size.unwrap_or(ANY_SUBGROUP);
        (target, subgroup)
    });
    let matrices = matrix_targets().into_iter().flat_map(|target| {
        let [smallest, largest] = target.matrices[0].subgroup;
        let sizes: Vec<u32> = if smallest == largest {
            vec![smallest]
        } else {
            vec![smallest, largest]
        };
        sizes.into_iter().map(move |size| (target.clone(), size))
    });
    plain.chain(matrices).collect()
}

/// Subjects in which every kernel has a few shapes of the operators' samples, from small to large, and
/// the ragged ones; those whose accesses depend on contents of buffers have all shapes.
pub(crate) fn subjects() -> &'static [Subject] {
    static SUBJECTS: OnceLock<Vec<Subject>> = OnceLock::new();
    SUBJECTS.get_or_init(|| {
        static SAMPLES: OnceLock<[Vec<Sample>; 2]> = OnceLock::new();
        let [own, ragged] = SAMPLES.get_or_init(|| [Op::samples(), ragged()]);
        let samples = own.iter().chain(ragged);
        let devices = devices();
        let all = samples.flat_map(|sample| {
            let devices = devices.iter();
            devices.flat_map(move |(target, subgroup)| subjects_of(sample, target, *subgroup))
        });
        let others = steps().into_iter().chain(probes()).chain(pairs_of_sums());
        let mut subjects: Vec<Subject> = distinct(all).chain(others).collect();
        for subject in &mut subjects {
            subject.is_ragged = matches!(&subject.check, Check::Case(sample, _) | Check::Pair(sample, _)
                if ragged.as_ptr_range().contains(&std::ptr::from_ref(*sample)));
        }
        chosen(subjects)
    })
}

/// The subjects that have a dispatch that earlier ones do not have, or whose accesses depend on
/// contents of buffers.
fn distinct(subjects: impl Iterator<Item = Subject>) -> impl Iterator<Item = Subject> {
    let mut seen = HashSet::new();
    subjects.filter(move |subject| {
        let dispatches = subject.job.dispatches().iter();
        let shapes: Vec<String> = dispatches
            .map(|dispatch| subject.shape_of(dispatch))
            .collect();
        let is_new = shapes.iter().any(|shape| !seen.contains(shape));
        seen.extend(shapes);
        is_new || subject.is_dependent()
    })
}

/// Shapes of each kernel of the convolutions, which have many variants, unless they are fewer.
const SHAPES: usize = 2;

/// Floating-point operations of a subject, unless a kernel has only larger ones.
const MOST_FLOPS: u64 = 300_000;

fn chosen(mut subjects: Vec<Subject>) -> Vec<Subject> {
    subjects.sort_by_key(|subject| subject.job.flops());
    let mut users: BTreeMap<(&str, u32), Vec<usize>> = BTreeMap::new();
    let mut kept = BTreeSet::new();
    for (number, subject) in subjects.iter().enumerate() {
        let job = &subject.job;
        let kernels = job.kernels().iter();
        let convolutions: Vec<&Kernel> = kernels.filter(|kernel| is_convolution(kernel)).collect();
        // Of the sizes of subgroups and forms of storage, one each stands for the others.
        let stands = job.subgroup != 4 && !job.kernels().iter().any(|kernel| kernel.needs.int64);
        // Programs with operands of their own are few: all stay.
        let has_operands = matches!(subject.check, Check::Operands(..));
        if convolutions.is_empty()
            || has_operands
            || subject.is_dependent()
            || subject.is_ragged && stands
        {
            kept.insert(number);
        }
        for kernel in convolutions {
            let key = (kernel.name.as_str(), job.subgroup);
            users.entry(key).or_default().push(number);
        }
    }
    for mut numbers in users.into_values() {
        let small = numbers.partition_point(|number| subjects[*number].job.flops() <= MOST_FLOPS);
        numbers.truncate(small.max(1));
        let last = numbers.len() - 1;
        kept.extend((0..SHAPES).map(|step| numbers[last * step / (SHAPES - 1)]));
    }
    let mut number = 0..;
    subjects.retain(|_| kept.contains(&number.next().expect("numbers do not end")));
    subjects
}

fn is_convolution(kernel: &Kernel) -> bool {
    kernel.name.starts_with("conv2d")
}

/// The subjects of a sample on a target: its variants, in single and in half precision, and its
/// pairs. On targets with matrix units, only the variants that use them.
fn subjects_of(sample: &'static Sample, target: &Target, subgroup: u32) -> Vec<Subject> {
    let has_matrices = !target.matrices.is_empty();
    let wanted = |choices: &Choices| {
        let variant = choices.get("");
        variant.is_some_and(|name| MATRIX_NAMES.contains(&name)) == has_matrices
    };
    let mut subjects = Vec::new();
    let mut add = |graph: &Graph, choices: Choices, check: Check| {
        if wanted(&choices)
            && let Some(job) = Job::new(graph, target, &choices, subgroup)
        {
            subjects.push(Subject {
                job,
                is_ragged: false,
                choices,
                check,
            });
        }
    };
    let half = Case::half(&sample.op, &sample.inputs);
    for case in [Some(Case::new(&sample.op, &sample.inputs)), half]
        .into_iter()
        .flatten()
    {
        let case = Arc::new(case);
        for choices in case.variants_for(target) {
            add(
                case.graph(),
                choices,
                Check::Case(sample, Arc::clone(&case)),
            );
        }
    }
    for (pair, choices) in pairs(sample) {
        let pair = Arc::new(pair);
        add(
            pair.graph(),
            choices,
            Check::Pair(sample, Arc::clone(&pair)),
        );
    }
    subjects
}

/// Training steps of a small network, where kernels run over whole arenas.
fn steps() -> Vec<Subject> {
    let network = tiny();
    let input = images(&network, 7);
    let target = Target::portable();
    let precisions = [Precision::F32, Precision::F16].into_iter();
    let subjects = precisions.map(|precision| {
        let passes = Passes {
            precision,
            ..Passes::default()
        };
        let graph = step_graph(&network, 3, &input, Mode::Train, passes);
        let graph = graph.unwrap_or_else(|e| panic!("{e}"));
        let choices = Choices::default();
        let job = Job::new(&graph, &target, &choices, ANY_SUBGROUP);
        Subject {
            job: job.expect("the default is legal"),
            is_ragged: false,
            choices,
            check: Check::Operands(store_images(&sample_operands(&graph, 1)), Vec::new()),
        }
    });
    subjects.collect()
}

/// Gradients of the weights of two convolutions, whose slices are added in one dispatch. The operands
/// are small integers, so all sums are exact.
fn pairs_of_sums() -> Vec<Subject> {
    let window = Window {
        stride: 1,
        padding: 0,
    };
    let mut subjects = Vec::new();
    for channels in [[[20, 4], [4, 4]], [[4, 4], [20, 4]]] {
        let (mut graph, mut store) = (Graph::new(), Store::new());
        for (number, pair) in channels.into_iter().enumerate() {
            let [x, dy] = [("x", 7, pair[0]), ("dy", 5, pair[1])].map(|(name, period, width)| {
                let shape = Shape::channels(&[3, 5, 7, width]);
                let numbers = (0..shape.len()).map(|i| ((i + number) % period) as f64);
                let name = format!("{name} {number}");
                store.insert(name.clone(), Tensor::real(shape.clone(), numbers.collect()));
                graph.external(&name, shape)
            });
            let op = Conv2dGradWeight {
                window,
                normalize_input: None,
                kernel: [1, 1],
            };
            let sum = graph.push_one(op, &[x, dy], "dw");
            graph.output(sum.expect("the shapes agree"), &format!("dw {number}"));
        }
        let operands = store_images(&store);
        interp::run(&graph, &mut store).expect("all operands are there");
        let expected = ["dw 0", "dw 1"].map(|name| (name.to_owned(), store[name].to_words()));
        for (target, subgroup) in devices() {
            let choices = Choices::default();
            if target.matrices.is_empty()
                && let Some(job) = Job::new(&graph, &target, &choices, subgroup)
            {
                subjects.push(Subject {
                    job,
                    is_ragged: false,
                    choices,
                    check: Check::Operands(operands.clone(), expected.to_vec()),
                });
            }
        }
    }
    subjects
}

/// The programs that measure an adapter, and the one that compares results.
fn probes() -> Vec<Subject> {
    let shape = probe::Arithmetic {
        workgroup: 64,
        accumulators: 4,
    };
    let numbers: Vec<u32> = (0..5120).collect();
    let copied = ("probe there".to_owned(), numbers.clone());
    let operands = vec![("probe here".to_owned(), numbers)];
    let subject = |program, check| Subject {
        job: Job::of_program(program, ANY_SUBGROUP),
        is_ragged: false,
        choices: Choices::default(),
        check,
    };
    vec![
        subject(
            probe::arithmetic(shape, 3, 2),
            Check::Operands(Vec::new(), Vec::new()),
        ),
        // Five workgroups.
        subject(
            probe::copy(20_000, 4, 1),
            Check::Operands(operands, vec![copied]),
        ),
        difference_of_results(),
    ]
}

/// The program that compares two results, on numbers whose sums are exact.
fn difference_of_results() -> Subject {
    // More than a run of vectors for each workgroup.
    const NUMBERS: usize = 20_000;
    let x: Vec<f32> = (0..NUMBERS).map(|at| (at % 7) as f32).collect();
    let y: Vec<f32> = (0..NUMBERS).map(|at| (at % 5) as f32).collect();
    let mut sums = [[0.0f32; 2]; probe::DIFFERENCE_SUMS];
    for (at, (x, y)) in x.iter().zip(&y).enumerate() {
        let [difference, length] = &mut sums[at / 4 / 64 % probe::DIFFERENCE_SUMS];
        *difference += (x - y) * (x - y);
        *length += x * x;
    }
    let words = |numbers: &[f32]| numbers.iter().map(|n| n.to_bits()).collect::<Vec<u32>>();
    let shape = Shape::dense(&[NUMBERS]);
    let operands = vec![("x".to_owned(), words(&x)), ("y".to_owned(), words(&y))];
    let expected = ("sums".to_owned(), words(sums.as_flattened()));
    Subject {
        job: Job::of_program(
            probe::difference(&[("x", "y", &shape)], "sums"),
            ANY_SUBGROUP,
        ),
        is_ragged: false,
        choices: Choices::default(),
        check: Check::Operands(operands, vec![expected]),
    }
}
