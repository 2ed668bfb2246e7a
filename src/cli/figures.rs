//! The flags of a card that need not be here, and the program of a step as it would run there.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::error::CliError;
use crate::bench::Limits;
use crate::bench::cards::{self, CARDS, Card};
use crate::graph::Graph;
use crate::kernels::{self, Choices, Target};
use crate::program::Program;

/// The flags of a card.
#[derive(ClapArgs, Default)]
#[command(next_help_heading = "Estimate")]
pub(super) struct CardArgs {
    #[arg(long, value_name = "NAME", value_parser = card, help = card_help())]
    card: Option<&'static Card>,
    /// The card's rate in single precision, in 10⁹ operations per second [default: as published]
    #[arg(long, value_name = "X", value_parser = positive_number)]
    card_gflops: Option<f64>,
    /// Its memory bandwidth, in 10⁹ bytes per second [default: as published]
    #[arg(long, value_name = "X", value_parser = positive_number)]
    card_bandwidth: Option<f64>,
    /// Its memory in GiB [default: as published]
    #[arg(long, value_name = "X", value_parser = positive_number)]
    card_memory: Option<f64>,
    #[arg(long, value_name = "X", value_parser = positive_number, help = launch_help())]
    card_launch_us: Option<f64>,
    #[arg(long, value_name = "X", value_parser = positive_number, help = latency_help())]
    card_latency_us: Option<f64>,
}

fn known() -> String {
    let names: Vec<&str> = CARDS.iter().map(|card| card.name).collect();
    names.join(", ")
}

fn card_help() -> String {
    format!(
        "Estimate speed and memory on a card that need not be here: {}",
        known()
    )
}

fn launch_help() -> String {
    let default = cards::LAUNCH_US;
    format!("Assumed microseconds of a dispatch that waits for another [default: {default}]")
}

fn latency_help() -> String {
    let default = cards::LATENCY_US;
    format!("Assumed microseconds that a load from its memory takes [default: {default}]")
}

/// Parses the name of a card.
fn card(name: &str) -> Result<&'static Card, String> {
    cards::find(name).ok_or_else(|| {
        format!(
            "it is not in the table; choose one of {}, or give --card-gflops and --card-bandwidth \
             instead",
            known()
        )
    })
}

/// Parses a number greater than zero.
fn positive_number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        Ok(_) => Err("it must be greater than 0 and finite".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The figures of a card that an estimate is made with.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) name: Option<&'static str>,
    pub(super) peak_gflops: f64,
    pub(super) bandwidth_gb_s: f64,
    pub(super) memory_bytes: Option<u64>,
    pub(super) launch_us: f64,
    pub(super) latency_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<&'static str>,
}

impl CardArgs {
    /// The card's figures, where none are given those of a card of the table.
    ///
    /// # Errors
    /// As [`CardArgs::figures`].
    pub(super) fn figures_or(&self, name: &str) -> Result<Figures, CliError> {
        let is_known = self.card_gflops.is_some() && self.card_bandwidth.is_some();
        let card = self.card.or(cards::find(name).filter(|_| !is_known));
        let figures = CardArgs { card, ..*self }.figures()?;
        Ok(figures.expect("there is a card, or its figures"))
    }

    /// The card's figures, if one was given.
    ///
    /// # Errors
    /// If the flags do not say how fast it is.
    pub(super) fn figures(&self) -> Result<Option<Figures>, CliError> {
        let given = [
            self.card_gflops,
            self.card_bandwidth,
            self.card_memory,
            self.card_launch_us,
            self.card_latency_us,
        ];
        if self.card.is_none() && given.iter().all(Option::is_none) {
            return Ok(None);
        }
        let rate = self.card_gflops.or(self.card.map(|c| c.peak_gflops));
        let bandwidth = self.card_bandwidth.or(self.card.map(|c| c.bandwidth_gb_s));
        let (Some(peak_gflops), Some(bandwidth_gb_s)) = (rate, bandwidth) else {
            return Err(CliError::Usage(
                "the estimate needs --card NAME, or both --card-gflops and --card-bandwidth"
                    .to_owned(),
            ));
        };
        let gib = self.card_memory.or(self.card.and_then(|c| c.memory_gib));
        Ok(Some(Figures {
            name: self.card.map(|card| card.name),
            peak_gflops,
            bandwidth_gb_s,
            memory_bytes: gib.map(|gib| (gib * f64::from(1 << 30)) as u64),
            launch_us: self.card_launch_us.unwrap_or(cards::LAUNCH_US),
            latency_us: self.card_latency_us.unwrap_or(cards::LATENCY_US),
            note: self.card.and_then(|card| card.note),
        }))
    }
}

impl Figures {
    pub(super) fn limits(&self) -> Limits {
        cards::limits(
            self.peak_gflops,
            self.bandwidth_gb_s,
            self.launch_us,
            self.latency_us,
        )
    }
}

/// A target without a binding limit: the summary reports what the limit must be.
fn unlimited() -> Target {
    Target {
        max_binding: u64::MAX,
        storage_bindings: 16,
        ..Target::portable()
    }
}

/// The program of a graph, with the default kernels of a graphics card.
pub(super) fn program(graph: &Graph) -> Result<Program, CliError> {
    Ok(kernels::lower(graph, &unlimited(), &Choices::default())?.program)
}
