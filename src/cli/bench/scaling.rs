//! `pyr-wgpu bench --scaling`: a model of training on several cards and machines.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Instant;

use serde::Serialize;

use super::super::error::CliError;
use super::super::figures::{Figures, program};
use super::super::{print_json, print_line};
use crate::bench::{Bucket, Costs, Estimate, Exchange, Limits, Scaled, Topology};
use crate::graph::{Graph, PartEnd, Passes, Precision};
use crate::memory::bytes;
use crate::model::{Input, Network};
use crate::ranks::{self, Encoding};
use crate::train::{Mode, StepOptions, Trainer, step_graph, step_graph_with, update_graph};

/// A card in sixteen lanes of PCIe 4, of whose 31.5 GB/s copies reach about four fifths: an
/// assumption.
const BUS_GB_S: f64 = 25.0;

/// A short message between machines: an assumption for TCP in a data centre, and the pause between two
/// polls of a rank that waits.
const MESSAGE_US: f64 = 80.0;

/// Networks of machines, in 10⁹ bits per second.
const NETWORKS: [f64; 2] = [10.0, 100.0];

/// The least time in which the host's work is measured, in seconds.
const MEASURED: f64 = 0.2;

/// What the model says about a network.
#[derive(Serialize)]
struct Model {
    card: Figures,
    batch_size: usize,
    gradient_bytes: u64,
    bus_gb_s: f64,
    /// Measured here.
    add_gb_s: f64,
    message_us: f64,
    /// In half precision.
    #[serde(skip_serializing_if = "Option::is_none")]
    halves_gb_s: Option<f64>,
    one: Scaled,
    tables: Vec<Table>,
}

/// A training step on a share of a batch, without the update.
struct Step {
    gradients_ms: f64,
    buckets: Vec<Bucket>,
}

impl Step {
    fn new(
        network: &Network,
        share: usize,
        bucket: Option<u64>,
        passes: Passes,
        limits: &Limits,
    ) -> Result<Step, CliError> {
        let options = StepOptions {
            bucket,
            ..StepOptions::default()
        };
        let (input, mode) = (Input::Tensor, Mode::MicroBatch);
        let graph = step_graph_with(network, share, &input, mode, options, passes)?;
        let ends_ms = Estimate::part_ends_ms(&program(&graph)?, limits);
        let complete = graph.parts().into_iter().zip(&ends_ms);
        let buckets = complete.filter_map(|(part, ready_ms)| match part.end {
            PartEnd::Sums(number) => {
                let sums = graph.nodes[number].outputs.iter();
                Some(Bucket {
                    ready_ms: *ready_ms,
                    bytes: sums.map(|id| graph.shape(*id).bytes()).sum(),
                })
            }
            PartEnd::Reduction(_) | PartEnd::Nothing => None,
        });
        Ok(Step {
            buckets: buckets.collect(),
            gradients_ms: ends_ms.last().copied().unwrap_or(0.0),
        })
    }
}

/// Rows for one place.
#[derive(Serialize)]
struct Table {
    topology: Topology,
    /// Of the network between machines.
    gigabits: Option<f64>,
    /// Whether the batch is divided; else each device has a batch of its own.
    divided: bool,
    rows: Vec<Scaled>,
}

/// Estimates and prints.
///
/// # Errors
/// If the network cannot take a share of the batch, or stdout cannot be written.
pub(super) fn run(
    network: &Network,
    batch: usize,
    passes: Passes,
    gradients: Precision,
    card: Figures,
    json: bool,
) -> Result<(), CliError> {
    let limits = card.limits();
    let estimate = |graph: &Graph| -> Result<f64, CliError> {
        let [least, _] = Estimate::new(&program(graph)?, &limits).step_ms;
        Ok(least)
    };
    let update = estimate(&update_graph(network, StepOptions::default(), passes)?)?;
    let mut steps = BTreeMap::new();
    let places = Topology::ALL.into_iter().flat_map(|topology| {
        let counts = topology.counts().iter();
        counts.map(move |count| (topology.ranks(*count), *count))
    });
    for (ranks, count) in places {
        let divided = (batch >= count).then(|| batch.div_ceil(count));
        for share in divided.into_iter().chain([batch]) {
            let bucket = Trainer::bucket(count, ranks);
            if let Entry::Vacant(entry) = steps.entry((share, bucket)) {
                entry.insert(Step::new(network, share, bucket, passes, &limits)?);
            }
        }
    }
    // One card updates in the same graph.
    let one = step_graph(network, batch, &Input::Tensor, Mode::Train, passes)?;
    let one_ms = estimate(&one)?;
    let trained = network.trained_parameters();
    let numbers: u64 = trained.iter().map(|parameter| parameter.len() as u64).sum();
    let gradient_bytes = 4 * numbers;
    let add_gb_s = adding(numbers as usize);
    let halves_gb_s = match gradients {
        Precision::F32 => None,
        Precision::F16 => Some(rounding(numbers as usize)),
    };
    let alone = 1e3 * batch as f64 / one_ms;
    let table = |topology: Topology, gigabits: Option<f64>, divided: bool| {
        let costs = Costs {
            bus_gb_s: BUS_GB_S,
            add_gb_s,
            network_gb_s: gigabits.unwrap_or(f64::INFINITY) / 8.0,
            message_us: MESSAGE_US,
            halves_gb_s,
        };
        let counts = topology.counts().iter().copied();
        let rows = counts.filter(|count| !divided || batch >= *count);
        let rows = rows.map(|count| {
            let (share, images) = match divided {
                true => (batch.div_ceil(count), batch),
                false => (batch, count * batch),
            };
            let step = &steps[&(share, Trainer::bucket(count, topology.ranks(count)))];
            let exchange = topology.exchange(count, &step.buckets, step.gradients_ms, &costs);
            let compute_ms = step.gradients_ms + update;
            Scaled::new(count, images, compute_ms, exchange, alone)
        });
        Table {
            topology,
            gigabits,
            divided,
            rows: rows.collect(),
        }
    };
    let mut tables = Vec::new();
    for divided in [true, false] {
        tables.push(table(Topology::Machine, None, divided));
        for gigabits in NETWORKS {
            tables.push(table(Topology::Machines, Some(gigabits), divided));
        }
    }
    let model = Model {
        batch_size: batch,
        gradient_bytes,
        bus_gb_s: BUS_GB_S,
        add_gb_s,
        message_us: MESSAGE_US,
        halves_gb_s,
        one: Scaled::new(1, batch, one_ms, Exchange::default(), alone),
        tables,
        card,
    };
    match json {
        true => print_json(&serde_json::to_value(&model).expect("figures are plain data")),
        false => model.print(),
    }
}

/// Measures how fast this processor adds gradients to a sum: 10⁹ bytes of gradients per second, as
/// runs on several devices add them.
fn adding(numbers: usize) -> f64 {
    let gradients = vec![1.0f32; numbers];
    let mut sum = vec![0.0f32; numbers];
    speed(numbers, || {
        ranks::add(&mut sum, &gradients);
        std::hint::black_box(&mut sum);
    })
}

/// Measures how fast this processor rounds gradients to half precision and reads them back: 10⁹ bytes
/// per second in single precision.
fn rounding(numbers: usize) -> f64 {
    let gradients = vec![1.0f32; numbers];
    let (mut encoded, mut decoded) = (Vec::new(), Vec::new());
    speed(numbers, || {
        let words = Encoding::Half.encode(&gradients, &mut encoded);
        std::hint::black_box(Encoding::Half.decode(words, numbers, &mut decoded));
    })
}

/// 10⁹ bytes per second of work on so many numbers.
fn speed(numbers: usize, mut work: impl FnMut()) -> f64 {
    // The first use of memory is slower.
    work();
    let mut done = 0;
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < MEASURED {
        work();
        done += numbers;
    }
    4e-9 * done as f64 / start.elapsed().as_secs_f64()
}

impl Model {
    fn print(&self) -> Result<(), CliError> {
        print_line(&format!(
            "model of a training step on several {}s; only adding{} was measured, here",
            self.card.name.unwrap_or("card"),
            self.halves_gb_s.map_or("", |_| " and rounding")
        ))?;
        print_line(&format!(
            "gradients: {} a step, without padding; over PCIe 4: {} GB/s, added at {:.1} GB/s; a message between \
             machines: {} µs{}",
            bytes(self.gradient_bytes),
            self.bus_gb_s,
            self.add_gb_s,
            self.message_us,
            match self.halves_gb_s {
                Some(speed) => format!(
                    "; sent in half precision, to which {speed:.1} GB/s are rounded and read back"
                ),
                None => String::new(),
            }
        ))?;
        print_line(&format!(
            "one card: {:.2} ms for a batch of {}, {:.0} img/s, if the bounds of each dispatch overlap",
            self.one.compute_ms, self.batch_size, self.one.images_per_second
        ))?;
        for table in &self.tables {
            table.print(self.batch_size)?;
        }
        Ok(())
    }
}

impl Table {
    fn print(&self, batch: usize) -> Result<(), CliError> {
        let place = match (self.topology, self.gigabits) {
            (Topology::Machines, Some(gigabits)) => {
                format!("machines with a card each, {gigabits} Gb/s")
            }
            _ => "cards in one machine".to_owned(),
        };
        let what = match self.divided {
            true => format!("a batch of {batch} in all"),
            false => format!("a batch of {batch} on each"),
        };
        print_line("")?;
        print_line(&format!("{place}, {what}"))?;
        print_line(&format!(
            "{:>8} {:>7} {:>11} {:>12} {:>8} {:>10} {:>11}",
            "devices", "images", "compute ms", "exchange ms", "hidden", "img/s", "efficiency"
        ))?;
        for row in &self.rows {
            print_line(&format!(
                "{:>8} {:>7} {:>11.2} {:>12.2} {:>6.0} % {:>10.0} {:>9.1} %",
                row.devices,
                row.images,
                row.compute_ms,
                row.exchange_ms,
                100.0 * row.hidden,
                row.images_per_second,
                100.0 * row.efficiency
            ))?;
        }
        Ok(())
    }
}
