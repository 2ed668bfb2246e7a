//! `pyr-wgpu devices`: every adapter with its features and limits.

use clap::Args as ClapArgs;

use super::error::CliError;
use super::{print_json, print_line};
use crate::engine::Device;
use crate::gpu::adapter::{self, BACKENDS};
use crate::gpu::{Description, GpuError};
use crate::memory::bytes;
use crate::program::MatrixUnit;

/// Arguments of `devices`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// Only adapters of this backend
    #[arg(long, value_name = "NAME", value_parser = BACKENDS)]
    backend: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Lists adapters.
///
/// # Errors
/// If there is none.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    let found = pollster::block_on(adapter::list(args.backend.as_deref()));
    let found: Vec<Description> = found.into_iter().map(|a| a.description).collect();
    if args.json {
        let value = serde_json::to_value(&found).expect("descriptions are plain data");
        return print_json(&value);
    }
    if found.is_empty() {
        let looked = args.backend.map(|b| format!(" for the backend {b}"));
        return Err(GpuError::NoAdapter {
            looked: looked.unwrap_or_default(),
        }
        .into());
    }
    for description in &found {
        print_line(&describe(description))?;
    }
    if args.backend.is_none() {
        print_line(&format!("cpu: {}, needs no adapter", Device::cpu().name()))?;
    }
    Ok(())
}

fn describe(d: &Description) -> String {
    let yes = |flag: bool| if flag { "yes" } else { "no" };
    let [smallest, largest] = d.subgroup_size;
    let subgroups = match (d.subgroups, smallest == largest) {
        (false, _) => "no".to_owned(),
        (true, true) => format!("of {largest}"),
        (true, false) => format!("of {smallest} to {largest}"),
    };
    let matrices: Vec<String> = d.matrices.iter().map(MatrixUnit::to_string).collect();
    let matrices = match matrices.is_empty() {
        true => "no".to_owned(),
        false => matrices.join(" and "),
    };
    format!(
        "{}\n   driver {} {}\n   f16 {}, matrix units {matrices}, subgroups {subgroups}, \
         timestamps {}\n   buffers up to {}, bindings up to {}, workgroups up to {} with {} of \
         memory",
        d.line(),
        d.driver,
        d.driver_info,
        yes(d.f16),
        yes(d.timestamps),
        bytes(d.max_buffer),
        bytes(d.max_binding),
        d.max_workgroup_invocations,
        bytes(u64::from(d.max_workgroup_storage)),
    )
}
