//! Published figures of well-known cards, for estimates of cards that are not there.
//!
//! Sources are the vendors' specifications: NVIDIA's and AMD's product pages (AMD publishes the
//! rate itself; NVIDIA the cores and the boost clock, two operations a clock), Intel's product
//! specifications (vector engines and the graphics clock), Apple's announcements and Qualcomm's
//! product brief. Where a vendor does not publish a figure, the note of the card says so.
//! They were entered without those pages at hand, except for Apple and Qualcomm, and have not been
//! compared with them since.

use serde::Serialize;

use super::limits::{Bandwidth, Limits};

/// A graphics card, or the graphics of a processor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Card {
    /// The name it is sold by.
    pub name: &'static str,
    /// Peak rate in single precision, a multiply-add counted as two operations, 10⁹ per second.
    pub peak_gflops: f64,
    /// Peak memory bandwidth, 10⁹ bytes per second.
    pub bandwidth_gb_s: f64,
    /// Its own memory in GiB; `None` if it shares that of the system.
    pub memory_gib: Option<f64>,
    /// What one should know about the figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
}

/// Microseconds of a dispatch that waits for the one before it: an assumption, between the three
/// microseconds of fast drivers and ten of slow ones.
pub const LAUNCH_US: f64 = 5.0;

/// Microseconds from a load that misses the caches close to it until its value arrives: an
/// assumption, between a hit in a large cache and a miss.
pub const LATENCY_US: f64 = 0.5;

/// AMD's rate since RDNA 3.
const DUAL_ISSUE: Option<&str> =
    Some("the published rate counts two multiply-adds per lane and clock; most code reaches half");

/// The figures of a card with its own memory.
const fn card(name: &'static str, peak_gflops: f64, bandwidth_gb_s: f64, gib: f64) -> Card {
    Card {
        name,
        peak_gflops,
        bandwidth_gb_s,
        memory_gib: Some(gib),
        note: None,
    }
}

/// The figures of graphics that share the memory of the system.
const fn shared(
    name: &'static str,
    peak_gflops: f64,
    bandwidth_gb_s: f64,
    note: Option<&'static str>,
) -> Card {
    Card {
        name,
        peak_gflops,
        bandwidth_gb_s,
        memory_gib: None,
        note,
    }
}

const fn noted(card: Card, note: Option<&'static str>) -> Card {
    Card { note, ..card }
}

/// All cards.
pub static CARDS: [Card; 16] = [
    card("RTX 3060", 12_740.0, 360.0, 12.0),
    card("RTX 4060", 15_110.0, 272.0, 8.0),
    card("RTX 4070", 29_150.0, 504.0, 12.0),
    card("RTX 4090", 82_580.0, 1008.0, 24.0),
    card("RTX 5090", 104_800.0, 1792.0, 32.0),
    card("RX 6700 XT", 13_210.0, 384.0, 12.0),
    noted(card("RX 7600", 21_750.0, 288.0, 8.0), DUAL_ISSUE),
    noted(card("RX 7900 XTX", 61_400.0, 960.0, 24.0), DUAL_ISSUE),
    card("Arc A770", 17_200.0, 560.0, 16.0),
    card("Arc B580", 13_670.0, 456.0, 12.0),
    shared(
        "Apple M1",
        2600.0,
        68.0,
        Some("eight cores; Apple does not publish the bandwidth: LPDDR4X-4266, 128 bits"),
    ),
    shared("Apple M2 Pro", 6800.0, 200.0, Some("19 cores")),
    shared(
        "Apple M4 Max",
        17_200.0,
        546.0,
        Some("40 cores; Apple does not publish the rate: 5120 lanes at about 1.68 GHz"),
    ),
    noted(
        shared("Radeon 780M", 8290.0, 89.6, None),
        Some("the rate counts two multiply-adds per lane and clock; DDR5-5600, two channels"),
    ),
    shared(
        "Iris Xe",
        2000.0,
        68.3,
        Some("96 units at 1.3 GHz, as in the Core i7-1165G7; LPDDR4X-4267, two channels"),
    ),
    shared(
        "Adreno X1-85",
        4600.0,
        135.0,
        Some("as in the Snapdragon X Elite X1E-84"),
    ),
];

/// The card of a name, whatever its case, spaces and hyphens; `None` if it is not in the table.
///
/// ```
/// use pyr_wgpu::bench::cards::find;
///
/// assert_eq!(find("rtx-4090").unwrap().name, "RTX 4090");
/// assert_eq!(find("RTX4090"), find("rtx 4090"));
/// assert_eq!(find("RTX 4091"), None);
/// ```
pub fn find(name: &str) -> Option<&'static Card> {
    let plain = |name: &str| {
        let characters = name.chars().filter(|c| c.is_alphanumeric());
        characters.flat_map(char::to_lowercase).collect::<String>()
    };
    CARDS.iter().find(|card| plain(card.name) == plain(name))
}

/// The limits of a card: the memory bandwidth counts for tensors of any size, as if there were no
/// caches.
pub fn limits(peak_gflops: f64, bandwidth_gb_s: f64, launch_us: f64, latency_us: f64) -> Limits {
    Limits {
        peak_gflops,
        copies: vec![Bandwidth {
            working_set_bytes: u64::MAX,
            gb_s: bandwidth_gb_s,
        }],
        launch_us,
        latency_us: Some(latency_us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_card_is_found_by_its_name() {
        for card in &CARDS {
            let hyphens = card.name.to_lowercase().replace(' ', "-");
            for name in [card.name, &hyphens] {
                assert_eq!(find(name).map(|found| found.name), Some(card.name));
            }
        }
    }

    /// GFLOP/s, GB/s and GiB are not mixed up.
    #[test]
    fn figures_are_plausible() {
        for card in &CARDS {
            let operations_per_byte = card.peak_gflops / card.bandwidth_gb_s;
            assert!(
                (20.0..150.0).contains(&operations_per_byte),
                "{}",
                card.name
            );
            let memory = card.memory_gib.unwrap_or(8.0);
            assert!((8.0..=32.0).contains(&memory), "{}", card.name);
        }
    }
}
