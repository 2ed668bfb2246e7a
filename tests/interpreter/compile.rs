//! From naga's IR to the flat form: control flow, functions and variables. `expressions.rs` has
//! the rest.
//!
//! The compiler also follows what depends on the contents of storage buffers: values computed
//! from them, variables that such values are written to, and everything written where such a
//! value decides whether it is. A kernel whose addresses and control flow depend on none of it
//! does the same accesses for all contents, so that one run stands for all.
//!
//! What a variable depends on is known at the end only, so the compiler runs until nothing is
//! new. The same holds for the constants, whose registers come first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use naga::valid::{Capabilities, FunctionInfo, ModuleInfo, ValidationFlags, Validator};
use naga::{
    AddressSpace, Barrier, Block, Expression, Function, Handle, Module, Span, Statement,
    StorageAccess, SwitchValue, TypeInner,
};

use crate::code::{Code, Dependence, Frame, Line, Memory, MemoryId, Op, Slot, Space, Step};
use crate::layout::Layouts;

/// A value: its registers, and whether it depends on the contents of storage buffers.
#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) slots: Rc<[Slot]>,
    pub(crate) tainted: bool,
}

/// A part of a variable. Distances are in registers or in cells.
#[derive(Clone)]
pub(crate) struct Pointer {
    pub(crate) root: Root,
    pub(crate) ty: TypeInner,
    pub(crate) fixed: u32,
    pub(crate) dynamic: Option<Slot>,
    /// Whether the dynamic part depends on the contents of storage buffers.
    pub(crate) tainted: bool,
    /// The vector in memory of which this is a component.
    pub(crate) vector: Option<Rc<Pointer>>,
}

/// A variable.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Root {
    /// A variable of an inlined function, from this register on.
    Local(Slot, Origin),
    Memory(MemoryId),
}

/// A variable for what it depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// By its number among those of all inlined functions.
    Local(u32),
    Memory(MemoryId),
}

#[derive(Clone)]
pub(crate) enum Operand {
    Value(Value),
    Pointer(Pointer),
}

/// A function that is being inlined.
pub(crate) struct Instance<'a> {
    pub(crate) function: &'a Function,
    pub(crate) info: &'a FunctionInfo,
    /// Operands of expressions that were computed, by index.
    pub(crate) operands: Vec<Option<Operand>>,
    pub(crate) arguments: Vec<Operand>,
    /// Its variables.
    pub(crate) locals: Vec<Pointer>,
    result: Option<Value>,
    end: Frame,
    /// Of the loops and switches around, from the outermost on: where `break` and `continue` go.
    targets: Vec<(Frame, Option<Frame>)>,
}

/// What a pass learns for the next one.
#[derive(Default)]
pub(crate) struct Known {
    constants: BTreeMap<u32, Slot>,
    tainted: BTreeSet<Origin>,
    /// Frames that control flow leaves for where contents of storage buffers decide.
    escapes: BTreeSet<Frame>,
    /// Whether any of these has grown.
    grown: bool,
}

pub(crate) struct Compiler<'a> {
    pub(crate) layouts: Layouts<'a>,
    pub(crate) module: &'a Module,
    info: &'a ModuleInfo,
    source: &'a str,
    /// Where each line of the source starts.
    starts: Vec<usize>,
    pub(crate) subgroup: u32,
    pub(crate) memories: Vec<Memory>,
    pub(crate) globals: HashMap<Handle<naga::GlobalVariable>, MemoryId>,
    known: Known,
    next: Slot,
    most: Slot,
    frames: Frame,
    locals: u32,
    steps: Vec<Step>,
    /// Tainted conditions around, and frames that were left for under one.
    conditions: u32,
    escapes: Vec<Frame>,
    lines: Vec<String>,
    line_numbers: HashMap<usize, Line>,
    dependences: BTreeSet<Dependence>,
}

/// Compiles a kernel for subgroups of this size.
///
/// # Errors
/// What naga finds wrong in the text.
///
/// # Panics
/// If the text uses what no kernel uses so far: the interpreter must learn it.
pub(crate) fn compile(name: &str, source: &str, subgroup: u32) -> Result<Code, String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    let info = validator.validate(&module);
    let info = info.map_err(|error| error.emit_to_string(source))?;
    let mut compiler = Compiler::new(&module, &info, source, subgroup);
    loop {
        compiler.known.grown = false;
        let code = compiler.pass(name);
        if !compiler.known.grown {
            return Ok(code);
        }
    }
}

impl<'a> Compiler<'a> {
    fn new(
        module: &'a Module,
        info: &'a ModuleInfo,
        source: &'a str,
        subgroup: u32,
    ) -> Compiler<'a> {
        let layouts = Layouts::new(module, subgroup);
        let mut memories = Vec::new();
        let mut globals = HashMap::new();
        for (handle, variable) in module.global_variables.iter() {
            let granule = layouts.granule(layouts.inner(variable.ty));
            let space = match (variable.space, &variable.binding) {
                (AddressSpace::Uniform, Some(_)) => Space::Uniform,
                (AddressSpace::WorkGroup, None) => Space::Workgroup,
                (AddressSpace::Storage { .. }, Some(binding)) => Space::Storage(binding.binding),
                (space, _) => panic!("no variable is {space:?}"),
            };
            assert!(
                space == Space::Workgroup || granule == 4,
                "halves in buffers"
            );
            globals.insert(handle, memories.len());
            let cells = match space {
                Space::Workgroup => layouts.bytes(variable.ty).div_ceil(granule) as usize,
                _ => 0,
            };
            memories.push(Memory {
                name: variable.name.clone().unwrap_or_default(),
                space,
                writable: match variable.space {
                    AddressSpace::Storage { access } => access.contains(StorageAccess::STORE),
                    space => space == AddressSpace::WorkGroup,
                },
                granule,
                cells,
            });
        }
        Compiler {
            layouts,
            module,
            info,
            source,
            starts: std::iter::once(0)
                .chain(source.match_indices('\n').map(|(at, _)| at + 1))
                .collect(),
            subgroup,
            memories,
            globals,
            known: Known::default(),
            next: 0,
            most: 0,
            frames: 0,
            locals: 0,
            steps: Vec::new(),
            conditions: 0,
            escapes: Vec::new(),
            lines: Vec::new(),
            line_numbers: HashMap::new(),
            dependences: BTreeSet::new(),
        }
    }

    fn pass(&mut self, name: &str) -> Code {
        let constants = &mut self.known.constants;
        for (slot, number) in (0..).zip(constants.values_mut()) {
            *number = slot;
        }
        self.next = constants.len() as Slot;
        self.most = self.next;
        self.frames = 0;
        self.locals = 0;
        self.dependences.clear();

        let entry = &self.module.entry_points[0];
        let mut builtins = Vec::new();
        let mut arguments = Vec::new();
        for argument in &entry.function.arguments {
            let Some(naga::Binding::BuiltIn(builtin)) = argument.binding else {
                panic!("`{:?}` is not built in", argument.name);
            };
            let width = self.layouts.width(self.layouts.inner(argument.ty));
            let slots = self.fresh_many(width);
            builtins.push((builtin, slots.to_vec()));
            arguments.push(Operand::Value(Value {
                slots,
                tainted: false,
            }));
        }
        self.inline(&entry.function, self.info.get_entry_point(0), arguments);
        Code {
            name: name.to_owned(),
            slots: self.most as usize,
            constants: self.known.constants.iter().map(|(w, s)| (*s, *w)).collect(),
            builtins,
            workgroup: entry.workgroup_size,
            subgroup: self.subgroup,
            memories: self.memories.clone(),
            body: std::mem::take(&mut self.steps),
            lines: self.lines.clone(),
            dependences: self.dependences.iter().cloned().collect(),
        }
    }

    pub(crate) fn emit(&mut self, op: Op) {
        self.steps.push(Step::Op(op));
    }

    /// A new register, until the block ends.
    pub(crate) fn fresh(&mut self) -> Slot {
        self.next += 1;
        self.most = self.most.max(self.next);
        self.next - 1
    }

    pub(crate) fn fresh_many(&mut self, count: u32) -> Rc<[Slot]> {
        (0..count).map(|_| self.fresh()).collect()
    }

    /// The register that holds a constant.
    pub(crate) fn constant(&mut self, word: u32) -> Slot {
        let known = &mut self.known;
        *known.constants.entry(word).or_insert_with(|| {
            known.grown = true;
            0
        })
    }

    fn frame(&mut self) -> Frame {
        self.frames += 1;
        self.frames
    }

    pub(crate) fn line(&mut self, span: Span) -> Line {
        let start = span.to_range().map_or(0, |range| range.start);
        let number = self.starts.partition_point(|line| *line <= start);
        if let Some(line) = self.line_numbers.get(&number) {
            return *line;
        }
        let text = self.source[self.starts[number - 1]..].lines().next();
        let text = text.unwrap_or_default().trim();
        self.lines.push(format!("line {number}: {text}"));
        let line = (self.lines.len() - 1) as Line;
        self.line_numbers.insert(number, line);
        line
    }

    /// Whether contents of storage buffers decide that control flow is here.
    pub(crate) fn is_controlled(&self) -> bool {
        self.conditions > 0 || !self.escapes.is_empty()
    }

    pub(crate) fn is_tainted(&self, origin: Origin) -> bool {
        self.known.tainted.contains(&origin)
    }

    pub(crate) fn taint(&mut self, origin: Origin) {
        self.known.grown |= self.known.tainted.insert(origin);
    }

    /// Notes an access of shared memory, or another operation for which it matters whether it
    /// happens.
    pub(crate) fn note(&mut self, address_tainted: bool, line: Line) {
        if address_tainted {
            self.dependences.insert(Dependence::Address(line));
        }
        if self.is_controlled() {
            self.dependences.insert(Dependence::Control(line));
        }
    }

    /// Opens a frame, inside which an early exit for it makes everything depend on contents if an
    /// earlier pass found that it does.
    fn open(&mut self, frame: Frame, repeats: bool) {
        if repeats && self.known.escapes.contains(&frame) {
            self.escapes.push(frame);
        }
    }

    fn close(&mut self, frame: Frame) {
        self.escapes.retain(|open| *open != frame);
    }

    fn exit(&mut self, frame: Frame) {
        if self.is_controlled() {
            self.known.grown |= self.known.escapes.insert(frame);
            self.escapes.push(frame);
        }
        self.steps.push(Step::Exit(frame));
    }

    /// The steps that a part of the compiler emits.
    fn steps_of(&mut self, part: impl FnOnce(&mut Self)) -> Vec<Step> {
        let outer = std::mem::take(&mut self.steps);
        part(self);
        std::mem::replace(&mut self.steps, outer)
    }

    /// The steps of a block, whose registers are free afterwards.
    fn block_of(&mut self, instance: &mut Instance<'a>, block: &'a Block) -> Vec<Step> {
        let mark = self.next;
        let steps = self.steps_of(|compiler| compiler.block(instance, block));
        self.next = mark;
        steps
    }

    /// Inlines a call; returns its result.
    fn inline(
        &mut self,
        function: &'a Function,
        info: &'a FunctionInfo,
        arguments: Vec<Operand>,
    ) -> Option<Value> {
        let result = function.result.as_ref().map(|result| {
            let width = self.layouts.width(self.layouts.inner(result.ty));
            Value {
                slots: self.fresh_many(width),
                tainted: false,
            }
        });
        let mark = self.next;
        let end = self.frame();
        let mut instance = Instance {
            function,
            info,
            operands: vec![None; function.expressions.len()],
            arguments,
            locals: Vec::new(),
            result,
            end,
            targets: Vec::new(),
        };
        let body = self.steps_of(|compiler| {
            compiler.declare(&mut instance);
            compiler.block(&mut instance, &function.body);
        });
        self.close(end);
        self.next = mark;
        self.steps.push(Step::Scope { body, end });
        instance.result
    }

    /// Allocates and initialises the variables of a function.
    fn declare(&mut self, instance: &mut Instance<'a>) {
        for (_, variable) in instance.function.local_variables.iter() {
            let ty = self.layouts.inner(variable.ty);
            let base = self.next;
            let slots = self.fresh_many(self.layouts.width(ty));
            self.locals += 1;
            instance.locals.push(Pointer {
                root: Root::Local(base, Origin::Local(self.locals)),
                ty: ty.clone(),
                fixed: 0,
                dynamic: None,
                tainted: false,
                vector: None,
            });
            let initial = match variable.init {
                Some(init) => self.value(instance, init).slots,
                None => {
                    let zero = self.constant(0);
                    slots.iter().map(|_| zero).collect()
                }
            };
            for (slot, initial) in slots.iter().zip(initial.iter()) {
                self.emit(Op::Map1(crate::scalars::COPY, *slot, *initial));
            }
        }
    }

    fn block(&mut self, instance: &mut Instance<'a>, block: &'a Block) {
        for (statement, span) in block.span_iter() {
            self.statement(instance, statement, *span);
        }
    }

    fn statement(&mut self, instance: &mut Instance<'a>, statement: &'a Statement, span: Span) {
        match statement {
            Statement::Emit(range) => {
                for handle in range.clone() {
                    let operand = self.expression(instance, handle);
                    instance.operands[handle.index()] = Some(operand);
                }
            }
            Statement::Block(block) => {
                let steps = self.block_of(instance, block);
                self.steps.extend(steps);
            }
            Statement::If {
                condition,
                accept,
                reject,
            } => {
                let condition = self.value(instance, *condition);
                self.conditions += u32::from(condition.tainted);
                let accept = self.block_of(instance, accept);
                let reject = self.block_of(instance, reject);
                self.conditions -= u32::from(condition.tainted);
                self.steps.push(Step::If {
                    condition: condition.slots[0],
                    accept,
                    reject,
                });
            }
            Statement::Switch { selector, cases } => {
                let selector = self.value(instance, *selector);
                self.conditions += u32::from(selector.tainted);
                let end = self.frame();
                let next = instance.targets.last().and_then(|(_, next)| *next);
                instance.targets.push((end, next));
                let mut arms = Vec::new();
                let mut values = Vec::new();
                let mut default = 0;
                for case in cases {
                    match case.value {
                        SwitchValue::U32(value) => values.push(value),
                        SwitchValue::I32(value) => values.push(value as u32),
                        SwitchValue::Default => default = arms.len(),
                    }
                    // WGSL's `case 1, 2` are cases that fall through without a body.
                    if case.fall_through {
                        assert!(case.body.is_empty(), "a case falls through");
                        continue;
                    }
                    let body = self.block_of(instance, &case.body);
                    arms.push((std::mem::take(&mut values), body));
                }
                instance.targets.pop();
                self.close(end);
                self.conditions -= u32::from(selector.tainted);
                self.steps.push(Step::Switch {
                    selector: selector.slots[0],
                    arms,
                    default,
                    end,
                });
            }
            Statement::Loop {
                body,
                continuing,
                break_if,
            } => self.repeat(instance, body, continuing, *break_if),
            Statement::Break => {
                let (end, _) = instance.targets.last().expect("the module is valid");
                self.exit(*end);
            }
            Statement::Continue => {
                let target = instance.targets.last();
                let next = target.and_then(|(_, next)| *next);
                self.exit(next.expect("the module is valid"));
            }
            Statement::Return { value } => {
                if let Some(value) = value {
                    let value = self.value(instance, *value);
                    let tainted = value.tainted || self.is_controlled();
                    let result = instance.result.as_mut().expect("the module is valid");
                    result.tainted |= tainted;
                    let slots = Rc::clone(&result.slots);
                    for (to, from) in slots.iter().zip(value.slots.iter()) {
                        self.emit(Op::Assign(*to, *from));
                    }
                }
                self.exit(instance.end);
            }
            Statement::ControlBarrier(barrier) => self.barrier(*barrier, span),
            Statement::Store { pointer, value } => {
                let pointer = self.pointer(instance, *pointer);
                let value = self.value(instance, *value);
                self.store(&pointer, &value, span);
            }
            Statement::WorkGroupUniformLoad { pointer, result } => {
                self.barrier(Barrier::WORK_GROUP, span);
                let pointer = self.pointer(instance, *pointer);
                let value = self.load(&pointer, span);
                instance.operands[result.index()] = Some(Operand::Value(value));
                self.barrier(Barrier::WORK_GROUP, span);
            }
            Statement::Call {
                function,
                arguments,
                result,
            } => {
                let operands = arguments.iter();
                let operands = operands.map(|handle| self.operand(instance, *handle));
                let operands = operands.collect();
                let info = &self.info[*function];
                let value = self.inline(&self.module.functions[*function], info, operands);
                if let Some(result) = result {
                    instance.operands[result.index()] = value.map(Operand::Value);
                }
            }
            other => self.shared(instance, other, span),
        }
    }

    fn repeat(
        &mut self,
        instance: &mut Instance<'a>,
        body: &'a Block,
        continuing: &'a Block,
        break_if: Option<Handle<Expression>>,
    ) {
        let mark = self.next;
        let [next, end] = [self.frame(), self.frame()];
        self.open(end, true);
        self.open(next, false);
        instance.targets.push((end, Some(next)));
        let body = self.steps_of(|compiler| compiler.block(instance, body));
        self.close(next);
        let mut condition = None;
        let continuing = self.steps_of(|compiler| {
            compiler.block(instance, continuing);
            condition = break_if.map(|handle| compiler.value(instance, handle));
        });
        instance.targets.pop();
        if condition.as_ref().is_some_and(|value| value.tainted) {
            self.known.grown |= self.known.escapes.insert(end);
        }
        self.close(end);
        self.next = mark;
        self.steps.push(Step::Loop {
            body,
            continuing,
            break_if: condition.map(|value| value.slots[0]),
            next,
            end,
        });
    }

    fn barrier(&mut self, barrier: Barrier, span: Span) {
        let known = Barrier::WORK_GROUP | Barrier::STORAGE;
        assert!(
            known.contains(barrier),
            "no kernel has a barrier {barrier:?}"
        );
        let line = self.line(span);
        self.note(false, line);
        self.emit(Op::Barrier {
            workgroup: barrier.contains(Barrier::WORK_GROUP),
            storage: barrier.contains(Barrier::STORAGE),
            line,
        });
    }
}
