//! A model of training on several devices and machines: what a step exchanges, and how long that
//! takes. Nothing is measured but what the caller passes.
//!
//! A step computes on every device and exchanges its gradients, then it updates. Gradients leave in
//! buckets as soon as the backward pass has computed them ([`crate::train::Trainer`] with several
//! devices). On one machine a bucket is copied to the host from all devices at once, each over lanes of
//! its own; the host adds the copies, and writes the sum to each. Between ranks ([`crate::ranks`]) every
//! rank sends each other one a part, adds its own part, and sends that to all: 2 (n - 1) / n of the
//! gradients in each direction, as in a ring, in two rounds of messages after one of agreement. One
//! more agreement ends the step. In half precision it rounds all gradients and reads its part of
//! everyone's, then rounds its sums and reads all: at most twice each.
//!
//! A bucket is copied to the host while the host works on the one before, and both while devices
//! compute, without slowing them, which is an assumption. The host begins when all parts of the backward
//! pass are submitted, of which a few may wait for the device. Sums are copied to the devices when all
//! are complete and the computation has ended. What takes longer than the computation is visible.

use serde::Serialize;

use crate::gpu::MAX_IN_FLIGHT;
use crate::ranks::Encoding;

/// The speed of what moves gradients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Costs {
    /// Between a card and the host's memory, 10⁹ bytes per second.
    pub bus_gb_s: f64,
    /// Of gradients that the host adds to a sum, or copies, 10⁹ bytes per second.
    pub add_gb_s: f64,
    /// Of a machine's network in each direction, 10⁹ bytes per second.
    pub network_gb_s: f64,
    /// From sending a short message until it has arrived, in microseconds.
    pub message_us: f64,
    /// If machines send gradients in half precision: of those that the host rounds and reads back, 10⁹
    /// bytes per second in single precision.
    pub halves_gb_s: Option<f64>,
}

/// Where the devices are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// On one machine.
    Machine,
    /// On machines of their own.
    Machines,
}

/// Gradients that leave a device together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bucket {
    /// Milliseconds from the start of the computation until they are complete.
    pub ready_ms: f64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Times of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Exchange {
    /// Milliseconds of all copies, additions and messages, one after another.
    pub total_ms: f64,
    /// Milliseconds of these during the computation.
    pub hidden_ms: f64,
    /// Milliseconds from the end of the computation to the end of the exchange.
    pub visible_ms: f64,
}

impl Topology {
    /// All topologies.
    pub const ALL: [Topology; 2] = [Topology::Machine, Topology::Machines];

    /// The numbers of devices for which the model is printed.
    pub fn counts(self) -> &'static [usize] {
        match self {
            Topology::Machine => &[2, 4, 8],
            Topology::Machines => &[2, 4, 8, 16, 32, 64],
        }
    }

    /// The number of ranks of so many devices.
    pub fn ranks(self, count: usize) -> usize {
        match self {
            Topology::Machine => 1,
            Topology::Machines => count,
        }
    }

    /// The exchange of `count` devices that compute for `end_ms`.
    ///
    /// ```
    /// use pyr_wgpu::bench::{Bucket, Costs, Topology};
    ///
    /// let costs = Costs {
    ///     bus_gb_s: 20.0,
    ///     add_gb_s: 10.0,
    ///     network_gb_s: 1.0,
    ///     message_us: 80.0,
    ///     halves_gb_s: None,
    /// };
    /// let end_ms = 50.0;
    /// // Twenty megabytes over the bus take a millisecond, over the network twenty.
    /// let whole = [Bucket { ready_ms: end_ms, bytes: 20_000_000 }];
    /// assert_eq!(Topology::Machine.exchange(1, &whole, end_ms, &costs).total_ms, 0.0);
    /// // The host adds two gradients and writes two sums.
    /// let exchange = Topology::Machine.exchange(2, &whole, end_ms, &costs);
    /// assert_eq!(exchange.total_ms, 2.0 * 1.0 + 4.0 * 2.0);
    /// assert_eq!(exchange.visible_ms, exchange.total_ms);
    /// // Each machine moves the gradients once in each direction and adds half of the other's.
    /// let machines = Topology::Machines.exchange(2, &whole, end_ms, &costs);
    /// let expected = 2.0 * 1.0 + 2.0 * 2.0 + 20.0 + 1.0 + 4.0 * 0.08;
    /// assert!((machines.visible_ms - expected).abs() < 1e-9);
    /// // Halves, and a word for 1024 of them; each number is rounded and read back twice.
    /// let halves = Costs { halves_gb_s: Some(5.0), ..costs };
    /// let rounded = Topology::Machines.exchange(2, &whole, end_ms, &halves);
    /// let saved = 20.0 - (10.0 + 20.0 / 1024.0) - 2.0 * 4.0;
    /// assert!((machines.visible_ms - rounded.visible_ms - saved).abs() < 0.01);
    /// // Half of them are complete earlier.
    /// let halves = [40.0, end_ms].map(|ready_ms| Bucket { ready_ms, bytes: 10_000_000 });
    /// let exchange = Topology::Machine.exchange(2, &halves, end_ms, &costs);
    /// assert_eq!(exchange.total_ms, 10.0);
    /// // Copying and adding a half; then the other half, and two copies to the devices.
    /// assert_eq!(exchange.hidden_ms, 0.5 + 4.0);
    /// assert_eq!(exchange.visible_ms, 0.5 + 4.0 + 1.0);
    /// ```
    pub fn exchange(
        self,
        count: usize,
        buckets: &[Bucket],
        end_ms: f64,
        costs: &Costs,
    ) -> Exchange {
        let mut exchange = Exchange::default();
        if count < 2 {
            return exchange;
        }
        let n = count as f64;
        // One message for each other rank, one after another.
        let round = match self {
            Topology::Machine => 0.0,
            Topology::Machines => (n - 1.0) * costs.message_us / 1e3,
        };
        let before_end = |start: f64, ms: f64| (end_ms - start).clamp(0.0, ms);
        // When the bus to the host and the host are free; the host has submitted all parts then.
        let waiting = buckets.len().checked_sub(MAX_IN_FLIGHT + 1);
        let submitted = waiting.map_or(0.0, |part| buckets[part].ready_ms);
        let (mut bus, mut host) = (0.0f64, submitted);
        let mut hidden_ms = 0.0;
        let mut copies = 0.0;
        for bucket in buckets {
            let ms = |gb_s: f64| bucket.bytes as f64 / (1e6 * gb_s);
            let copy = ms(costs.bus_gb_s);
            // Adding a gradient, and writing the sum.
            let add = 2.0 * ms(costs.add_gb_s);
            let work = match self {
                Topology::Machine => n * add,
                Topology::Machines => {
                    let share = (n - 1.0) / n;
                    let (encoding, rounding) = match costs.halves_gb_s {
                        None => (Encoding::Single, 0.0),
                        Some(halves_gb_s) => (Encoding::Half, 2.0 * ms(halves_gb_s)),
                    };
                    let sent = 4.0 * encoding.words(bucket.bytes as usize / 4) as f64;
                    let sent = sent / (1e6 * costs.network_gb_s);
                    let moved = 2.0 * sent + ms(costs.add_gb_s);
                    add + rounding + share * moved + 3.0 * round
                }
            };
            let copied = bus.max(bucket.ready_ms);
            bus = copied + copy;
            let worked = host.max(bus);
            host = worked + work;
            hidden_ms += before_end(copied, copy) + before_end(worked, work);
            exchange.total_ms += 2.0 * copy + work;
            copies += copy;
        }
        exchange.total_ms += round;
        exchange.visible_ms = host.max(end_ms) - end_ms + copies + round;
        exchange.hidden_ms = hidden_ms;
        exchange
    }
}

/// A step on some devices.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scaled {
    /// Number of devices.
    pub devices: usize,
    /// Images of all of them in a step.
    pub images: usize,
    /// Milliseconds of the computation.
    pub compute_ms: f64,
    /// Milliseconds of the exchange after the computation.
    pub exchange_ms: f64,
    /// The share of the exchange that takes place during the computation, 0 to 1.
    pub hidden: f64,
    /// Images per second.
    pub images_per_second: f64,
    /// Images per second for each device, as a share of those of one device with the batch of one.
    pub efficiency: f64,
}

impl Scaled {
    /// A step of so many images, of which each device computes its share in `compute_ms`, compared with
    /// `alone` images per second of one device.
    pub fn new(
        devices: usize,
        images: usize,
        compute_ms: f64,
        exchange: Exchange,
        alone: f64,
    ) -> Scaled {
        let exchange_ms = exchange.visible_ms;
        let images_per_second = 1e3 * images as f64 / (compute_ms + exchange_ms);
        let hidden = match exchange.total_ms {
            0.0 => 0.0,
            total => exchange.hidden_ms / total,
        };
        Scaled {
            devices,
            images,
            compute_ms,
            exchange_ms,
            hidden,
            images_per_second,
            efficiency: images_per_second / (devices as f64 * alone),
        }
    }
}
