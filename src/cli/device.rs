//! The flags that select a device, and the messages about the selection.

use clap::Args;

use super::cache;
use super::error::CliError;
use super::output::print_message;
use crate::engine::{Device, DeviceKind, DeviceRequest};
use crate::gpu::adapter::BACKENDS;
use crate::run::RecordedDevice;
use crate::text::printable;

/// Where to run.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Device")]
pub(super) struct DeviceArgs {
    /// auto, cpu, reference (slow, for checking), an adapter's number, or part of its name; see
    /// `pyr-wgpu devices`
    #[arg(long, value_name = "WHICH", default_value = "auto")]
    pub(super) device: String,
    /// Only adapters of this backend
    #[arg(long, value_name = "NAME", value_parser = BACKENDS)]
    pub(super) backend: Option<String>,
    /// Check every index in shaders, as browsers do
    #[arg(long)]
    pub(super) checked: bool,
    /// Use the adapter's matrix units (tensor cores) where they are faster. Off by default: the
    /// compiled kernels lack barriers that Vulkan asks for (wgpu issue 8805)
    #[arg(long)]
    pub(super) matrix_units: bool,
    /// Print results and errors only
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Whether `auto` has found no graphics card
    #[arg(skip)]
    fell_back: bool,
    /// Which of the adapters with exactly this name
    #[arg(skip)]
    ordinal: usize,
    /// Whether it is of the list of --devices
    #[arg(skip)]
    is_listed: bool,
    /// The number of the rank on its machine that has the device
    #[arg(skip)]
    local_rank: Option<usize>,
    /// The number of a rank that follows rank 0
    #[arg(skip)]
    pub(super) follower: Option<usize>,
}

impl DeviceArgs {
    /// Checks that the flags do not contradict each other.
    ///
    /// # Errors
    /// If a flag would have no effect.
    pub(super) fn check(&self) -> Result<(), CliError> {
        self.check_name()?;
        if let Some(backend) = &self.backend {
            self.needs_adapter(&format!("--backend {backend}"), "has no backend")?;
        }
        if self.checked {
            self.needs_adapter("--checked", "runs no shaders")?;
        }
        match self.matrix_units {
            true => self.needs_adapter("--matrix-units", "has no matrix units"),
            false => Ok(()),
        }
    }

    /// Checks that the name of the device is not empty.
    ///
    /// # Errors
    /// If it is.
    pub(super) fn check_name(&self) -> Result<(), CliError> {
        match self.request().kind() {
            DeviceKind::Adapter(name) if name.trim().is_empty() => Err(CliError::Usage(format!(
                "{} has an empty name; give cpu, an adapter's number or part of its name; see \
                 `pyr-wgpu devices`",
                self.flag()
            ))),
            _ => Ok(()),
        }
    }

    /// The flag that names the device.
    fn flag(&self) -> &'static str {
        match self.is_listed {
            true => "--devices",
            false => "--device",
        }
    }

    /// Checks that `--device` may select an adapter, since a flag was given that has an effect
    /// there only.
    ///
    /// # Errors
    /// If it names the processor, or `auto` has selected it; `reason` says why the flag has no
    /// effect.
    pub(super) fn needs_adapter(&self, flag: &str, reason: &str) -> Result<(), CliError> {
        match self.request().kind() {
            _ if self.fell_back => Err(CliError::Device(format!(
                "no graphics card was found, and the processor {reason}; leave out {flag}, or \
                 name an adapter with --device"
            ))),
            DeviceKind::Cpu | DeviceKind::Reference => Err(CliError::Usage(format!(
                "{} {} {reason}; leave out {flag}, or name an adapter",
                self.flag(),
                self.device
            ))),
            DeviceKind::Auto | DeviceKind::Adapter(_) => Ok(()),
        }
    }

    /// The flags of a resumed run: `auto` is the device that it recorded.
    pub(super) fn again(&self, recorded: Option<&RecordedDevice>) -> DeviceArgs {
        match recorded.filter(|_| self.is_automatic()).cloned() {
            Some(RecordedDevice {
                device,
                backend,
                ordinal,
            }) => DeviceArgs {
                device,
                backend,
                ordinal,
                ..self.clone()
            },
            None => self.clone(),
        }
    }

    /// The flags for kernels that were chosen earlier and need matrix units.
    pub(super) fn with_matrix_units(&self) -> DeviceArgs {
        DeviceArgs {
            matrix_units: true,
            ..self.clone()
        }
    }

    /// The flags for a device of the list of --devices.
    pub(super) fn listed(&self, device: &str) -> DeviceArgs {
        DeviceArgs {
            device: device.trim().to_owned(),
            is_listed: true,
            ..self.clone()
        }
    }

    /// The flags once a device is opened: where `auto` is the processor, they say so.
    pub(super) fn opened(&self, device: &Device) -> DeviceArgs {
        DeviceArgs {
            fell_back: self.is_automatic() && device.description().is_none(),
            ..self.clone()
        }
    }

    pub(super) fn is_automatic(&self) -> bool {
        self.is_any() && self.backend.is_none()
    }

    /// Whether no device is named, but perhaps a backend.
    pub(super) fn is_any(&self) -> bool {
        self.request().kind() == DeviceKind::Auto
    }

    /// The flags for the card that a rank has among those of its machine.
    pub(super) fn of_rank(&self, rank: usize) -> DeviceArgs {
        DeviceArgs {
            local_rank: Some(rank),
            ..self.clone()
        }
    }

    pub(super) fn request(&self) -> DeviceRequest {
        DeviceRequest {
            device: Some(self.device.clone()),
            ordinal: self.ordinal,
            backend: self.backend.clone(),
            checked: self.checked,
            matrices: self.matrix_units,
        }
    }

    /// Opens the device and prints which one and why.
    ///
    /// # Errors
    /// If there is no such device.
    pub(super) fn open(&self) -> Result<Device, CliError> {
        self.open_again(None)
    }

    /// As [`DeviceArgs::open`], for a resumed run: `auto` selects the device that it recorded.
    ///
    /// # Errors
    /// If there is no such device.
    pub(super) fn open_again(&self, recorded: Option<&RecordedDevice>) -> Result<Device, CliError> {
        let recorded = recorded.filter(|_| self.is_automatic());
        let request = self.again(recorded).request();
        let device = pollster::block_on(Device::open(&request)).map_err(|error| {
            let error = CliError::from(error);
            match (recorded, error) {
                (Some(began), CliError::Device(text)) => CliError::Device(format!(
                    "the run was started on {}: {text}; to resume it on another device, whose \
                     rounding differs, name one, as in --device cpu",
                    printable(&began.device)
                )),
                (_, error) => error,
            }
        })?;
        if let Device::Gpu(gpu) = &device {
            cache::keep_pipelines(gpu);
        }
        let reason = match recorded {
            Some(_) => ", on which the run was started".to_owned(),
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
        let is_software = device.description().is_some_and(|d| d.software());
        if is_software && self.follower.is_none() {
            self.say(
                "note: this is a software adapter: it runs the same shaders as a GPU, several \
                 times slower than --device cpu",
            );
        }
        Ok(device)
    }

    /// Prints to stderr unless `--quiet`. A rank that follows rank 0 prints only what that does not
    /// know: warnings and notes.
    pub(super) fn say(&self, text: &str) {
        match self.follower {
            _ if self.quiet => {}
            None => print_message(text),
            Some(rank) if text.starts_with("warning:") || text.starts_with("note:") => {
                print_message(&format!("rank {rank}: {text}"));
            }
            Some(_) => {}
        }
    }

    fn reason(&self, device: &Device) -> String {
        match device {
            _ if let Some(rank) = self.local_rank => format!(", for rank {rank} of this machine"),
            _ if self.request().kind() != DeviceKind::Auto => {
                format!(", chosen by {} {}", self.flag(), self.device)
            }
            Device::Gpu(gpu) if gpu.description.software() => {
                ", since no hardware adapter was found".to_owned()
            }
            Device::Gpu(_) => ", the first hardware adapter".to_owned(),
            Device::Cpu(_) => {
                ", because no graphics card was found; if there is one, see `pyr-wgpu doctor`"
                    .to_owned()
            }
            Device::Reference => String::new(),
        }
    }
}
