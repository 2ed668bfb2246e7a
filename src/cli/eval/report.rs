//! The report of an evaluation: text, JSON and CSV.

use serde_json::{Value, json};

use super::super::error::CliError;
use super::super::output::csv_field as field;
use super::super::print_line;
use crate::train::{Calibration, Evaluation};

/// Number of classes up to which the confusion matrix is printed.
const MAX_MATRIX: usize = 20;

/// What is measured of a class; shares are `None` where nothing counts.
struct ClassMetrics {
    /// Images of the class.
    images: u64,
    /// Share of them that are predicted as the class.
    recall: Option<f64>,
    /// Share of the images predicted as the class that are of it.
    precision: Option<f64>,
    /// Harmonic mean of recall and precision.
    f1: Option<f64>,
}

impl ClassMetrics {
    fn of(confusion: &[Vec<u64>], class: usize) -> ClassMetrics {
        let images = confusion[class].iter().sum();
        let predicted: u64 = confusion.iter().map(|row| row[class]).sum();
        let correct = confusion[class][class];
        let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        ClassMetrics {
            images,
            recall: ratio(correct, images),
            precision: ratio(correct, predicted),
            f1: ratio(2 * correct, images + predicted),
        }
    }

    fn of_all(evaluation: &Evaluation) -> Vec<ClassMetrics> {
        let classes = 0..evaluation.confusion.len();
        classes
            .map(|class| ClassMetrics::of(&evaluation.confusion, class))
            .collect()
    }
}

/// The mean of a share over the classes that have it.
fn mean(shares: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let known: Vec<f64> = shares.flatten().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

/// The report as one JSON document.
pub(super) fn as_json(classes: &[String], evaluation: &Evaluation) -> Value {
    let metrics = ClassMetrics::of_all(evaluation);
    let row = |(name, metrics): (&String, &ClassMetrics)| {
        json!({
            "class": name,
            "images": metrics.images,
            "recall": metrics.recall,
            "precision": metrics.precision,
            "f1": metrics.f1,
        })
    };
    let per_class: Vec<Value> = classes.iter().zip(&metrics).map(row).collect();
    let totals = &evaluation.totals;
    json!({
        "top1_error": totals.top1_error(),
        "top5_error": totals.top5_error(classes.len()),
        "loss": totals.mean_loss(),
        "images": totals.images,
        "classes": per_class,
        "macro": {
            "recall": mean(metrics.iter().map(|class| class.recall)),
            "precision": mean(metrics.iter().map(|class| class.precision)),
            "f1": mean(metrics.iter().map(|class| class.f1)),
        },
        "confusion": evaluation.confusion,
        "calibration": calibration_json(&evaluation.calibration),
    })
}

fn calibration_json(calibration: &Calibration) -> Value {
    let bins: Vec<Value> = intervals(calibration)
        .map(|interval| {
            json!({
                "from": interval.from,
                "to": interval.to,
                "images": interval.images,
                "confidence": interval.confidence,
                "accuracy": interval.accuracy,
            })
        })
        .collect();
    // In percent, as the other errors; the bins have shares.
    let error = calibration.expected_error().map(|error| 100.0 * error);
    json!({"expected_calibration_error": error, "bins": bins})
}

/// A bin of the calibration; means are `None` without images.
struct Interval {
    from: f64,
    to: f64,
    images: u64,
    confidence: Option<f64>,
    accuracy: Option<f64>,
}

fn intervals(calibration: &Calibration) -> impl Iterator<Item = Interval> {
    let bins = calibration.bins().iter().enumerate();
    bins.map(|(number, bin)| {
        let mean = |sum: f64| (bin.images > 0).then(|| sum / bin.images as f64);
        Interval {
            from: number as f64 / Calibration::BINS as f64,
            to: (number + 1) as f64 / Calibration::BINS as f64,
            images: bin.images,
            confidence: mean(bin.confidence),
            accuracy: mean(bin.correct as f64),
        }
    })
}

/// Prints the report.
pub(super) fn as_text(classes: &[String], evaluation: &Evaluation) -> Result<(), CliError> {
    let totals = &evaluation.totals;
    print_line(&format!("images      {}", totals.images))?;
    print_line(&format!("top-1 error {:.2} %", totals.top1_error()))?;
    if let Some(error) = totals.top5_error(classes.len()) {
        print_line(&format!("top-5 error {error:.2} %"))?;
    }
    print_line(&format!("loss        {:.4}", totals.mean_loss()))?;
    print_line("")?;
    let metrics = ClassMetrics::of_all(evaluation);
    let widths = classes.iter().map(|class| class.chars().count());
    let width = widths.max().unwrap_or(0).max(5);
    let percent =
        |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{:.1} %", 100.0 * v));
    print_line(&format!(
        "{:<width$} {:>7} {:>8} {:>10} {:>8}",
        "class", "images", "recall", "precision", "F1"
    ))?;
    let row = |name: &str, images: u64, shares: [Option<f64>; 3]| {
        let [recall, precision, f1] = shares.map(percent);
        print_line(&format!(
            "{name:<width$} {images:>7} {recall:>8} {precision:>10} {f1:>8}"
        ))
    };
    for (name, class) in classes.iter().zip(&metrics) {
        row(
            name,
            class.images,
            [class.recall, class.precision, class.f1],
        )?;
    }
    let means = [
        mean(metrics.iter().map(|class| class.recall)),
        mean(metrics.iter().map(|class| class.precision)),
        mean(metrics.iter().map(|class| class.f1)),
    ];
    row("mean", totals.images, means)?;
    calibration_text(&evaluation.calibration)?;
    if classes.len() > MAX_MATRIX {
        return print_line(
            "\nthe confusion matrix is too large to print; --confusion FILE.csv writes it",
        );
    }
    print_line("\nconfusion (rows: true class, columns: predicted class)")?;
    let columns: Vec<String> = (0..classes.len()).map(|c| format!("{c:>5}")).collect();
    print_line(&format!("{:<width$}    {}", "", columns.join("")))?;
    for (class, name) in classes.iter().enumerate() {
        let row = evaluation.confusion[class].iter();
        let cells: Vec<String> = row.map(|count| format!("{count:>5}")).collect();
        print_line(&format!("{name:<width$} {class:>2} {}", cells.join("")))?;
    }
    Ok(())
}

fn calibration_text(calibration: &Calibration) -> Result<(), CliError> {
    let Some(error) = calibration.expected_error() else {
        return Ok(());
    };
    print_line(&format!(
        "\nexpected calibration error {:.2} % ({} bins)",
        100.0 * error,
        Calibration::BINS
    ))?;
    print_line("probability    images  mean probability  accuracy")?;
    for interval in intervals(calibration) {
        let (Some(confidence), Some(accuracy)) = (interval.confidence, interval.accuracy) else {
            continue;
        };
        print_line(&format!(
            "{:.2} to {:.2} {:>8} {:>15.1} % {:>7.1} %",
            interval.from,
            interval.to,
            interval.images,
            100.0 * confidence,
            100.0 * accuracy
        ))?;
    }
    Ok(())
}

/// Images, recall, precision and F1 of every class.
pub(super) fn per_class_csv(classes: &[String], evaluation: &Evaluation) -> String {
    let mut text = "class,images,recall,precision,f1\n".to_owned();
    for (name, class) in classes.iter().zip(ClassMetrics::of_all(evaluation)) {
        let shares = [class.recall, class.precision, class.f1];
        let [recall, precision, f1] = shares.map(|v| v.map_or(String::new(), |v| v.to_string()));
        let (name, images) = (field(name), class.images);
        text += &format!("{name},{images},{recall},{precision},{f1}\n");
    }
    text
}

/// The confusion matrix with the names of the classes.
pub(super) fn confusion_csv(classes: &[String], evaluation: &Evaluation) -> String {
    let names: Vec<String> = classes.iter().map(|name| field(name)).collect();
    let mut text = format!("true\\predicted,{}\n", names.join(","));
    for (name, row) in names.iter().zip(&evaluation.confusion) {
        let cells: Vec<String> = row.iter().map(u64::to_string).collect();
        text += &format!("{name},{}\n", cells.join(","));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation() -> Evaluation {
        Evaluation {
            // Class 1 is never predicted, class 2 has no images.
            confusion: vec![vec![3, 0, 1], vec![2, 0, 0], vec![0, 0, 0]],
            ..Evaluation::default()
        }
    }

    #[test]
    fn metrics_of_classes_by_hand() {
        let [first, second, third] = ClassMetrics::of_all(&evaluation()).try_into().ok().unwrap();
        assert_eq!((first.images, second.images, third.images), (4, 2, 0));
        assert_eq!((first.recall, first.precision), (Some(0.75), Some(0.6)));
        // 2 · 3 / (4 + 5).
        assert_eq!(first.f1, Some(6.0 / 9.0));
        assert_eq!((second.recall, second.precision), (Some(0.0), None));
        assert_eq!(second.f1, Some(0.0));
        assert_eq!((third.recall, third.precision), (None, Some(0.0)));
    }

    #[test]
    fn names_are_quoted_in_csv() {
        let classes = ["a", "b, c", "d \"e\""].map(str::to_owned);
        let text = confusion_csv(&classes, &evaluation());
        let expected = "true\\predicted,a,\"b, c\",\"d \"\"e\"\"\"\na,3,0,1\n\"b, c\",2,0,0\n\
                        \"d \"\"e\"\"\",0,0,0\n";
        assert_eq!(text, expected);
        let text = per_class_csv(&classes, &evaluation());
        assert!(
            text.starts_with("class,images,recall,precision,f1\na,4,0.75,0.6,"),
            "{text}"
        );
        assert!(text.contains("\n\"b, c\",2,0,,0\n"), "{text}");
    }
}
