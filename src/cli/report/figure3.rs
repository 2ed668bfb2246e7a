//! Figure 3 of the paper as SVG: a panel for each dataset, the test error against the number of
//! parameters on a logarithmic axis.

use crate::data::DatasetKind;
use crate::model::{Network, preset, published};

/// A network and its test error.
pub(super) struct Point {
    pub(super) name: String,
    pub(super) parameters: u64,
    /// Top-1 error in percent.
    pub(super) error: f64,
}

/// The series of the authors' results: name and presets.
type Series = (&'static str, &'static [&'static str]);

const SERIES: [Series; 3] = [
    (
        "additive, basic units (authors)",
        &[
            "pyramidnet110-a48",
            "pyramidnet110-a84",
            "pyramidnet110-a270",
        ],
    ),
    (
        "multiplicative, basic units (authors)",
        &[
            "pyramidnet110-mul-a4.75",
            "pyramidnet110-mul-a8",
            "pyramidnet110-mul-a27",
        ],
    ),
    (
        "additive, bottleneck units (authors)",
        &[
            "pyramidnet164-a48",
            "pyramidnet164-a84",
            "pyramidnet272-a200",
            "pyramidnet200-a240",
            "pyramidnet236-a220",
            "pyramidnet164-a270",
        ],
    ),
];

/// Colours of the series, which people with impaired colour vision can tell apart (Okabe and Ito).
const COLOURS: [&str; 3] = ["#0072b2", "#009e73", "#e69f00"];
const RUNS: &str = "#d55e00";

/// Extents of a panel and of its plot, in pixels.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 690.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 350.0;

/// The document: panels for CIFAR-10 and CIFAR-100, and for each other dataset of a run.
pub(super) fn svg(runs: &[(DatasetKind, Point)]) -> String {
    let published = [DatasetKind::Cifar10, DatasetKind::Cifar100];
    let mut datasets = published.to_vec();
    for (dataset, _) in runs {
        if !datasets.contains(dataset) {
            datasets.push(*dataset);
        }
    }
    let panels = datasets.iter().enumerate().map(|(number, dataset)| {
        let column = published.iter().position(|kind| kind == dataset);
        let series = column.map_or(Vec::new(), published_series);
        let of_it = runs.iter().filter(|(kind, _)| kind == dataset);
        let panel = Panel {
            title: dataset.manifest().title,
            series,
            runs: of_it.map(|(_, point)| point).collect(),
        };
        let top = HEIGHT * number as f64;
        format!(
            "<g transform=\"translate(0 {top})\">\n{}</g>\n",
            panel.svg()
        )
    });
    let panels: String = panels.collect();
    let height = HEIGHT * datasets.len() as f64;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{panels}</svg>\n"
    )
}

/// The authors' series on a dataset, by its column.
fn published_series(column: usize) -> Vec<(&'static str, Vec<Point>)> {
    // CIFAR-10 has 10 classes, CIFAR-100 has 100.
    let classes = [10, 100][column];
    let point = |name: &&str| {
        let mut spec = preset(name).expect("the published networks are presets");
        spec.classes = classes;
        let network = Network::new(&spec).expect("presets are valid");
        let errors = published(name).expect("it has errors on both");
        let error = [errors.cifar10, errors.cifar100][column];
        Point {
            name: (*name).to_owned(),
            parameters: network.counts().parameters,
            error: error.expect("it has errors on both"),
        }
    };
    let series = SERIES.iter();
    series
        .map(|(name, presets)| (*name, presets.iter().map(point).collect()))
        .collect()
}

/// The results on one dataset.
struct Panel<'a> {
    title: String,
    series: Vec<(&'static str, Vec<Point>)>,
    runs: Vec<&'a Point>,
}

impl Panel<'_> {
    fn svg(&self) -> String {
        let all = || {
            let published = self.series.iter().flat_map(|(_, points)| points);
            published.chain(self.runs.iter().copied())
        };
        let exponents = || all().map(|point| (point.parameters.max(1) as f64).log10());
        let errors = || all().map(|point| point.error);
        // A single point has a range as well.
        let [x0, x1] = range(exponents(), 1.0);
        let [y0, y1] = range(errors(), 0.5);
        let y0 = y0.max(0.0);
        let place = |point: &Point| {
            let x = (point.parameters.max(1) as f64).log10();
            [
                LEFT + (x - x0) / (x1 - x0) * (RIGHT - LEFT),
                BOTTOM - (point.error - y0) / (y1 - y0) * (BOTTOM - TOP),
            ]
        };
        let mut lines = vec![text(WIDTH / 2.0, 24.0, "middle", &self.title)];
        for (value, label) in parameter_ticks(x0, x1) {
            let x = LEFT + (value - x0) / (x1 - x0) * (RIGHT - LEFT);
            lines.push(line([x, TOP], [x, BOTTOM], "#dddddd"));
            lines.push(text(x, BOTTOM + 16.0, "middle", &label));
        }
        for value in error_ticks(y0, y1) {
            let y = BOTTOM - (value - y0) / (y1 - y0) * (BOTTOM - TOP);
            lines.push(line([LEFT, y], [RIGHT, y], "#dddddd"));
            lines.push(text(LEFT - 6.0, y + 4.0, "end", &format!("{value}")));
        }
        lines.push(line([LEFT, BOTTOM], [RIGHT, BOTTOM], "black"));
        lines.push(line([LEFT, TOP], [LEFT, BOTTOM], "black"));
        lines.push(text(WIDTH / 2.0, BOTTOM + 34.0, "middle", "parameters"));
        let middle = (TOP + BOTTOM) / 2.0;
        lines.push(format!(
            "<text transform=\"translate(16 {middle}) rotate(-90)\" text-anchor=\"middle\">test \
             error, %</text>"
        ));
        let mut legend = Vec::new();
        for ((name, points), colour) in self.series.iter().zip(COLOURS) {
            let path: Vec<String> = points
                .iter()
                .map(|point| place(point).map(|at| format!("{at:.1}")).join(","))
                .collect();
            lines.push(format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>",
                path.join(" ")
            ));
            for point in points {
                lines.push(circle(place(point), colour, &tooltip(point)));
            }
            legend.push((*name, colour));
        }
        for point in &self.runs {
            let [x, y] = place(point);
            lines.push(diamond([x, y], &tooltip(point)));
            // A label near the right edge ends at its point.
            let (x, anchor) = match x > (LEFT + RIGHT) / 2.0 {
                true => (x - 9.0, "end"),
                false => (x + 9.0, "start"),
            };
            lines.push(text(x, y + 4.0, anchor, &point.name));
        }
        if !self.runs.is_empty() {
            legend.push(("runs", RUNS));
        }
        for (number, (name, colour)) in legend.into_iter().enumerate() {
            let x = LEFT + (number % 2) as f64 * (RIGHT - LEFT) / 2.0;
            let y = BOTTOM + 46.0 + (number / 2) as f64 * 16.0;
            lines.push(match colour {
                RUNS => diamond([x, y], name),
                _ => circle([x, y], colour, name),
            });
            lines.push(text(x + 9.0, y + 4.0, "start", name));
        }
        lines.join("\n") + "\n"
    }
}

/// The range of numbers with a margin of a tenth, at least `least` wide.
fn range(numbers: impl Iterator<Item = f64> + Clone, least: f64) -> [f64; 2] {
    let low = numbers.clone().fold(f64::INFINITY, f64::min);
    let high = numbers.fold(f64::NEG_INFINITY, f64::max);
    let margin = (0.1 * (high - low)).max(least / 2.0);
    [low - margin, high + margin]
}

/// Round numbers of parameters between two powers of ten: exponents and labels.
fn parameter_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let mut ticks = Vec::new();
    for exponent in low.floor() as i32..=high.ceil() as i32 {
        for digit in [1, 2, 5] {
            let number = f64::from(digit) * 10f64.powi(exponent);
            if (low..=high).contains(&number.log10()) {
                let label = match exponent {
                    6.. => format!("{} M", number / 1e6),
                    3.. => format!("{} k", number / 1e3),
                    _ => format!("{number}"),
                };
                ticks.push((number.log10(), label));
            }
        }
    }
    ticks
}

/// Round errors in a range, about six.
fn error_ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
    let step = steps.into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    // Rounded, so that 0.1 times 3 is written 0.3.
    let round = |value: f64| (value * 1e6).round() / 1e6;
    (first..=last)
        .map(|tick| round(tick as f64 * step))
        .collect()
}

fn tooltip(point: &Point) -> String {
    let Point {
        name,
        parameters,
        error,
    } = point;
    format!("{name}: {parameters} parameters, {error:.2} %")
}

fn text(x: f64, y: f64, anchor: &str, content: &str) -> String {
    let content = escaped(content);
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>")
}

fn line([x1, y1]: [f64; 2], [x2, y2]: [f64; 2], colour: &str) -> String {
    format!(
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
    )
}

fn circle([x, y]: [f64; 2], colour: &str, title: &str) -> String {
    let title = escaped(title);
    format!(
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"><title>{title}</title></circle>"
    )
}

fn diamond([x, y]: [f64; 2], title: &str) -> String {
    let title = escaped(title);
    format!(
        "<path d=\"M{x:.1} {:.1}l6 6l-6 6l-6 -6z\" fill=\"{RUNS}\"><title>{title}</title></path>",
        y - 6.0
    )
}

/// Text as it is written in XML, which has no control characters.
fn escaped(text: &str) -> String {
    let printable = crate::text::printable(text);
    printable
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_drawn_inside_its_panel() {
        let run = |name: &str, parameters, error| Point {
            name: name.to_owned(),
            parameters,
            error,
        };
        let text = svg(&[
            (DatasetKind::Cifar10, run("a<b>&c", 300_000, 13.18)),
            (DatasetKind::Cifar10, run("huge", 300_000_000, 90.0)),
            (DatasetKind::Shapes, run("alone", 1, 0.0)),
        ]);
        assert!(text.contains(">a&lt;b&gt;&amp;c<") && !text.contains("a<b>"));
        assert!(text.contains("pyramidnet110-a270: 28485477 parameters, 3.73 %"));
        // Twelve networks and three entries of the legend, on two datasets.
        assert_eq!(text.matches("<circle").count(), 2 * (12 + 3));
        // Three runs and the entry of the legend in two panels.
        assert_eq!(text.matches("<path").count(), 3 + 2);
        assert!(!text.contains("NaN") && !text.contains("inf"));
        let numbers = |attribute: &str| -> Vec<f64> {
            let start = format!("{attribute}=\"");
            let parts = text.split(&start).skip(1);
            parts
                .map(|part| part.split('"').next().unwrap().parse().unwrap())
                .collect()
        };
        for x in numbers("cx").into_iter().chain(numbers(" x")) {
            assert!((0.0..RIGHT).contains(&x), "{x}");
        }
        for y in numbers("cy").into_iter().chain(numbers(" y")) {
            assert!((0.0..HEIGHT).contains(&y), "{y}");
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(error_ticks(0.05, 0.62), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
        assert_eq!(error_ticks(16.0, 24.0), [16.0, 18.0, 20.0, 22.0, 24.0]);
        let labels: Vec<String> = parameter_ticks(5.9, 7.0)
            .into_iter()
            .map(|tick| tick.1)
            .collect();
        assert_eq!(labels, ["1 M", "2 M", "5 M", "10 M"]);
    }
}
