//! The values of `--micro-batch`, `--recompute`, `--memory` and `--shares`.

use std::str::FromStr;

/// A value of `--micro-batch`.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum MicroBatch {
    Auto,
    Images(usize),
}

impl FromStr for MicroBatch {
    type Err = String;

    fn from_str(text: &str) -> Result<MicroBatch, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(MicroBatch::Auto),
            (_, Ok(images)) => Ok(MicroBatch::Images(images)),
            (_, Err(_)) => Err("it is a number of images, or auto".to_owned()),
        }
    }
}

/// A value of `--recompute`.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Recompute {
    Auto,
    On,
    Off,
}

impl FromStr for Recompute {
    type Err = String;

    fn from_str(text: &str) -> Result<Recompute, String> {
        match text {
            "auto" => Ok(Recompute::Auto),
            // As a switch is written in a file of flags.
            "on" | "true" => Ok(Recompute::On),
            "off" | "false" => Ok(Recompute::Off),
            _ => Err("it is on, off or auto".to_owned()),
        }
    }
}

/// A value of `--shares`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shares {
    Auto,
    Parts(Vec<u32>),
}

impl FromStr for Shares {
    type Err = String;

    fn from_str(text: &str) -> Result<Shares, String> {
        if text == "auto" {
            return Ok(Shares::Auto);
        }
        let parts = text.split(',').map(|part| part.trim().parse().ok());
        let parts = parts.map(|part| part.filter(|part| *part > 0));
        let parts: Option<Vec<u32>> = parts.collect();
        parts
            .map(Shares::Parts)
            .ok_or_else(|| "give whole numbers above 0, as in 3,1, or auto".to_owned())
    }
}

/// Parses a size such as 6GiB or 800MiB.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let parsed = units.iter().find_map(|(unit, shift)| {
        let number: f64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        let size = number * 2f64.powi(*shift);
        (size >= 1.0 && size < 2f64.powi(63)).then_some(size as u64)
    });
    parsed.ok_or_else(|| "give a number with KiB, MiB, GiB or TiB, as in 6GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_numbers() {
        assert_eq!("3,1".parse(), Ok(Shares::Parts(vec![3, 1])));
        assert_eq!("auto".parse(), Ok(Shares::Auto));
        for wrong in ["", "3,", "0,1", "1.5,1", "-1,2", "3;1", "4294967296,1"] {
            let error = wrong.parse::<Shares>().unwrap_err();
            assert!(error.contains("3,1"), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("6GiB"), Ok(6 << 30));
        assert_eq!(size("1.5 MiB"), Ok(3 << 19));
        assert_eq!(size("2TiB"), Ok(2 << 40));
        for wrong in ["6", "6GB", "GiB", "-1GiB", "0GiB", "nanGiB", "1e30TiB"] {
            assert!(size(wrong).unwrap_err().contains("6GiB"), "{wrong}");
        }
    }
}
