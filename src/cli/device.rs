//! The flags that say where to run, and what is said about the choice.

use clap::Args;

use super::error::CliError;
use crate::engine::{Device, DeviceRequest};
use crate::gpu::adapter::BACKENDS;

/// Where to run.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Device")]
pub(super) struct DeviceArgs {
    /// auto, cpu (the slow reference), a number, or part of a name; see `pyr-wgpu devices`
    #[arg(long, value_name = "WHICH", default_value = "auto")]
    pub(super) device: String,
    /// Only adapters of this backend
    #[arg(long, value_name = "NAME", value_parser = BACKENDS)]
    pub(super) backend: Option<String>,
    /// Let shaders check every index, as browsers do
    #[arg(long)]
    pub(super) checked: bool,
    /// Say nothing but results and errors
    #[arg(long, short)]
    pub(super) quiet: bool,
}

impl DeviceArgs {
    /// Opens the device and says which one and why.
    ///
    /// # Errors
    /// If there is no such device.
    pub(super) fn open(&self) -> Result<Device, CliError> {
        let request = DeviceRequest {
            device: Some(self.device.clone()),
            backend: self.backend.clone(),
            checked: self.checked,
        };
        let device = pollster::block_on(Device::open(&request))?;
        self.say(&format!(
            "device: {}{}",
            device.name(),
            self.reason(&device)
        ));
        if device.description().is_some_and(|d| d.software()) && self.device == "auto" {
            self.say(
                "warning: this adapter is software: it runs the same shaders, ten to a hundred \
                 times slower than a GPU; with a GPU in the machine, install its Vulkan driver",
            );
        }
        Ok(device)
    }

    /// Prints to stderr unless `--quiet`.
    pub(super) fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    fn reason(&self, device: &Device) -> String {
        match device.description() {
            Some(_) if self.device != "auto" => format!(", chosen by --device {}", self.device),
            Some(d) if d.software() => ", the only kind of adapter here".to_owned(),
            Some(_) => ", the first hardware adapter".to_owned(),
            None => String::new(),
        }
    }
}
