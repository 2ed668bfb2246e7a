//! `pyr-wgpu data show`: training images as the network sees them, as a PNG file.
//!
//! They pass the operators that transform, assemble, erase and mix a batch, with the random numbers
//! of the epoch, and are denormalised. Row c holds the first images of class c in the order of the epoch.

use std::fs;
use std::path::PathBuf;

use clap::{Args as ClapArgs, value_parser};
use rayon::prelude::*;

use super::super::augment::AugmentArgs;
use super::super::cache;
use super::super::dataset;
use super::super::error::CliError;
use super::super::output::print_message;
use super::super::positive;
use super::ResizeArgs;
use crate::checkpoint::write_atomically;
use crate::data::{
    self, Augmentation, DataError, Dataset, DatasetKind, EpochKey, Request, Source, write_grid,
};
use crate::graph::ops::{
    AssembleBatch, ChannelOrder, Erase, MixBatch, Mixture, Rectangle, TRANSFORM_WORDS,
    TransformImages,
};
use crate::graph::step::Step;
use crate::graph::{Op, Tensor};
use crate::memory::{self, bytes};
use crate::model::{Preprocessing, assemble_batch};
use crate::shape::Shape;
use crate::text::{printable, printable_path};
use crate::train::{Mixing, Recipe, erased};

/// Arguments of `data show`.
#[derive(ClapArgs)]
pub(in super::super) struct Args {
    #[arg(long, value_name = "NAME", help = DatasetKind::names("or"))]
    dataset: DatasetKind,
    /// Where the dataset's files are
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    resize: ResizeArgs,
    /// Seed of the run
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Epoch of the run, from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    epoch: u32,
    /// Images of each class
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive)]
    count: usize,
    /// File to write
    #[arg(long, value_name = "FILE.png", default_value = "show.png")]
    output: PathBuf,
    /// How images change at random, as in training: crop or imagenet [default: imagenet for image
    /// files and --stem imagenet, else crop]
    #[arg(long, value_name = "WORD", conflicts_with = "no_augment")]
    augmentation: Option<Augmentation>,
    /// No random flip, crop and colours
    #[arg(long)]
    no_augment: bool,
    #[command(flatten)]
    augment: AugmentArgs,
    /// Images per step of the run, within which --mixup and --cutmix mix [default: as in train]
    #[arg(long, value_name = "N", value_parser = positive)]
    batch_size: Option<usize>,
    /// Print errors only
    #[arg(long, short)]
    quiet: bool,
}

/// Writes the file.
///
/// # Errors
/// If the dataset or an image cannot be read, or the file cannot be written.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    dataset::check(Some(args.dataset), args.data.as_deref())?;
    let resize = args.resize.resize()?;
    let extension = args.output.extension();
    if !extension.is_some_and(|extension| extension.eq_ignore_ascii_case("png")) {
        return Err(CliError::Usage(format!(
            "--output {} would be a PNG file; end its name in .png",
            printable_path(&args.output)
        )));
    }
    let recipe = args.augment.apply(Recipe::for_dataset(args.dataset));
    let recipe = Recipe {
        batch_size: args.batch_size.unwrap_or(recipe.batch_size),
        augment: !args.no_augment,
        ..recipe
    };
    if args.batch_size.is_some() && !recipe.augmentation().mix {
        let text = "--batch-size has an effect with --mixup or --cutmix only; leave it out";
        return Err(CliError::Usage(text.to_owned()));
    }
    let augmentation = match args.augmentation {
        Some(augmentation) => augmentation,
        None => args.resize.stem().augmentation(args.dataset),
    };
    let checked = recipe.check_augmentation(resize.size, recipe.batch_size, augmentation);
    checked.map_err(CliError::Usage)?;
    if !augmentation.is_crop() && !args.dataset.has_image_files() {
        return Err(CliError::Usage(format!(
            "--augmentation imagenet crops images where their files are decoded, which {} does not \
             have; leave it out",
            args.dataset
        )));
    }
    let request = Request {
        kind: args.dataset,
        dir: args.data,
        resize,
        need_train: true,
        augmentation,
        cache: cache::listings(),
    };
    let key = EpochKey {
        seed: args.seed,
        epoch: args.epoch,
    };
    let size = resize.size as usize;
    let (mut order, mut rows, mut images) = (Vec::new(), Vec::new(), 0);
    let opened = data::open_checked(&request, |dataset| {
        let train = training_images(dataset);
        order = key.order(train.len());
        rows = vec![Vec::new(); dataset.classes.len()];
        for (position, sample) in order.iter().enumerate() {
            let row = &mut rows[train.label(*sample as usize) as usize];
            if row.len() < args.count {
                row.push(position);
            }
        }
        // Pixels as bytes, and in double precision while the rows are computed.
        images = rows.iter().map(Vec::len).sum();
        let pixels = (images * size * size * 3) as u64;
        memory::check(pixels.saturating_mul(16)).map_err(DataError::Memory)
    })?;
    let train = training_images(&opened);
    let say = |text: &str| {
        if !args.quiet {
            print_message(text);
        }
    };
    for note in &opened.notes {
        say(&format!("note: {note}"));
    }
    let view = View {
        train,
        preprocessing: Preprocessing {
            mean: opened.mean,
            std: opened.std,
            resize,
            order: ChannelOrder::Rgb,
        },
        key,
        order: &order,
        recipe: &recipe,
    };
    let rows = rows.par_iter().map(|positions| view.images(positions));
    let rows: Vec<Vec<u8>> = rows.collect::<Result<_, _>>()?;
    for note in train.notes() {
        say(&format!("note: {note}"));
    }
    write_atomically(&args.output, |writer| write_grid(writer, size, &rows))?;
    let classes: Vec<String> = opened
        .classes
        .iter()
        .map(|class| printable(class))
        .collect();
    say(&format!("rows     {}", classes.join(", ")));
    let written = fs::metadata(&args.output).map_or(0, |file| file.len());
    let path = printable_path(&args.output);
    say(&format!(
        "wrote    {path} ({images} images, {})",
        bytes(written)
    ));
    Ok(())
}

/// The training images, which were requested.
fn training_images(dataset: &Dataset) -> &dyn Source {
    dataset.train.as_deref().expect("they were requested")
}

/// How an epoch of training sees its images.
struct View<'a> {
    train: &'a dyn Source,
    preprocessing: Preprocessing,
    key: EpochKey,
    /// All samples in the order of the epoch.
    order: &'a [u32],
    recipe: &'a Recipe,
}

impl View<'_> {
    /// The bytes of the images at these positions of the epoch.
    fn images(&self, positions: &[usize]) -> Result<Vec<u8>, DataError> {
        let images = positions.iter().map(|position| self.image(*position));
        Ok(images.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// The bytes of an image after augmentation, denormalised.
    fn image(&self, position: usize) -> Result<Vec<u8>, DataError> {
        let Preprocessing {
            mean, std, resize, ..
        } = self.preprocessing;
        let (recipe, key, size) = (self.recipe, self.key, resize.size);
        let number = position / recipe.batch_size;
        let first = number * recipe.batch_size;
        let batch = &self.order[first..self.order.len().min(first + recipe.batch_size)];
        let mut samples = vec![self.order[position]];
        let mixing = Mixing::draw(recipe, key, number as u32, batch.len(), size);
        let mixture = mixing.and_then(|mixing| mixing.mixtures().nth(position - first));
        samples.extend(mixture.map(|mixture| batch[mixture.partner as usize]));
        let mut x = self.assembled(&samples)?;
        let rectangles = samples.iter().flat_map(|s| erased(recipe, key, *s, size));
        let rectangles: Vec<u32> = rectangles.flat_map(Rectangle::to_words).collect();
        if !rectangles.is_empty() {
            let shape = Shape::indices(&[samples.len(), rectangles.len() / samples.len()]);
            x = applied(Erase, &[&x, &Tensor::index(shape, rectangles)]);
        }
        if let Some(mixture) = mixture {
            // Of this batch of two, only the first image is shown.
            let words = Mixture {
                partner: 1,
                ..mixture
            }
            .to_words();
            let shape = Shape::indices(&[samples.len(), words.len()]);
            let mixtures = Tensor::index(shape, words.repeat(samples.len()));
            x = applied(MixBatch, &[&x, &mixtures]);
        }
        let byte = |(value, channel): (&f64, usize)| {
            let value = value * f64::from(std[channel]) + f64::from(mean[channel]);
            value.round() as u8
        };
        let values = x.values().iter().zip((0..3).cycle()).map(byte);
        Ok(values.take(x.values().len() / samples.len()).collect())
    }

    /// The samples after transforms, flip and crop, normalised.
    fn assembled(&self, samples: &[u32]) -> Result<Tensor, DataError> {
        let size = self.preprocessing.resize.size as usize;
        let pixels = self.train.pixels(self.recipe.augment);
        let mut read = vec![0; samples.len() * pixels.image_bytes(size)];
        let images = read.chunks_exact_mut(pixels.image_bytes(size));
        for (image, sample) in images.zip(samples) {
            let key = self.recipe.augment.then_some(self.key);
            self.train.read(*sample as usize, key, image)?;
        }
        let count = samples.len();
        let table = Shape::indices(&[count, AssembleBatch::image_words(size, pixels)]);
        let list = Shape::indices(&[count]);
        let step = Step {
            seed: self.key.seed,
            epoch: self.key.epoch,
            ..Step::default()
        };
        let mut images = Tensor::index(table, AssembleBatch::pack_images(&read, count));
        let rows = Tensor::index(list.clone(), (0..count as u32).collect());
        let policy = self.recipe.auto_augment;
        for words in policy.words(self.key, samples, self.preprocessing.resize.size) {
            let transforms = Tensor::index(Shape::indices(&[count, TRANSFORM_WORDS]), words);
            images = applied(TransformImages { size }, &[&images, &rows, &transforms]);
        }
        let samples = Tensor::index(list, samples.to_vec());
        let step = Tensor::index(Step::shape(), step.to_words().into());
        let inputs = [&images, &rows, &samples, &step];
        let op = assemble_batch(size, pixels, &self.preprocessing, self.recipe.augment);
        Ok(applied(op, &inputs))
    }
}

/// The result of an operator.
fn applied(op: impl Into<Op>, inputs: &[&Tensor]) -> Tensor {
    op.into().reference(inputs).swap_remove(0)
}
