//! How the learning rate changes over a run.
//!
//! - step: divided by ten at the milestones, at the start of their epochs (the paper's recipe).
//! - cosine: half a period of the cosine from the initial rate to zero, in every step (Loshchilov
//!   and Hutter: SGDR, ICLR 2017, equation 5 without restarts).
//! - polynomial: the initial rate times (1 - progress)^power, in every step (PyTorch's
//!   `PolynomialLR`).
//!
//! A warm-up precedes each: the rate grows linearly, step by step, to the initial one (Goyal et al.:
//! Accurate, Large Minibatch SGD, 2017, section 2.2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The kinds of schedules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Drops at milestones.
    #[default]
    Step,
    /// Half a cosine.
    Cosine,
    /// A power of what remains.
    Polynomial,
}

impl Schedule {
    const ALL: [(Schedule, &str); 3] = [
        (Schedule::Step, "step"),
        (Schedule::Cosine, "cosine"),
        (Schedule::Polynomial, "polynomial"),
    ];

    /// Whether it is the default.
    pub fn is_step(&self) -> bool {
        *self == Schedule::Step
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Schedule, String> {
        let found = Schedule::ALL.iter().find(|(_, word)| *word == text);
        let found = found.map(|(schedule, _)| *schedule);
        found.ok_or_else(|| "it is step, cosine or polynomial".to_owned())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = Schedule::ALL.iter().find(|(schedule, _)| schedule == self);
        f.write_str(row.map_or("", |(_, word)| word))
    }
}
