//! The description of a network in a checkpoint's metadata.
//!
//! One JSON string under one metadata key holds the network, the classes and the
//! preprocessing, with the version of this format. A newer minor version only adds fields
//! that an older program may ignore; a newer major version is refused.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::error::SpecError;
use super::spec::NetworkSpec;
use crate::data::Resize;
use crate::graph::ops::ChannelOrder;
use crate::text::printable;

/// The metadata key of the description.
pub const METADATA_KEY: &str = "pyr_wgpu";

/// The newest version, which is written for what earlier ones cannot say: ShakeDrop, whose
/// expectation is a part of the network.
const NEWEST: Version = Version { major: 3, minor: 0 };
/// The version that is written for another order of channels, and max pooling rounded up.
const SECOND: Version = Version { major: 2, minor: 0 };
/// The version that is written otherwise.
const FIRST: Version = Version { major: 1, minor: 0 };

/// How a decoded image becomes the network's input: resize, then (byte - mean) / std for each
/// channel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Mean of red, green and blue, on the scale 0 to 255.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, on the scale 0 to 255.
    pub std: [f32; 3],
    /// How an image of any extents becomes one of the network's size.
    #[serde(flatten)]
    pub resize: Resize,
    /// Order of the channels that the network takes.
    #[serde(
        rename = "channels",
        default,
        skip_serializing_if = "ChannelOrder::is_rgb"
    )]
    pub order: ChannelOrder,
}

impl Preprocessing {
    /// The network's default resize with a dataset's statistics on the scale 0 to 255.
    pub fn new(spec: &NetworkSpec, mean: [f32; 3], std: [f32; 3]) -> Preprocessing {
        Preprocessing {
            mean,
            std,
            resize: spec.resize(),
            order: ChannelOrder::Rgb,
        }
    }
}

/// Network, class names and preprocessing of a checkpoint.
///
/// ```
/// use std::collections::BTreeMap;
/// use pyr_wgpu::model::{Description, Preprocessing, preset};
///
/// let mut network = preset("demo").unwrap();
/// network.classes = 2;
/// let preprocessing = Preprocessing::new(&network, [127.5; 3], [64.0; 3]);
/// let classes = vec!["cat".to_string(), "dog".to_string()];
/// let description = Description { network, classes, preprocessing };
/// let mut metadata = BTreeMap::new();
/// description.write(&mut metadata);
/// assert_eq!(Description::read(&metadata), Ok(Some(description)));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The network.
    pub network: NetworkSpec,
    /// Names of the classes, by index.
    pub classes: Vec<String>,
    /// How images become inputs.
    pub preprocessing: Preprocessing,
}

/// Version of the format; "major.minor" in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    major: u32,
    minor: u32,
}

/// Parsed first, so that a newer format is reported as such instead of failing on whichever
/// field changed.
#[derive(Deserialize)]
struct Versioned {
    version: String,
}

/// The description with its version, as written.
#[derive(Serialize)]
struct Envelope<'a> {
    version: String,
    #[serde(flatten)]
    description: &'a Description,
}

/// Names of classes that have none: their indices.
pub fn numbered_classes(count: u32) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}

impl Description {
    /// Whether the classes have names, not only their indices.
    pub fn names_classes(&self) -> bool {
        self.classes != numbered_classes(self.network.classes)
    }

    /// Writes the description to a checkpoint's metadata.
    pub fn write(&self, metadata: &mut BTreeMap<String, String>) {
        let Version { major, minor } = match self {
            _ if self.network.shakedrop < 1.0 => NEWEST,
            _ if !self.preprocessing.order.is_rgb() || self.network.ceil_mode => SECOND,
            _ => FIRST,
        };
        let envelope = Envelope {
            version: format!("{major}.{minor}"),
            description: self,
        };
        let text = serde_json::to_string(&envelope).expect("plain data is always JSON");
        metadata.insert(METADATA_KEY.to_string(), text);
    }

    /// Reads the description from a checkpoint's metadata; `None` if there is none.
    ///
    /// # Errors
    /// If it is damaged, has a newer major version, or describes an illegal network.
    pub fn read(metadata: &BTreeMap<String, String>) -> Result<Option<Description>, SpecError> {
        metadata
            .get(METADATA_KEY)
            .map(|text| parse(text))
            .transpose()
    }
}

/// Checks that new names tell classes apart: none is empty or looks like another.
///
/// # Errors
/// What is wrong with the first name that does not, and the next step.
#[cfg(not(target_arch = "wasm32"))]
pub fn check_classes(classes: &[String]) -> Result<(), String> {
    check_printed(classes)?;
    match crate::data::find_alike(classes) {
        Some([a, b]) => Err(format!(
            "the names `{a}` and `{b}` look alike; change one of them"
        )),
        None => Ok(()),
    }
}

/// Checks that names that a file has tell classes apart when they are printed. Those that only look
/// alike do not make a trained network unusable.
fn check_printed(classes: &[String]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for class in classes {
        let shown = printable(class);
        if shown.trim().is_empty() || !names.insert(shown.trim().to_owned()) {
            return Err(format!(
                "the name `{shown}` does not identify a class: it is empty, or another class has \
                 it; give each class a name of its own"
            ));
        }
    }
    Ok(())
}

fn parse(text: &str) -> Result<Description, SpecError> {
    let error = |reason: String| SpecError::Metadata {
        key: METADATA_KEY,
        reason,
    };
    let damaged = |cause: serde_json::Error| {
        error(format!(
            "{}; the file was damaged or written by another program",
            printable(&cause.to_string())
        ))
    };
    let version = serde_json::from_str::<Versioned>(text)
        .map_err(damaged)?
        .version;
    let parts = version.split_once('.').and_then(|(major, minor)| {
        Some(Version {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    });
    match parts {
        None => {
            let version = printable(&version);
            return Err(error(format!("`{version}` is not a version of its format")));
        }
        Some(Version { major, .. }) if major > NEWEST.major => {
            return Err(error(format!(
                "its format {version} is newer than this program's {}.{}; use a newer pyr-wgpu",
                NEWEST.major, NEWEST.minor
            )));
        }
        Some(_) => {}
    }
    let mut description: Description = serde_json::from_str(text).map_err(damaged)?;
    // The file stores the size once, with the network.
    description.preprocessing.resize.size = description.network.image_size;
    let Description {
        network,
        classes,
        preprocessing,
    } = &description;
    network
        .validate()
        .map_err(|cause| error(format!("its network cannot be built: {cause}")))?;
    if classes.len() != network.classes as usize {
        return Err(error(format!(
            "it names {} classes for a network of {}",
            classes.len(),
            network.classes
        )));
    }
    check_printed(classes).map_err(error)?;
    let statistics_are_sound = preprocessing.mean.iter().all(|mean| mean.is_finite())
        && preprocessing
            .std
            .iter()
            .all(|std| std.is_finite() && *std > 0.0);
    if !statistics_are_sound {
        return Err(error(format!(
            "its mean {:?} and standard deviation {:?} cannot normalise an image",
            preprocessing.mean, preprocessing.std
        )));
    }
    let Resize {
        size, shorter_side, ..
    } = preprocessing.resize;
    if shorter_side < size {
        return Err(error(format!(
            "an image whose shorter side is {shorter_side} has no centre of {size}x{size}"
        )));
    }
    Ok(description)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Growth, preset};

    fn sample() -> Description {
        let mut network = preset("pyramidnet110-mul-a4.75").unwrap();
        network.classes = 2;
        let mean = [125.3, 123.0, 113.9];
        Description {
            preprocessing: Preprocessing::new(&network, mean, [63.0, 62.1, 66.7]),
            network,
            classes: vec!["cat".into(), "\"dog\", ümlaut".into()],
        }
    }

    fn text(description: &Description) -> String {
        let mut metadata = BTreeMap::new();
        description.write(&mut metadata);
        metadata.remove(METADATA_KEY).unwrap()
    }

    fn read(text: &str) -> Result<Option<Description>, SpecError> {
        Description::read(&BTreeMap::from([(
            METADATA_KEY.to_string(),
            text.to_string(),
        )]))
    }

    #[test]
    fn what_is_written_is_read() {
        let sample = sample();
        let back = read(&text(&sample)).unwrap().unwrap();
        assert_eq!(back, sample);
        assert_eq!(back.network.growth, Growth::Multiplicative);
        assert_eq!(Description::read(&BTreeMap::new()), Ok(None));
    }

    #[test]
    fn what_older_programs_cannot_honour_has_a_newer_version() {
        let mut network = preset("pyramidnet200-a300-imagenet").unwrap();
        network.classes = 2;
        network.ceil_mode = true;
        let sample = Description {
            preprocessing: Preprocessing {
                order: ChannelOrder::Bgr,
                ..Preprocessing::new(&network, [123.0, 117.0, 104.0], [57.6; 3])
            },
            network,
            classes: sample().classes,
        };
        let text = text(&sample);
        for part in ["\"2.0\"", "\"channels\":\"bgr\"", "\"ceil_mode\":true"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(read(&text).unwrap(), Some(sample));
    }

    #[test]
    fn shakedrop_is_refused_by_older_programs() {
        let with = |change: fn(&mut NetworkSpec)| {
            let mut sample = sample();
            change(&mut sample.network);
            let text = text(&sample);
            assert_eq!(read(&text).unwrap(), Some(sample));
            text
        };
        let shaken = with(|network| network.shakedrop = 0.5);
        assert!(shaken.contains("\"3.0\"") && shaken.contains("\"shakedrop\":0.5"));
        // Evaluation is the same without it.
        let deep = with(|network| network.stochastic_depth = 0.5);
        assert!(deep.contains("\"1.0\"") && deep.contains("\"stochastic_depth\":0.5"));
    }

    /// The text of a description from before the resampling filter was named.
    #[test]
    fn the_format_is_that_of_earlier_versions() {
        let text = text(&sample());
        let expected = "\"preprocessing\":{\"mean\":[125.3,123.0,113.9],\
                        \"std\":[63.0,62.1,66.7],\"shorter_side\":32}";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn the_shorter_side_is_the_file_s() {
        let text = text(&sample()).replace("\"shorter_side\":32", "\"shorter_side\":40");
        let read = read(&text).unwrap().unwrap();
        assert_eq!(read.preprocessing.resize, Resize::new(32, 40));
    }

    #[test]
    fn every_class_has_a_name_of_its_own() {
        for classes in [["a", "a"], ["a", "a "], ["a", " "], ["a\n", r"a\n"]] {
            let mut sample = sample();
            sample.classes = classes.map(str::to_owned).to_vec();
            let error = read(&text(&sample)).unwrap_err().to_string();
            assert!(
                error.contains("does not identify a class"),
                "{classes:?}: {error}"
            );
        }
    }

    #[test]
    fn new_names_that_look_alike_are_refused_and_old_ones_read() {
        for classes in [
            ["caf\u{e9}", "cafe\u{301}"],
            ["cat", "cat\u{200b}"],
            ["a b", "a\u{a0}b"],
            ["cat", "ca\u{ad}t"],
            ["cat", "cat\u{fe0f}"],
        ] {
            let mut sample = sample();
            sample.classes = classes.map(str::to_owned).to_vec();
            let error = check_classes(&sample.classes).unwrap_err();
            assert!(error.contains("look alike; change one"), "{error}");
            assert_eq!(read(&text(&sample)), Ok(Some(sample)));
        }
        check_classes(&sample().classes).unwrap();
        let empty = [String::new(), "a".to_owned()];
        assert!(check_classes(&empty).unwrap_err().contains("is empty"));
    }

    #[test]
    fn newer_minor_versions_are_read_and_newer_major_ones_refused() {
        let newer = text(&sample()).replace("\"1.0\"", "\"1.7\"");
        let newer = newer.replacen('{', "{\"colour\":\"sRGB\",", 1);
        assert_eq!(read(&newer).unwrap(), Some(sample()));
        // A future format may have nothing in common but the version.
        let error = read("{\"version\":\"4.0\",\"net\":[1,2]}").unwrap_err();
        assert!(error.is_about_checkpoint());
        assert!(error.to_string().contains("newer pyr-wgpu"), "{error}");
    }

    #[test]
    fn damage_is_named() {
        let good = text(&sample());
        let cases = [
            (good[..good.len() / 2].to_string(), "damaged"),
            ("[]".to_string(), "damaged"),
            (good.replace("\"1.0\"", "\"one\""), "not a version"),
            (
                good.replace("\"depth\":110", "\"depth\":111"),
                "110 and 116",
            ),
            (good.replace("\"classes\":2", "\"classes\":3"), "2 classes"),
            (good.replace("[63.0,", "[0.0,"), "normalise"),
            (
                good.replace("\"shorter_side\":32", "\"shorter_side\":31"),
                "31",
            ),
            (good.replace("\"mul\"", "\"square\""), "square"),
            (
                good.replace(
                    "\"shorter_side\"",
                    "\"resampling\":\"cubic\",\"shorter_side\"",
                ),
                "cubic",
            ),
        ];
        for (text, words) in cases {
            assert_ne!(text, good, "{words}");
            let error = read(&text).unwrap_err();
            assert!(error.is_about_checkpoint());
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
