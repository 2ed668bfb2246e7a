//! The flags that say where to run, and what is said about the choice.

use clap::Args;

use super::cache;
use super::error::CliError;
use crate::engine::{Device, DeviceRequest};
use crate::gpu::adapter::BACKENDS;

/// Where to run.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Device")]
pub(super) struct DeviceArgs {
    /// auto, cpu, reference (slow, for checking), a number, or part of a name; see
    /// `pyr-wgpu devices`
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
        self.open_again(None)
    }

    /// The same, where a run that continues recorded its device: `auto` takes that one.
    ///
    /// # Errors
    /// If there is no such device.
    pub(super) fn open_again(&self, recorded: Option<&str>) -> Result<Device, CliError> {
        let automatic = self.device == "auto" && self.backend.is_none();
        let recorded = recorded.filter(|_| automatic);
        let request = DeviceRequest {
            device: Some(recorded.unwrap_or(&self.device).to_owned()),
            backend: self.backend.clone(),
            checked: self.checked,
        };
        let device = pollster::block_on(Device::open(&request)).map_err(|error| {
            let error = CliError::from(error);
            match (recorded, error) {
                (Some(name), CliError::Device(text)) => CliError::Device(format!(
                    "the run began on {name}: {text}; --device cpu, or any other, continues it \
                     there, with other roundings"
                )),
                (_, error) => error,
            }
        })?;
        if let Device::Gpu(gpu) = &device {
            cache::keep_pipelines(gpu);
        }
        let reason = match recorded {
            Some(_) => ", on which the run began".to_owned(),
            None => self.reason(&device),
        };
        self.say(&format!("device: {}{reason}", device.name()));
        if let Device::Gpu(gpu) = &device {
            for (unit, reason) in &gpu.refused {
                self.say(&format!(
                    "note: the matrix units that the driver offers ({unit}) are not used: {reason}"
                ));
            }
        }
        if device.description().is_some_and(|d| d.software()) {
            self.say(
                "note: this adapter is software: it runs the same shaders as a GPU, several times \
                 slower than --device cpu",
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
        match device {
            _ if self.device != "auto" => format!(", chosen by --device {}", self.device),
            Device::Gpu(gpu) if gpu.description.software() => {
                ", the only adapter of that backend".to_owned()
            }
            Device::Gpu(_) => ", the first hardware adapter".to_owned(),
            Device::Cpu(_) => {
                ", as no graphics card was found; if there is one, install its Vulkan driver"
                    .to_owned()
            }
            Device::Reference => String::new(),
        }
    }
}
