//! A model of training on several devices and machines: what a step exchanges, and how long that
//! takes. Nothing is measured but what the caller passes.
//!
//! A step computes on every device, then its gradients are exchanged, then it updates. On one machine
//! ([`crate::train::Trainer`] with several devices) the gradients of all devices are copied to the host
//! at once, each over lanes of its own; the host adds them, and writes the sum to each. Between ranks ([`crate::ranks`]) every rank sends
//! each other one a part, adds its own part, and sends that to all: 2 (n - 1) / n of the gradients in
//! each direction, as in a ring, in two rounds of messages after one of agreement.
//! The exchange begins when the backward pass has ended, so that times add up.

use serde::Serialize;

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

impl Topology {
    /// Milliseconds in which `count` devices exchange gradients of so many bytes.
    ///
    /// ```
    /// use pyr_wgpu::bench::{Costs, Topology};
    ///
    /// let costs = Costs { bus_gb_s: 20.0, add_gb_s: 10.0, network_gb_s: 1.0, message_us: 80.0 };
    /// // Twenty megabytes over the bus take a millisecond, over the network twenty.
    /// assert_eq!(Topology::Machine.exchange_ms(1, 20_000_000, &costs), 0.0);
    /// // The host adds two gradients and writes two sums.
    /// assert_eq!(Topology::Machine.exchange_ms(2, 20_000_000, &costs), 2.0 * 1.0 + 4.0 * 2.0);
    /// // Each machine moves the gradients once in each direction and adds half of the other's.
    /// let machines = Topology::Machines.exchange_ms(2, 20_000_000, &costs);
    /// assert!((machines - (2.0 * 1.0 + 2.0 * 2.0 + 20.0 + 1.0 + 3.0 * 0.08)).abs() < 1e-9);
    /// ```
    pub fn exchange_ms(self, count: usize, bytes: u64, costs: &Costs) -> f64 {
        if count < 2 {
            return 0.0;
        }
        let ms = |gb_s: f64| bytes as f64 / (1e6 * gb_s);
        let n = count as f64;
        let copies = 2.0 * ms(costs.bus_gb_s);
        // Adding a gradient, and writing the sum.
        let host = 2.0 * ms(costs.add_gb_s);
        match self {
            Topology::Machine => copies + n * host,
            Topology::Machines => {
                let share = (n - 1.0) / n;
                let moved = share * (2.0 * ms(costs.network_gb_s) + ms(costs.add_gb_s));
                // One for each other rank, one after another.
                let messages = 3.0 * (n - 1.0) * costs.message_us / 1e3;
                copies + host + moved + messages
            }
        }
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
    /// Milliseconds of the exchange.
    pub exchange_ms: f64,
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
        exchange_ms: f64,
        alone: f64,
    ) -> Scaled {
        let images_per_second = 1e3 * images as f64 / (compute_ms + exchange_ms);
        Scaled {
            devices,
            images,
            compute_ms,
            exchange_ms,
            images_per_second,
            efficiency: images_per_second / (devices as f64 * alone),
        }
    }
}
