//! Runs a program as a device would: buffers, dispatches in order, and what they leave behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pyr_wgpu::graph::{Arena, Graph};
use pyr_wgpu::kernels::{Choices, Target, lower};
use pyr_wgpu::program::{Binding, Dispatch, Kernel, Program};

use crate::code::Code;
use crate::common::kernel::Operands;
use crate::compile::compile;
use crate::execute::{Ended, Launch, Machine};
use crate::memory::{Buffer, Range};
use crate::report::Report;

/// Words that memory is counted in.
const WORD: u64 = 4;

/// A program, with the subgroups that its kernels run in.
pub(crate) struct Job {
    program: Program,
    /// Buffer, first word and number of words of named values.
    places: HashMap<String, [usize; 3]>,
    pub(crate) subgroup: u32,
}

/// What a run has shown.
pub(crate) struct Outcome {
    pub(crate) report: Report,
    /// The memory images of the results.
    pub(crate) results: Vec<Vec<u32>>,
    /// Number of instructions.
    pub(crate) steps: u64,
}

/// How a run may differ from an ordinary one.
#[derive(Default)]
pub(crate) struct Limits {
    /// Whether the first fault ends it.
    pub(crate) ends_at_first: bool,
    /// Instructions after which it counts as endless.
    pub(crate) most_steps: Option<u64>,
}

impl Job {
    /// The program of a graph; `None` if the target cannot run the choices.
    pub(crate) fn new(
        graph: &Graph,
        target: &Target,
        choices: &Choices,
        subgroup: u32,
    ) -> Option<Job> {
        let lowered = lower(graph, target, choices).ok()?;
        let values = graph.values.iter().zip(&lowered.places);
        let places = values.filter_map(|(value, place)| {
            let place = (*place)?;
            let words = [place.offset, value.shape.bytes()].map(|bytes| (bytes / WORD) as usize);
            Some((value.name.clone(), [place.buffer.0, words[0], words[1]]))
        });
        Some(Job {
            places: places.collect(),
            program: lowered.program,
            subgroup,
        })
    }

    /// A program of its own, whose buffers are its values.
    pub(crate) fn of_program(program: Program, subgroup: u32) -> Job {
        let buffers = program.buffers.iter().enumerate();
        let places = buffers.map(|(number, buffer)| {
            let words = (buffer.bytes / WORD) as usize;
            (buffer.name.clone(), [number, 0, words])
        });
        Job {
            places: places.collect(),
            program,
            subgroup,
        }
    }

    pub(crate) fn kernels(&self) -> &[Kernel] {
        &self.program.kernels
    }

    pub(crate) fn dispatches(&self) -> &[Dispatch] {
        &self.program.dispatches
    }

    /// Floating-point operations.
    pub(crate) fn flops(&self) -> u64 {
        self.program.flops()
    }

    /// Runs the program on operands, with the codes of its kernels.
    pub(crate) fn run(
        &self,
        codes: &[Arc<Code>],
        operands: &Operands,
        results: &[String],
        limits: &Limits,
    ) -> Outcome {
        let program = &self.program;
        let buffers = program.buffers.iter();
        let buffers = buffers.map(|buffer| Buffer::fresh((buffer.bytes / WORD) as usize));
        let mut machine = Machine::new(buffers.collect());
        machine.ends_at_first = limits.ends_at_first;
        machine.most_steps = limits.most_steps.unwrap_or(u64::MAX);
        // Arenas begin as zeros, which fill the gaps between their values.
        for (buffer, memory) in program.buffers.iter().zip(&mut machine.buffers) {
            if Arena::ALL.iter().any(|arena| arena.name() == buffer.name) {
                let zeros = vec![0; memory.words.len()];
                memory.write(0, &zeros);
            }
        }
        for (name, words) in operands {
            // Nothing may use an operand, which then has no place.
            if let Some([buffer, first, _]) = self.places.get(name) {
                machine.buffers[*buffer].write(*first, words);
            }
        }
        for dispatch in &program.dispatches {
            if let Err(Ended) = launch(&mut machine, &codes[dispatch.kernel.0], dispatch) {
                break;
            }
        }
        let words = |name: &String| {
            let [buffer, first, count] = self.places[name];
            machine.buffers[buffer].words[first..first + count].to_vec()
        };
        Outcome {
            results: results.iter().map(words).collect(),
            report: machine.report,
            steps: machine.steps,
        }
    }
}

/// Runs one dispatch.
fn launch(machine: &mut Machine, code: &Code, dispatch: &Dispatch) -> Result<(), Ended> {
    let range = |binding: &Binding| Range {
        buffer: binding.buffer.0,
        first: (binding.offset / WORD) as usize,
        count: (binding.bytes / WORD) as usize,
    };
    let bindings: Vec<Range> = dispatch.bindings.iter().map(range).collect();
    let launch = Launch {
        uniforms: &dispatch.uniforms,
        bindings: &bindings,
        grid: dispatch.grid,
    };
    machine.dispatch(code, &launch)
}

/// The code of a kernel, compiled once.
pub(crate) fn code_of(kernel: &Kernel, subgroup: u32) -> Arc<Code> {
    static CODES: Mutex<Option<HashMap<(String, u32), Arc<Code>>>> = Mutex::new(None);
    let lock = || CODES.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (kernel.name.clone(), subgroup);
    if let Some(code) = lock().get_or_insert_default().get(&key) {
        return Arc::clone(code);
    }
    let code = compile(&kernel.name, &kernel.source, subgroup);
    let code = Arc::new(code.unwrap_or_else(|e| panic!("{}: {e}", kernel.name)));
    lock().get_or_insert_default().insert(key, Arc::clone(&code));
    code
}
