//! Runs a program as a device would: buffers, dispatches in order, and what they leave behind.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

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
pub(crate) struct Options {
    /// Whether the first fault ends it.
    pub(crate) ends_at_first: bool,
    /// Instructions after which it counts as endless.
    pub(crate) most_steps: Option<u64>,
    /// Whether grids of one row of workgroups have two, as very large ones do ([`Job::rows_of`]).
    pub(crate) two_rows: bool,
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

    /// Workgroups of all dispatches.
    pub(crate) fn workgroups(&self) -> u32 {
        let grids = self.program.dispatches.iter().map(|dispatch| dispatch.grid);
        grids.map(|grid| grid.iter().product::<u32>()).sum()
    }

    /// Whether a dispatch can have two rows of workgroups.
    pub(crate) fn has_rows(&self) -> bool {
        self.dispatches()
            .iter()
            .any(|dispatch| self.rows_of(dispatch).is_some())
    }

    /// The grid of a dispatch in two rows, if its kernel numbers workgroups row by row and ignores
    /// those past the end. Kernels that write slices have one for each workgroup, also past the end,
    /// so their number must stay the same.
    fn rows_of(&self, dispatch: &Dispatch) -> Option<[u32; 3]> {
        let source = &self.kernels()[dispatch.kernel.0].source;
        let is_numbered = [".y * grid.x", ".y * groups.x"]
            .iter()
            .any(|text| source.contains(text));
        let [width, 1, depth] = dispatch.grid else {
            return None;
        };
        let is_exact = source.contains("read_write> partial");
        let columns = match width.div_ceil(2) {
            // Exchanged axes of a square only permute the workgroups.
            2 if !is_exact => 3,
            columns => columns,
        };
        let fits = width.is_multiple_of(2) || !is_exact;
        (is_numbered && fits).then_some([columns, 2, depth])
    }

    /// Runs the program on operands, with the codes of its kernels.
    pub(crate) fn run(
        &self,
        codes: &[Arc<Code>],
        operands: &Operands,
        results: &[String],
        options: &Options,
    ) -> Outcome {
        let program = &self.program;
        let buffers = program.buffers.iter();
        let buffers = buffers.map(|buffer| Buffer::fresh((buffer.bytes / WORD) as usize));
        let mut machine = Machine::new(buffers.collect());
        machine.ends_at_first = options.ends_at_first;
        machine.most_steps = options.most_steps.unwrap_or(u64::MAX);
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
            let rows = options.two_rows.then(|| self.rows_of(dispatch)).flatten();
            let grid = rows.unwrap_or(dispatch.grid);
            if let Err(Ended) = launch(&mut machine, &codes[dispatch.kernel.0], dispatch, grid) {
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
fn launch(
    machine: &mut Machine,
    code: &Code,
    dispatch: &Dispatch,
    grid: [u32; 3],
) -> Result<(), Ended> {
    let range = |binding: &Binding| Range {
        buffer: binding.buffer.0,
        first: (binding.offset / WORD) as usize,
        count: (binding.bytes / WORD) as usize,
    };
    let bindings: Vec<Range> = dispatch.bindings.iter().map(range).collect();
    let launch = Launch {
        uniforms: &dispatch.uniforms,
        bindings: &bindings,
        grid,
    };
    machine.dispatch(code, &launch)
}

/// The code of a kernel, compiled once.
pub(crate) fn code_of(kernel: &Kernel, subgroup: u32) -> Arc<Code> {
    type Codes = HashMap<(String, u32), Arc<Code>>;
    static CODES: LazyLock<Mutex<Codes>> = LazyLock::new(Mutex::default);
    let codes = || CODES.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (kernel.name.clone(), subgroup);
    if let Some(code) = codes().get(&key) {
        return Arc::clone(code);
    }
    let code = compile(&kernel.name, &kernel.source, subgroup);
    let code = Arc::new(code.unwrap_or_else(|e| panic!("{}: {e}", kernel.name)));
    codes().insert(key, Arc::clone(&code));
    code
}
