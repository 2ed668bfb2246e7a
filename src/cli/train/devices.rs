//! `--devices`: the devices of a run, each with a replica of the network.

use clap::Args;

use super::super::device::DeviceArgs;
use super::super::error::CliError;
use super::limits::Shares;
use crate::engine::{Device, DeviceKind};
use crate::gpu::adapter;
use crate::graph::Precision;
use crate::ranks::Ranks;
use crate::run::{Config, RecordedDevice};
use crate::text::printable;
use crate::train::{shares, weights};

/// Seconds that a rank may take to answer, unless a flag says otherwise: measuring kernels and reading a
/// dataset take minutes.
pub(super) const PATIENCE: u64 = 600;

/// The word that stands for all graphics cards.
const ALL: &str = "all";

/// Several devices.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Device")]
pub(super) struct DevicesArgs {
    /// Train on several devices, each named as for --device, as in 0,1 or 0,cpu; all takes every
    /// graphics card. Each computes a share of every batch, and batch norm uses the statistics of
    /// the share, unless --sync-batch-norm is given; the running statistics are those of the first
    /// device
    #[arg(
        long,
        value_name = "WHICH,..",
        value_delimiter = ',',
        conflicts_with = "device"
    )]
    pub(super) devices: Vec<String>,
    /// Relative shares of several devices in a batch, as in 3,1; auto measures how fast each is
    /// [default: equal shares]
    #[arg(long, value_name = "auto|N,..")]
    pub(super) shares: Option<Shares>,
    /// With several devices or processes, batch norm uses the statistics of the whole batch, as one
    /// device does, or of the micro-batches that all compute at the same time, instead of those of a
    /// share. Each batch norm then waits for all devices, twice a step
    #[arg(long)]
    pub(super) sync_batch_norm: bool,
    /// Under `mpirun` or `srun`: how processes send each other sums of gradients, f32, or f16 for half
    /// the bytes, scaled in blocks to the range of half precision [default: f32]
    #[arg(long, value_name = "f32|f16")]
    pub(super) gradients: Option<Precision>,
    #[arg(long, value_name = "SECONDS", help = timeout_help(), value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rank_timeout: Option<u64>,
}

fn timeout_help() -> String {
    format!(
        "Under `mpirun` or `srun`: end all processes when one has not answered for so many seconds \
         [default: {PATIENCE}]"
    )
}

impl DevicesArgs {
    /// The flags of the device on which flags of adapters have an effect: the first adapter among
    /// the devices, else the first device. The devices are those of the list, else those that a
    /// resumed run recorded, else that of --device.
    pub(super) fn first_adapter(
        &self,
        flags: &DeviceArgs,
        recorded: &[RecordedDevice],
    ) -> DeviceArgs {
        let listed = self.devices.iter().map(|device| flags.listed(device));
        let recorded = recorded.iter().map(|device| flags.again(Some(device)));
        let devices: Vec<DeviceArgs> = match self.devices.is_empty() {
            false => listed.collect(),
            true => recorded.collect(),
        };
        let is_adapter =
            |flags: &&DeviceArgs| matches!(flags.request().kind(), DeviceKind::Adapter(_));
        let adapter = devices.iter().find(is_adapter).or(devices.first());
        adapter.unwrap_or(flags).clone()
    }

    /// Checks the list.
    ///
    /// # Errors
    /// If a name is empty or automatic, or a number is there twice.
    pub(super) fn check(&self, flags: &DeviceArgs) -> Result<(), CliError> {
        let wrong = |text: String| Err(CliError::Usage(text));
        for (place, device) in self.devices.iter().enumerate() {
            if is_all(device) && self.devices.len() > 1 {
                return wrong(format!(
                    "--devices {ALL} already stands for every graphics card; leave out the others"
                ));
            }
            let named = flags.listed(device);
            named.check_name()?;
            if named.request().kind() == DeviceKind::Auto {
                return wrong(format!(
                    "--devices needs names or numbers, and {device} is neither; `pyr-wgpu devices` \
                     lists them"
                ));
            }
            let is_number = device.trim().parse::<usize>().is_ok();
            if is_number && self.devices[..place].contains(device) {
                return wrong(format!(
                    "--devices has {device} twice; to run two replicas on one adapter, give its \
                     name twice"
                ));
            }
        }
        Ok(())
    }

    /// Opens the devices and prints which and why. A resumed run has those that it recorded, unless
    /// others are named. Ranks on one machine, of which this is the given one of so many, divide a list
    /// among them; without one, each has a graphics card of its own as far as there are any.
    ///
    /// # Errors
    /// If one of them cannot be opened, an adapter is there twice and not by its name, or the list
    /// cannot be divided.
    pub(super) fn open(
        &self,
        flags: &DeviceArgs,
        recorded: &[RecordedDevice],
        local: Option<(usize, usize)>,
    ) -> Result<Vec<Device>, CliError> {
        let own = own_part(&self.devices, local)?;
        let devices = match own {
            [] if flags.is_automatic() && recorded.len() > 1 => {
                let again = recorded.iter();
                let again = again.map(|device| flags.open_again(Some(device)));
                again.collect::<Result<Vec<_>, _>>()?
            }
            [] => match local.filter(|_| flags.is_any() && recorded.is_empty()) {
                Some((rank, _)) => vec![open_own(flags, rank)?],
                None => vec![flags.open_again(recorded.first())?],
            },
            [all] if is_all(all) => open_all(flags, local)?,
            list => {
                let opened = list.iter().map(|device| flags.listed(device).open());
                opened.collect::<Result<Vec<_>, _>>()?
            }
        };
        check_opened(own, &devices)?;
        Ok(devices)
    }
}

/// Checks that an adapter is there more than once only by its name, as in the list of names.
fn check_opened(names: &[String], devices: &[Device]) -> Result<(), CliError> {
    for (place, device) in devices.iter().enumerate() {
        let index = |device: &Device| device.description().map(|adapter| adapter.index);
        let Some(own) = index(device) else { continue };
        let is_same = |other: &Device| index(other) == Some(own);
        let Some(earlier) = devices[..place].iter().position(is_same) else {
            continue;
        };
        if let [Some(first), Some(second)] = [earlier, place].map(|at| names.get(at))
            && first != second
        {
            return Err(CliError::Usage(format!(
                "--devices {first},{second}: both are {}; to run two replicas on it, give the \
                 same name twice",
                printable(&device.name())
            )));
        }
    }
    Ok(())
}

/// A note if a resumed run, with several devices, has others than it recorded.
pub(super) fn changed(recorded: &[RecordedDevice], now: &[RecordedDevice]) -> Option<String> {
    let several = now.len().max(recorded.len()) > 1 && !recorded.is_empty();
    (several && now != recorded).then(|| {
        format!(
            "note: the run was started on {} and continues on {}; its results differ from those of \
             a run that did not stop",
            list(recorded),
            list(now)
        )
    })
}

fn is_all(device: &str) -> bool {
    device.trim().eq_ignore_ascii_case(ALL)
}

/// The names of some devices.
fn list(devices: &[RecordedDevice]) -> String {
    let names = devices.iter().map(|device| printable(&device.device));
    names.collect::<Vec<String>>().join(" and ")
}

/// The part of a list that a rank has, which is the given one of so many on its machine: all of a list
/// of one, which they share.
fn own_part<T>(list: &[T], local: Option<(usize, usize)>) -> Result<&[T], CliError> {
    match local {
        Some((own, count)) if list.len() > 1 => {
            let each = list.len() / count;
            match each * count == list.len() {
                true => Ok(&list[own * each..][..each]),
                false => Err(CliError::Usage(format!(
                    "--devices names {} devices for {count} processes on this machine; name as many \
                     for each, or one for all",
                    list.len()
                ))),
            }
        }
        _ => Ok(list),
    }
}

/// The graphics cards, on the backend of the first one, as flags that select them; and the lines of all
/// adapters.
fn cards(flags: &DeviceArgs) -> (Vec<DeviceArgs>, Vec<String>) {
    let adapters = pollster::block_on(adapter::list(flags.backend.as_deref()));
    let all = adapters.iter().map(|adapter| &adapter.description);
    let cards: Vec<_> = all.clone().filter(|adapter| !adapter.software()).collect();
    let own = cards.iter().filter(|card| card.backend == cards[0].backend);
    let own = own.map(|card| flags.listed(&card.index.to_string()));
    (own.collect(), all.map(|adapter| adapter.line()).collect())
}

/// Opens every graphics card, or the part of a rank.
fn open_all(flags: &DeviceArgs, local: Option<(usize, usize)>) -> Result<Vec<Device>, CliError> {
    let (cards, found) = cards(flags);
    if cards.is_empty() {
        return Err(CliError::Device(format!(
            "--devices {ALL} found no graphics card{}; name the devices, as in --devices \
             llvmpipe,cpu, or see `pyr-wgpu doctor`",
            match found.is_empty() {
                true => String::new(),
                false => format!(" (found: {})", found.join("; ")),
            }
        )));
    }
    let own = own_part(&cards, local)?;
    own.iter().map(DeviceArgs::open).collect()
}

/// Opens the device of the given rank of a machine: a graphics card, if there is one.
fn open_own(flags: &DeviceArgs, rank: usize) -> Result<Device, CliError> {
    let (cards, _) = cards(flags);
    match cards.is_empty() {
        true => flags.open(),
        false => cards[rank % cards.len()].of_rank(rank).open(),
    }
}

/// Checks that a run has several devices, if its flags ask for statistics over them.
///
/// # Errors
/// If it has not.
pub(super) fn check_synchronized(flags: &DevicesArgs, devices: usize) -> Result<(), CliError> {
    match flags.sync_batch_norm && devices < 2 {
        true => Err(CliError::Usage(
            "--sync-batch-norm is for several devices, and the run has one, whose batch norm uses \
             the whole batch; leave it out, or name several with --devices"
                .to_owned(),
        )),
        false => Ok(()),
    }
}

/// Checks that a run has several processes, if its flags say how these send each other gradients;
/// returns a note if only its configuration does.
///
/// # Errors
/// If it has not.
pub(super) fn check_gradients(
    flags: &DevicesArgs,
    config: &Config,
    ranks: Option<&Ranks>,
) -> Result<Option<&'static str>, CliError> {
    if ranks.is_some() {
        return Ok(None);
    }
    match (flags.gradients, config.gradients) {
        (Some(Precision::F16), _) => Err(CliError::Usage(
            "--gradients f16 is for several processes, which send each other gradients, and the run \
             has one; leave it out, or start several with `mpirun` or `srun`"
                .to_owned(),
        )),
        (_, Precision::F16) => Ok(Some(
            "note: gradients are sent in half precision between processes only, and the run has one",
        )),
        (_, Precision::F32) => Ok(None),
    }
}

/// Checks that the batches of a run can be divided among devices.
///
/// # Errors
/// If there are other shares than devices, more devices than images, or a share is too small for the
/// flags of the run.
pub(super) fn check_shares(config: &Config, devices: usize) -> Result<(), CliError> {
    let batch = config.recipe.batch_size;
    let wrong = |text: String| Err(CliError::Usage(text));
    if !config.shares.is_empty() && config.shares.len() != devices {
        let given: Vec<String> = config.shares.iter().map(u32::to_string).collect();
        return wrong(format!(
            "--shares {} are for {} devices, and the run has {devices}; give one for each, in their \
             order",
            given.join(","),
            given.len()
        ));
    }
    if devices < 2 {
        return Ok(());
    }
    if batch < devices {
        return wrong(format!(
            "a batch of {batch} cannot be divided among {devices} devices; raise --batch-size, or \
             name fewer devices"
        ));
    }
    let shares = shares_of(config, batch, devices);
    let (least, largest) = (shares.iter().min(), shares.iter().max());
    let (least, largest) = (*least.expect("a device"), *largest.expect("a device"));
    if least == 0 {
        return wrong(format!(
            "with these --shares, a device has no image of a batch of {batch}; raise --batch-size, \
             or the smallest share"
        ));
    }
    if let Some(images) = config.micro_batch.filter(|images| *images > largest) {
        return wrong(format!(
            "--micro-batch {images} exceeds the share of each of {devices} devices in a batch of \
             {batch}, {largest}; give a smaller one, or leave it out"
        ));
    }
    let images = config.micro_batch.unwrap_or(least).min(least);
    let size = config.network.image_size;
    let checked = config
        .recipe
        .check_augmentation(size, images, config.augmentation);
    checked.map_err(|text| {
        CliError::Usage(format!(
            "with {devices} devices, a share of a batch of {batch} may be {least}: {text}"
        ))
    })
}

/// Images of the device with most of them, in a batch of some devices.
pub(super) fn largest_share(config: &Config, batch: usize, devices: usize) -> usize {
    let largest = shares_of(config, batch, devices).into_iter().max();
    largest.expect("there is a device")
}

/// Images of each of some devices in a batch.
fn shares_of(config: &Config, batch: usize, devices: usize) -> Vec<usize> {
    shares(batch, &weights(&config.shares, devices))
}
