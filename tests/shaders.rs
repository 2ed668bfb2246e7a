//! Every kernel that lowering can make, without any GPU: naga parses it, validates it within
//! WebGPU's default limits, and translates it for Vulkan, Metal and Direct3D; those with matrix
//! units within the limits of adapters that have some, and not for Direct3D, which has none.
//!
//! A kernel that needs more than every browser has must declare it ([`Needs`]): it is validated
//! with exactly what it declares.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::networks::small_networks;
use common::targets::{matrix_targets, targets};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Expression, Literal, Module, ScalarKind, StorageAccess};
use pyr_wgpu::graph::ops::Metrics;
use pyr_wgpu::graph::{Graph, Op, Passes, Precision};
use pyr_wgpu::kernels::{self, Choices, MATRIX_NAMES, Target};
use pyr_wgpu::model::{BatchAugmentation, Input, Network, Preprocessing, names, preset};
use pyr_wgpu::program::{Access, Kernel, MatrixUnit, Needs, Program};
use pyr_wgpu::selftest::{Case, stands};
use pyr_wgpu::shape::{DType, PixelFormat, Shape};
use pyr_wgpu::train::{Mode, step_graph};

/// WebGPU's default limits.
const MAX_INVOCATIONS: u32 = 256;
const MAX_WORKGROUP: [u32; 3] = [256, 256, 64];
const MAX_WORKGROUP_BYTES: u32 = 16 << 10;
const MAX_UNIFORM_BYTES: u32 = 64 << 10;

/// Sizes of subgroups, the smallest that kernels have and larger ones.
const SUBGROUPS: [u32; 3] = [4, 8, 32];

/// Kernels by name.
#[derive(Default)]
struct Kernels(BTreeMap<String, Kernel>);

impl Kernels {
    fn of_program(&mut self, program: Program) {
        for kernel in program.kernels {
            let name = kernel.name.clone();
            let known = self.0.entry(name).or_insert_with(|| kernel.clone());
            assert_eq!(*known, kernel, "two kernels of one name");
        }
    }

    /// Adds the kernels of a graph for all targets: those of each wanted family and the defaults.
    fn of_graph(&mut self, graph: &Graph, wanted: impl Fn(&Choices) -> bool) {
        self.of_targets(graph, &targets(&SUBGROUPS), wanted);
    }

    /// Adds the kernels of a graph that use matrix units.
    fn of_matrices(&mut self, graph: &Graph) {
        let matrix = |choices: &Choices| MATRIX_NAMES.iter().any(|n| choices.get("") == Some(n));
        self.of_targets(graph, &matrix_targets(), matrix);
    }

    fn of_targets(&mut self, graph: &Graph, targets: &[Target], wanted: impl Fn(&Choices) -> bool) {
        for target in targets {
            let choices = kernels::variants().into_iter().map(Choices::everywhere);
            let choices = choices.filter(&wanted);
            for choices in choices.chain([Choices::default()]) {
                // Not every target can run every family; the default must always run.
                match kernels::lower(graph, target, &choices) {
                    Ok(lowered) => {
                        for kernel in &lowered.program.kernels {
                            let bindings = kernel.bindings.len();
                            assert!(bindings <= target.storage_bindings, "{}", kernel.name);
                        }
                        self.of_program(lowered.program);
                    }
                    Err(error) => assert!(choices != Choices::default(), "{error}"),
                }
            }
        }
    }
}

fn passes(fuse: bool) -> Passes {
    Passes {
        fuse,
        ..Passes::default()
    }
}

/// Kernels of all samples, of small networks in all modes, of large presets, and the probes.
fn all_kernels() -> Kernels {
    let mut all = Kernels::default();
    for sample in Op::samples() {
        let single = Case::new(&sample.op, &sample.inputs);
        all.of_graph(single.graph(), |_| true);
        all.of_matrices(single.graph());
        if let Some(half) = Case::half(&sample.op, &sample.inputs) {
            all.of_graph(half.graph(), |_| true);
            all.of_matrices(half.graph());
        }
    }
    for small in small_networks() {
        let input = Input::Images {
            name: names::TRAIN_IMAGES,
            count: 5,
            pixels: PixelFormat::U8,
            preprocessing: Preprocessing::new(small.network.spec(), [127.0; 3], [64.0; 3]),
            augmentation: BatchAugmentation {
                transforms: 2,
                flip_and_crop: true,
                rectangles: 1,
                mix: true,
            },
        };
        let modes = [Mode::Evaluate, Mode::Train, Mode::MicroBatch].map(Some);
        let modes = modes.into_iter().chain([None]);
        let half = Passes {
            precision: Precision::F16,
            ..Passes::default()
        };
        for mode in modes {
            for passes in [passes(false), passes(true), half] {
                let (network, batch) = (&small.network, small.batch);
                let graph = match mode {
                    Some(mode) => step_graph(network, batch, &input, mode, passes),
                    None => network.prediction_graph(batch, &input, passes),
                };
                let graph = graph.unwrap_or_else(|e| panic!("{}: {e}", small.name));
                // The samples cover the variants, the networks the sizes.
                all.of_graph(&graph, stands);
            }
        }
    }
    for name in ["demo", "pyramidnet272-a200", "pyramidnet200-a450-imagenet"] {
        let network = Network::new(&preset(name).unwrap()).unwrap();
        let graph =
            step_graph(&network, 2, &Input::Tensor, Mode::Train, Passes::default()).unwrap();
        for target in targets(&SUBGROUPS) {
            let lowered = kernels::lower(&graph, &target, &Choices::default());
            all.of_program(lowered.unwrap_or_else(|e| panic!("{name}: {e}")).program);
        }
    }
    for kernel in probes() {
        all.0.insert(kernel.name.clone(), kernel);
    }
    for dtype in [DType::F32, DType::F16] {
        let shape = Shape {
            dtype,
            ..Shape::channels(&[2, 4])
        };
        all.of_program(kernels::probe::difference(&[("x", "y", &shape)], "sums"));
    }
    all
}

/// Shaders that measure an adapter and belong to no graph, read from their files.
fn probes() -> [Kernel; 2] {
    let probe = |name: &str, bindings: &[Access]| Kernel {
        name: name.to_owned(),
        source: std::fs::read_to_string(format!("{}/{name}.wgsl", folder()))
            .unwrap()
            .into(),
        bindings: bindings.to_vec(),
        workgroup: 64,
        needs: Needs::default(),
    };
    [
        probe("probe_arithmetic", &[Access::Write]),
        probe("probe_copy", &[Access::Read, Access::Write]),
    ]
}

/// Where the shaders are.
fn folder() -> String {
    format!("{}/shaders", env!("CARGO_MANIFEST_DIR"))
}

fn parse(kernel: &Kernel) -> Module {
    naga::front::wgsl::parse_str(&kernel.source)
        .unwrap_or_else(|e| panic!("{}: {}", kernel.name, e.emit_to_string(&kernel.source)))
}

/// Validates with what the kernel declares, and no more.
fn validate(kernel: &Kernel, module: &Module) -> ModuleInfo {
    let validate = |capabilities: Capabilities| {
        let mut validator = Validator::new(ValidationFlags::all(), capabilities);
        let result = validator.validate(module);
        result.map_err(|error| error.emit_to_string(&kernel.source))
    };
    // What every browser has; naga's default set holds more.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let needs = kernel.needs;
    capabilities.set(Capabilities::SUBGROUP, needs.subgroups);
    capabilities.set(Capabilities::SHADER_INT64, needs.int64);
    capabilities.set(Capabilities::SHADER_FLOAT16, needs.f16);
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, needs.matrices);
    let info = validate(capabilities).unwrap_or_else(|e| panic!("{}: {e}", kernel.name));
    let declared = capabilities - Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    for (name, capability) in declared.iter_names() {
        let without = validate(capabilities - capability);
        assert!(
            without.is_err(),
            "{} declares {name} without using it",
            kernel.name
        );
    }
    info
}

/// Entry point, bindings and sizes.
fn check_limits(kernel: &Kernel, module: &Module) {
    let name = &kernel.name;
    let [main] = &module.entry_points[..] else {
        panic!("{name}: {} entry points", module.entry_points.len());
    };
    assert_eq!(
        (main.name.as_str(), main.stage),
        ("main", naga::ShaderStage::Compute),
        "{name}"
    );
    let extents = main.workgroup_size;
    assert!(
        extents.iter().product::<u32>() <= MAX_INVOCATIONS,
        "{name}: {extents:?}"
    );
    assert_eq!(
        extents.iter().product::<u32>(),
        kernel.workgroup,
        "{name}: {extents:?}"
    );
    for (extent, most) in extents.iter().zip(MAX_WORKGROUP) {
        assert!((1..=most).contains(extent), "{name}: {extents:?}");
    }

    let mut layouter = naga::proc::Layouter::default();
    layouter
        .update(module.to_ctx())
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut workgroup_bytes = 0;
    let mut storage: BTreeMap<u32, Access> = BTreeMap::new();
    for (_, variable) in module.global_variables.iter() {
        let bytes = layouter[variable.ty].size;
        let binding = variable.binding.map(|binding| {
            assert_eq!(binding.group, 0, "{name}");
            binding.binding
        });
        match (variable.space, binding) {
            (AddressSpace::WorkGroup, None) => workgroup_bytes += bytes,
            (AddressSpace::Private, None) => {}
            (AddressSpace::Uniform, Some(0)) => assert!(bytes <= MAX_UNIFORM_BYTES, "{name}"),
            (AddressSpace::Storage { access }, Some(number)) => {
                let writes = access.contains(StorageAccess::STORE);
                let access = if writes { Access::Write } else { Access::Read };
                assert!(
                    storage.insert(number, access).is_none(),
                    "{name}: binding {number}"
                );
            }
            other => panic!("{name}: {:?} is {other:?}", variable.name),
        }
    }
    let most = match kernel.needs.matrices {
        true => MatrixUnit::STORAGE,
        false => MAX_WORKGROUP_BYTES,
    };
    assert!(workgroup_bytes <= most, "{name}: {workgroup_bytes} bytes");
    let declared: BTreeMap<u32, Access> = (1..).zip(kernel.bindings.iter().copied()).collect();
    assert_eq!(storage, declared, "{name}: storage bindings");
}

/// No selection between a float and another one is made by comparing that float: compilers that assume
/// that no NaN occurs make a maximum or a minimum of it, which drops a NaN.
fn check_selections(kernel: &Kernel, module: &Module, info: &ModuleInfo) {
    let functions = module.functions.iter();
    let functions = functions.map(|(handle, function)| (function, &info[handle]));
    let main = (&module.entry_points[0].function, info.get_entry_point(0));
    for (function, types) in functions.chain([main]) {
        let is_float = |handle: naga::Handle<Expression>| {
            let kind = types[handle].ty.inner_with(&module.types).scalar_kind();
            kind == Some(ScalarKind::Float)
        };
        for (_, expression) in function.expressions.iter() {
            let &Expression::Select {
                condition,
                accept,
                reject,
            } = expression
            else {
                continue;
            };
            let mut conditions = vec![condition];
            while let Some(condition) = conditions.pop() {
                let Expression::Binary { op, left, right } = function.expressions[condition] else {
                    continue;
                };
                use naga::BinaryOperator as Op;
                match op {
                    Op::And | Op::InclusiveOr => conditions.extend([left, right]),
                    Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual => {
                        let selects = [left, right]
                            .iter()
                            .any(|side| [accept, reject].contains(side) && is_float(*side));
                        assert!(
                            !selects,
                            "{}: a selection may become a maximum",
                            kernel.name
                        );
                    }
                    _ => {}
                }
            }
        }
    }
}

fn translate(kernel: &Kernel, module: &Module, info: &ModuleInfo) {
    let name = &kernel.name;
    // Subgroup operations came with SPIR-V 1.3, Metal 2.1 and Direct3D's shader model 6.0;
    // 64-bit integers in buffers and products of matrices with Metal 2.3. Direct3D has none of
    // the latter.
    let matrices = kernel.needs.matrices;
    let more = kernel.needs != Needs::default();
    let spirv = naga::back::spv::Options {
        lang_version: if more { (1, 3) } else { (1, 0) },
        ..Default::default()
    };
    let words = naga::back::spv::write_vec(module, info, &spirv, None);
    let words = words.unwrap_or_else(|e| panic!("{name} to SPIR-V: {e}"));
    assert_eq!(words[0], 0x0723_0203, "{name}");

    let metal = naga::back::msl::Options {
        lang_version: if more { (2, 3) } else { (1, 2) },
        ..Default::default()
    };
    let text = naga::back::msl::write_string(module, info, &metal, &Default::default());
    let (text, translated) = text.unwrap_or_else(|e| panic!("{name} to MSL: {e}"));
    let entry = translated.entry_point_names[0].as_ref();
    let entry = entry.unwrap_or_else(|e| panic!("{name} to MSL: {e}"));
    assert!(text.contains(&format!("kernel void {entry}(")), "{name}");

    if matrices {
        return;
    }
    let direct3d = naga::back::hlsl::Options {
        shader_model: match more {
            true => naga::back::hlsl::ShaderModel::V6_0,
            false => naga::back::hlsl::ShaderModel::V5_1,
        },
        ..Default::default()
    };
    let mut text = String::new();
    let pipeline = naga::back::hlsl::PipelineOptions::default();
    let mut writer = naga::back::hlsl::Writer::new(&mut text, &direct3d, &pipeline);
    let translated = writer.write(module, info, None);
    let translated = translated.unwrap_or_else(|e| panic!("{name} to HLSL: {e}"));
    let entry = translated.entry_point_names[0].as_ref();
    let entry = entry.unwrap_or_else(|e| panic!("{name} to HLSL: {e}"));
    assert!(text.contains(&format!("void {entry}(")), "{name}");
}

#[test]
fn every_kernel_is_legal_everywhere_it_claims_to_be() {
    let all = all_kernels().0;
    let kernels: Vec<&Kernel> = all.values().collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let share = kernels.iter().skip(worker).step_by(workers);
            scope.spawn(move || {
                for kernel in share {
                    let module = parse(kernel);
                    let info = validate(kernel, &module);
                    check_limits(kernel, &module);
                    check_selections(kernel, &module, &info);
                    translate(kernel, &module, &info);
                }
            });
        }
    });

    let stem = |name: &String| name.split(' ').next().unwrap_or_default().to_owned();
    let seen: BTreeSet<String> = all.keys().map(stem).collect();
    let files = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let wgsl = files.filter(|path| path.extension().is_some_and(|e| e == "wgsl"));
    let stems: BTreeSet<String> = wgsl
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(seen, stems, "stems of kernels and shader files");

    let count = |wanted: fn(&Kernel) -> bool| all.values().filter(|k| wanted(k)).count();
    let subgroups = count(|k| k.needs.subgroups);
    let wide = count(|k| k.needs.int64);
    let matrices = count(|k| k.needs.matrices);
    println!(
        "{} kernels, {subgroups} with subgroups, {wide} with 64-bit integers, {matrices} with \
         matrices",
        all.len()
    );
    // At least one per file, and the subgroup family at three sizes in many widths.
    assert!(
        all.len() - subgroups >= stems.len() - 2,
        "{} kernels",
        all.len()
    );
    assert!(
        subgroups >= 50 && wide >= 25 && matrices >= 50,
        "{subgroups} with subgroups, {wide} wide, {matrices} with matrices"
    );
}

/// A maximum that is written as a selection is found, also beside another condition.
#[test]
#[should_panic(expected = "may become a maximum")]
fn a_selection_by_comparison_is_noticed() {
    let source = "
        @group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            let value = x[id.x];
            let closed = (value < vec4<f32>(0.0)) & vec4<bool>(id.y != 0u);
            x[id.x] = select(value, vec4<f32>(0.0), closed);
        }";
    let kernel = Kernel {
        name: "clamped".to_owned(),
        source: source.into(),
        bindings: vec![Access::Write],
        workgroup: 64,
        needs: Needs::default(),
    };
    let module = parse(&kernel);
    let info = validate(&kernel, &module);
    check_selections(&kernel, &module, &info);
}

/// A portable target gets kernels without subgroups, 64-bit integers, halves or matrices.
#[test]
fn a_portable_target_gets_portable_kernels() {
    for small in small_networks() {
        let (network, passes) = (&small.network, Passes::default());
        let graph = step_graph(network, small.batch, &Input::Tensor, Mode::Train, passes).unwrap();
        let target = Target {
            software: true,
            ..Target::portable()
        };
        for target in [Target::portable(), target] {
            let lowered = kernels::lower(&graph, &target, &Choices::default()).unwrap();
            let more = |kernel: &&Kernel| kernel.needs != Needs::default();
            let found = lowered.program.kernels.iter().find(more);
            assert!(found.is_none(), "{}: {}", small.name, found.unwrap().name);
        }
    }
}

/// The words of the metrics that kernels name are those of the host.
#[test]
fn host_and_kernels_agree_on_the_words_of_the_metrics() {
    let metrics = Metrics {
        loss: 1.0,
        top1: 2,
        top5: 3,
        images: 4,
        halted: 5,
        gradient: 6,
        update: 7,
    };
    let words = metrics.to_words();
    let source = std::fs::read_to_string(format!("{}/lib/metrics.wgsl", folder())).unwrap();
    let module = naga::front::wgsl::parse_str(&source).unwrap();
    let named = module.constants.iter().map(|(_, constant)| {
        let name = constant.name.as_deref().unwrap();
        match module.global_expressions[constant.init] {
            Expression::Literal(Literal::U32(word)) => (name, words[word as usize]),
            ref other => panic!("{name} is {other:?}"),
        }
    });
    let expected = [
        ("METRICS_LOSS", 1f32.to_bits()),
        ("METRICS_TOP1", 2),
        ("METRICS_TOP5", 3),
        ("METRICS_IMAGES", 4),
        ("METRICS_HALTED", 5),
        ("METRICS_GRADIENT", 6),
        ("METRICS_UPDATE", 7),
    ];
    assert_eq!(named.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected));
}
