//! `pyr-wgpu card`: a model card of a checkpoint in Hugging Face's form, Markdown after a header in
//! YAML, with the figures of its run where there is one.
//!
//! Source of the header's fields: Hugging Face Hub, "Model Cards", and its model card specification.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::Value;

use super::error::CliError;
use super::files;
use super::network::NetworkArgs;
use super::training::{Training, training};
use super::{print_line, print_message};
use crate::checkpoint::write_atomically;
use crate::data::{Augmentation, DatasetKind};
use crate::model::{Description, Network};
use crate::run::Config;
use crate::text::{name_of, printable, printable_path};
use crate::train::Schedule;

/// Arguments of `card`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// Run directory (its best weights and figures), or checkpoint
    checkpoint: PathBuf,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE.md")]
    output: Option<PathBuf>,
}

/// Writes the card.
///
/// # Errors
/// If the checkpoint or the run cannot be read, or the card not be written.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    let model = files::load(&args.checkpoint, &NetworkArgs::default(), false)?;
    let training = match args.checkpoint.is_dir() {
        true => Some(training(&args.checkpoint)?),
        false => None,
    };
    // A run such as pyramidnet110-mul-a4.75-cifar10-1 has no extension.
    let name = match training {
        Some(_) => args.checkpoint.file_name(),
        None => args.checkpoint.file_stem(),
    };
    let name = name_of(name.unwrap_or(args.checkpoint.as_os_str()));
    let file = match training {
        Some(_) => "best.safetensors".to_owned(),
        None => name_of(args.checkpoint.file_name().unwrap_or_default()),
    };
    let card = Card {
        name: &name,
        file: &file,
        described: model.described,
        network: &model.network,
        description: &model.description,
        training: training.as_ref(),
    };
    let text = card.text();
    match &args.output {
        None => print_line(text.trim_end()),
        Some(path) => {
            write_atomically(path, |writer| writer.write_all(text.as_bytes()))?;
            print_message(&format!("wrote {}", printable_path(path)));
            Ok(())
        }
    }
}

struct Card<'a> {
    name: &'a str,
    /// The file to use.
    file: &'a str,
    /// Whether it holds a description.
    described: bool,
    network: &'a Network,
    description: &'a Description,
    training: Option<&'a Training>,
}

impl Card<'_> {
    fn text(&self) -> String {
        let name = printable(self.name);
        let mut sections = vec![self.header(), format!("# {name}"), self.model()];
        if let Some(training) = self.training {
            sections.push(self.figures(training));
            sections.push(recipe(training));
        }
        sections.push(self.usage());
        sections.join("\n\n") + "\n"
    }

    /// The header in YAML, whose strings are written as in JSON, which YAML includes.
    fn header(&self) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        let mut lines = vec![
            "---".to_owned(),
            "library_name: pyr-wgpu".to_owned(),
            "pipeline_tag: image-classification".to_owned(),
            "tags:".to_owned(),
            "- image-classification".to_owned(),
            "- pyramidnet".to_owned(),
        ];
        let best = self.training.and_then(|t| Some((t, t.best()?)));
        if let Some((training, best)) = best {
            // The Hub's name of the challenge's dataset.
            let dataset = match &*training.config.dataset {
                "imagenet" if self.description.classes.len() == 1000 => quoted("imagenet-1k"),
                dataset => quoted(dataset),
            };
            // The challenge has not published the labels of its test images.
            let split = match &*training.config.dataset {
                "imagenet" => "validation",
                _ => "test",
            };
            let accuracy = 1.0 - best.test_top1_error / 100.0;
            // A folder is none of the Hub's datasets.
            if training.config.dataset != DatasetKind::Folder.name() {
                lines.extend(["datasets:".to_owned(), format!("- {dataset}")]);
            }
            lines.extend([
                "metrics:".to_owned(),
                "- accuracy".to_owned(),
                "model-index:".to_owned(),
                format!("- name: {}", quoted(self.name)),
                "  results:".to_owned(),
                "  - task:".to_owned(),
                "      type: image-classification".to_owned(),
                "    dataset:".to_owned(),
                format!("      name: {}", quoted(&training.dataset)),
                format!("      type: {dataset}"),
                format!("      split: {split}"),
                "    metrics:".to_owned(),
                "    - type: accuracy".to_owned(),
                "      name: Top-1 accuracy".to_owned(),
                format!("      value: {accuracy:.4}"),
            ]);
        }
        lines.push("---".to_owned());
        lines.join("\n")
    }

    fn model(&self) -> String {
        let spec = self.network.spec();
        let counts = self.network.counts();
        let Description {
            classes,
            preprocessing,
            ..
        } = self.description;
        let resize = preprocessing.resize;
        let names: Vec<String> = classes.iter().map(|class| printable(class)).collect();
        let unit = |values: [f32; 3]| {
            values
                .map(|value| format!("{:.4}", value / 255.0))
                .join(", ")
        };
        format!(
            "{spec} (Han, Kim and Kim, *Deep Pyramidal Residual Networks*, CVPR 2017).\n\n\
             - {} parameters, {} multiply-accumulates per image.\n\
             - Input: {size}x{size} pixels; the shorter side of an image is resized to {} pixels and \
             the centre is cropped.\n\
             - Normalisation of red, green and blue on the scale 0 to 1: mean {}, standard deviation \
             {}{order}.\n\
             - {} classes: {}.",
            counts.parameters,
            counts.macs,
            resize.shorter_side,
            unit(preprocessing.mean),
            unit(preprocessing.std),
            classes.len(),
            names.join(", "),
            size = resize.size,
            order = match preprocessing.order.is_rgb() {
                true => "",
                false => "; the network takes them in the order blue, green, red",
            },
        )
    }

    fn figures(&self, training: &Training) -> String {
        let Some(best) = training.best() else {
            return "## Results\n\nThe run has not completed an epoch.".to_owned();
        };
        let top5 = best.test_top5_error.map_or(String::new(), |error| {
            format!("| top-5 error | {error:.2} % |\n")
        });
        format!(
            "## Results\n\nOn the test images of {}, after epoch {} of {}:\n\n\
             | | |\n|---|---|\n| top-1 error | {:.2} % |\n{top5}| loss | {:.4} |\n\n\
             The weights are those of the epoch with the lowest test error, so that error is slightly \
             optimistic: it is the best of {}.",
            printable(&training.dataset),
            best.epoch,
            training.config.recipe.epochs,
            best.test_top1_error,
            best.test_loss,
            training.epochs.len(),
        )
    }

    fn usage(&self) -> String {
        let metadata = match self.described {
            true => {
                "\n\nThe tensors have the names of the authors' PyTorch code \
                 (dyhan0920/PyramidNet-PyTorch); the metadata holds network, classes and \
                 preprocessing."
            }
            false => "",
        };
        let branches = match self.network.spec().shakedrop < 1.0 {
            true => {
                " Another program that evaluates them must multiply the branch of unit l of L by \
                 1 - (l / L) (1 - p), with the p of ShakeDrop above."
            }
            false => "",
        };
        format!(
            "## Use\n\n    pyr-wgpu predict {} PICTURE{metadata}{branches}",
            printable(self.file)
        )
    }
}

fn recipe(training: &Training) -> String {
    let Config { recipe, seed, .. } = &training.config;
    let milestones: Vec<String> = recipe.milestones.iter().map(u32::to_string).collect();
    let change = match recipe.schedule {
        Schedule::Step if milestones.is_empty() => String::new(),
        Schedule::Step => format!(
            ", divided by ten at the start of epoch {}",
            milestones.join(" and ")
        ),
        Schedule::Cosine => ", falling to 0 as a cosine in every step".to_owned(),
        Schedule::Polynomial => format!(", falling to 0 with power {}", recipe.power),
    };
    let warmup = match recipe.warmup {
        0 => String::new(),
        epochs => format!(", after a linear warm-up of {epochs} epochs"),
    };
    let origin = match (&training.config.from, training.config.freeze_until) {
        (None, None) => String::new(),
        (from, frozen) => {
            let from = from.as_ref().and_then(|path| path.file_name());
            let from = from.map(|name| format!("the weights of {}", name_of(name)));
            let from = from.map_or("random weights".to_owned(), |from| printable(&from));
            let frozen = match frozen {
                None => String::new(),
                Some(0) => ", with the stem frozen".to_owned(),
                Some(1) => ", with the stem and the first stage frozen".to_owned(),
                Some(stages) => format!(", with the stem and the first {stages} stages frozen"),
            };
            format!("- Began with {from}{frozen}.\n")
        }
    };
    let augmentation = match (recipe.augment, training.config.augmentation) {
        (true, Augmentation::Crop) => "random flips and crops",
        (true, Augmentation::ImageNet) => {
            "random flips, crops of 8 to 100 % of the area, changes of brightness, contrast, \
             saturation and lighting"
        }
        (false, _) => "no flips and crops",
    };
    let mut images = vec![augmentation.to_owned()];
    images.extend(recipe.augmentation_options());
    let mut update = vec![format!(
        "Nesterov momentum {} and weight decay {}",
        recipe.momentum, recipe.weight_decay
    )];
    update.extend(recipe.update_options());
    format!(
        "## Training\n\n{origin}\
         - Stochastic gradient descent with {}.\n\
         - Learning rate {}{change}{warmup}.\n\
         - {} epochs in batches of {}, seed {seed}.\n\
         - Augmentation and loss: {}.",
        update.join(", "),
        recipe.learning_rate,
        recipe.epochs,
        recipe.batch_size,
        images.join(", "),
    )
}
