//! The tables of README.md: sizes of the presets' networks, and errors that were published for them.

use std::collections::BTreeSet;

use pyr_wgpu::model::{Network, Published, preset, preset_names, published, published_for};

/// A number of a table; an empty cell is none.
fn number(cell: &str) -> Option<f64> {
    (!cell.is_empty()).then(|| cell.parse().unwrap_or_else(|e| panic!("{cell}: {e}")))
}

#[test]
fn tables_have_the_presets_with_their_sizes_and_published_errors() {
    let readme = include_str!("../README.md");
    let mut seen = BTreeSet::new();
    for line in readme.lines().filter(|line| line.starts_with("| `p")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`');
        let Ok(spec) = preset(name) else { continue };
        let errors = published(name).unwrap_or_else(|| panic!("{name} has no errors"));
        let sizes = match errors.imagenet {
            Some(imagenet) => {
                let written: Vec<Option<f64>> = cells[1]
                    .split('/')
                    .map(|error| number(error.trim()))
                    .collect();
                assert_eq!(written, imagenet.map(Some), "{name}");
                &cells[2..4]
            }
            None => {
                let written = [number(cells[1]), number(cells[2])];
                assert_eq!(written, [errors.cifar10, errors.cifar100], "{name}");
                &cells[3..5]
            }
        };
        let counts = Network::new(&spec).unwrap().counts();
        let written: Vec<u64> = sizes
            .iter()
            .map(|cell| cell.replace(',', "").parse().unwrap())
            .collect();
        assert_eq!(written, [counts.parameters, counts.macs], "{name}");
        assert!(seen.insert(name), "{name} has two rows");
    }
    let with_errors = preset_names().filter(|name| published(name).is_some());
    assert_eq!(seen, with_errors.collect());
    assert_eq!(seen.len(), preset_names().count() - 1, "all but the demo");
}

#[test]
fn errors_belong_to_a_network_of_any_number_of_classes() {
    let mut spec = preset("pyramidnet272-a200-shakedrop").unwrap();
    spec.classes = 3;
    let errors = published_for(&spec).unwrap();
    assert_eq!(errors.words(), ["CIFAR-10 3.08 %"]);
    spec.shakedrop = 1.0;
    let Published { cifar10, .. } = published_for(&spec).unwrap();
    assert_eq!(cifar10, Some(3.31));
    spec.shakedrop = 0.7;
    assert_eq!(published_for(&spec), None);
    let spec = preset("pyramidnet200-a300-imagenet").unwrap();
    let words = published_for(&spec).unwrap().words();
    assert_eq!(words, ["ImageNet 20.47 % top-1, 5.29 % top-5"]);
}
