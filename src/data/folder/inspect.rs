//! Looks for faults in a dataset folder before it is used.
//!
//! Every image is decoded once, on all cores and at its own size. What is kept of it is a hash of
//! its extents and pixels, so the same picture in files of two formats counts as the same, and a
//! folder of any size fits the memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use image::RgbImage;
use rayon::prelude::*;

use super::parts::FOLDER;
use super::{Listed, Part, Recognise, list};
use crate::data::decode::with_image_file;
use crate::data::unreadable::Unreadable;
use crate::data::{Augmentation, DataError, DatasetKind, Request, Resize};
use crate::rng::hash;

/// Largest ratio of an image's sides that is not odd: of a longer image, the crop to a square
/// keeps less than a third.
const WIDEST: u64 = 3;

/// The training and the test part.
const PARTS: usize = 2;

/// What was found in a dataset folder.
pub struct Inspection {
    /// Class names by label.
    pub classes: Vec<String>,
    /// The training and the test part.
    pub parts: [InspectedPart; PARTS],
    /// Findings about both parts together.
    pub findings: Vec<Finding>,
    /// A note on files that are not used, for each reason.
    pub unused: Vec<String>,
}

/// What was found in a part of a dataset folder.
pub struct InspectedPart {
    /// The name of its folder.
    pub folder: PathBuf,
    /// Readable images of each class.
    pub images: Vec<usize>,
    /// Findings about this part alone.
    pub findings: Vec<Finding>,
    /// Why the part cannot be trained or evaluated on, if so: a class has no readable image, or
    /// more than 1 % of the images are unreadable.
    pub refused: Option<DataError>,
}

/// What is remarkable about the images of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// They cannot be read or decoded.
    Unreadable,
    /// One side is more than three times as long as the other.
    AspectRatio,
    /// All pixels have the same colour.
    SingleColour,
    /// The shorter side has less than half of the pixels to which it is resized.
    Small,
    /// They have the same pixels and lie in the same part.
    Duplicate,
    /// They have the same pixels and lie in both parts.
    Leaked,
    /// They have the same pixels and lie in several classes.
    SeveralClasses,
}

impl FindingKind {
    /// The name in JSON documents.
    pub fn name(self) -> &'static str {
        match self {
            FindingKind::Unreadable => "unreadable",
            FindingKind::AspectRatio => "aspect_ratio",
            FindingKind::SingleColour => "single_colour",
            FindingKind::Small => "small",
            FindingKind::Duplicate => "duplicate",
            FindingKind::Leaked => "leaked",
            FindingKind::SeveralClasses => "several_classes",
        }
    }
}

/// Images with something in common, a picture being one or several files with the same pixels.
pub struct Finding {
    /// What they have in common.
    pub kind: FindingKind,
    /// Number of pictures.
    pub pictures: usize,
    /// Number of their files.
    pub files: usize,
    /// The first few pictures.
    pub examples: Vec<Example>,
}

/// A picture of a finding.
pub struct Example {
    /// The first few of its files, below the dataset folder.
    pub files: Vec<PathBuf>,
    /// How many files it has beside these.
    pub more: usize,
    /// Width and height, or why it cannot be read; empty for pictures with several files.
    pub detail: String,
}

impl Finding {
    fn new(kind: FindingKind) -> Finding {
        Finding {
            kind,
            pictures: 0,
            files: 0,
            examples: Vec::new(),
        }
    }

    /// Adds a picture with so many files, of which `named` lists the first few; at most `names`
    /// pictures become examples.
    fn add(&mut self, names: usize, files: usize, named: impl FnOnce() -> (Vec<PathBuf>, String)) {
        self.pictures += 1;
        self.files += files;
        if self.examples.len() < names {
            let (named, detail) = named();
            self.examples.push(Example {
                more: files - named.len(),
                files: named,
                detail,
            });
        }
    }
}

/// Decodes every image of a dataset folder that `resize` would make the input of a network, and
/// reports what is wrong or odd. Findings name at most `names` pictures each and as many files of
/// each, at least two; `tell` is called with the number of images looked at and of all.
///
/// # Errors
/// If the folder cannot be opened as a dataset: a part or a class is missing or empty, or a
/// directory cannot be read. Unreadable images are findings.
pub fn inspect_folder(
    directory: &Path,
    resize: Resize,
    names: usize,
    tell: impl Fn(usize, usize) + Sync,
) -> Result<Inspection, DataError> {
    let kind = DatasetKind::Folder;
    let request = Request {
        kind,
        dir: Some(directory.to_path_buf()),
        resize,
        need_train: true,
        augmentation: Augmentation::default(),
        cache: None,
    };
    let directory = request.directory(kind.manifest().title, FOLDER.expected)?;
    let Listed {
        classes,
        train,
        test,
        unused,
        ..
    } = list(directory, &FOLDER, true, Recognise::ByContent)?;
    let parts = [train.expect("it is needed"), test];
    let total = parts.iter().map(|part| part.files.len()).sum();
    let done = AtomicUsize::new(0);
    let seen = parts.map(|part| {
        SeenPart::look(part, || {
            tell(done.fetch_add(1, Ordering::Relaxed) + 1, total);
        })
    });
    let mut entries: Vec<Entry> = (0..PARTS)
        .flat_map(|part| seen[part].entries(part))
        .collect();
    entries.par_sort_unstable();
    let groups = entries.chunk_by(|a, b| a.hash == b.hash);
    let mut groups: Vec<&[Entry]> = groups.filter(|group| group.len() > 1).collect();
    groups.sort_unstable_by_key(|group| (group[0].part, group[0].file));

    let repeated = Repeated {
        directory,
        names,
        seen: &seen,
        groups,
    };
    let findings = vec![repeated.leaked(), repeated.in_several_classes()];
    let mut parts = [0, 1].map(|part| seen[part].inspected(directory, resize, names));
    for (index, part) in parts.iter_mut().enumerate() {
        part.findings.push(repeated.within(index));
    }
    Ok(Inspection {
        classes,
        parts,
        findings,
        unused,
    })
}

/// What is kept of an image.
#[derive(Clone, Copy)]
struct Facts {
    hash: u64,
    width: u32,
    height: u32,
    single_colour: bool,
}

impl Facts {
    fn of(image: &RgbImage) -> Facts {
        let (width, height) = image.dimensions();
        let extents = [width, height].map(u32::to_le_bytes);
        let bytes = extents.as_flattened().iter().chain(image.as_raw());
        let first = image.get_pixel(0, 0);
        Facts {
            hash: hash(bytes.copied()),
            width,
            height,
            single_colour: image.pixels().all(|pixel| pixel == first),
        }
    }

    /// What is odd about it.
    fn odd(&self, resize: Resize) -> impl Iterator<Item = FindingKind> {
        let [shorter, longer] = [self.width.min(self.height), self.width.max(self.height)];
        let [shorter, longer] = [shorter, longer].map(u64::from);
        let tests = [
            (FindingKind::AspectRatio, longer > WIDEST * shorter),
            (FindingKind::SingleColour, self.single_colour),
            (FindingKind::Small, 2 * shorter < resize.shorter_side.into()),
        ];
        let odd = tests.into_iter().filter(|(_, holds)| *holds);
        odd.map(|(kind, _)| kind)
    }
}

/// A part whose images have been decoded.
struct SeenPart {
    part: Part,
    unreadable: Unreadable,
    /// By file; `None` for unreadable ones.
    facts: Vec<Option<Facts>>,
}

impl SeenPart {
    fn look(part: Part, tell: impl Fn() + Sync) -> SeenPart {
        let mut facts = vec![None; part.files.len()];
        let slots = facts.par_iter_mut().enumerate();
        let unreadable = part.check_files(slots, |path, slot| {
            let found = with_image_file(path, Facts::of);
            tell();
            *slot = Some(found?);
            Ok(())
        });
        SeenPart {
            part,
            unreadable,
            facts,
        }
    }

    /// The readable images by the number of their file.
    fn images(&self) -> impl Iterator<Item = (usize, &Facts)> {
        let facts = self.facts.iter().enumerate();
        facts.filter_map(|(file, facts)| Some((file, facts.as_ref()?)))
    }

    fn entries(&self, part: usize) -> impl Iterator<Item = Entry> {
        self.images().map(move |(file, facts)| Entry {
            hash: facts.hash,
            part: part as u32,
            file: file as u32,
        })
    }

    fn label(&self, file: usize) -> usize {
        self.part.files.label(file) as usize
    }

    /// The path of a file below the dataset folder.
    fn path(&self, directory: &Path, file: usize) -> PathBuf {
        below(directory, &self.part.files.path(file))
    }

    /// What there is to say about single images.
    fn inspected(&self, directory: &Path, resize: Resize, names: usize) -> InspectedPart {
        let mut images = vec![0; self.part.classes];
        let mut findings = [
            FindingKind::Unreadable,
            FindingKind::AspectRatio,
            FindingKind::SingleColour,
            FindingKind::Small,
        ]
        .map(Finding::new);
        let mut add = |kind, file, detail: String| {
            let finding = findings.iter_mut().find(|finding| finding.kind == kind);
            let finding = finding.expect("it is one of the list");
            finding.add(names, 1, || (vec![self.path(directory, file)], detail));
        };
        for (file, error) in self.unreadable.errors() {
            add(FindingKind::Unreadable, file, error.to_owned());
        }
        for (file, facts) in self.images() {
            images[self.label(file)] += 1;
            for kind in facts.odd(resize) {
                add(kind, file, format!("{} x {}", facts.width, facts.height));
            }
        }
        InspectedPart {
            folder: below(directory, &self.part.folder),
            images,
            findings: findings.into(),
            refused: self.part.check(&self.unreadable, &mut Vec::new()).err(),
        }
    }
}

fn below(directory: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(directory).unwrap_or(path).to_path_buf()
}

/// A readable image; those with the same pixels are neighbours in the order of entries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    hash: u64,
    part: u32,
    file: u32,
}

/// The pictures that have several files.
struct Repeated<'a> {
    directory: &'a Path,
    names: usize,
    seen: &'a [SeenPart; PARTS],
    /// Of each the files, first those of the training part.
    groups: Vec<&'a [Entry]>,
}

impl Repeated<'_> {
    /// The pictures for which `members` gives more than one file, of which `named` are named.
    fn finding<'a>(
        &'a self,
        kind: FindingKind,
        members: impl Fn(&'a [Entry]) -> Option<(&'a [Entry], Vec<Entry>)>,
    ) -> Finding {
        let mut finding = Finding::new(kind);
        for (members, named) in self.groups.iter().filter_map(|group| members(group)) {
            finding.add(self.names, members.len(), || {
                let named = named.iter().take(self.names.max(2));
                let paths = named.map(|entry| {
                    self.seen[entry.part as usize].path(self.directory, entry.file as usize)
                });
                (paths.collect(), String::new())
            });
        }
        finding
    }

    /// Pictures that occur more than once in a part.
    fn within(&self, part: usize) -> Finding {
        self.finding(FindingKind::Duplicate, |group| {
            let middle = split(group);
            let members = if part == 0 {
                &group[..middle]
            } else {
                &group[middle..]
            };
            (members.len() > 1).then(|| (members, members.to_vec()))
        })
    }

    /// Pictures in both parts; a file of each is named.
    fn leaked(&self) -> Finding {
        self.finding(FindingKind::Leaked, |group| {
            let middle = split(group);
            let named = || vec![group[0], group[middle]];
            (0 < middle && middle < group.len()).then(|| (group, named()))
        })
    }

    /// Pictures in several classes; a file of each class is named.
    fn in_several_classes(&self) -> Finding {
        self.finding(FindingKind::SeveralClasses, |group| {
            let label = |entry: &Entry| self.seen[entry.part as usize].label(entry.file as usize);
            let mut named = group.to_vec();
            named.sort_by_key(label);
            named.dedup_by_key(|entry| label(entry));
            (named.len() > 1).then_some((group, named))
        })
    }
}

/// Where the files of the test part begin.
fn split(group: &[Entry]) -> usize {
    group.partition_point(|entry| entry.part == 0)
}
