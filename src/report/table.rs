//! The table for people: benchmarks and aliases, then what differs, then why not to trust it. Plain text without
//! colour, within the width it is given (80 columns and more).

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use indexmap::IndexMap;

use super::comparison::Comparison;
use super::summary::Summary;
use super::units::{Scale, number, printable};
use super::{Report, Warning, WarningKind};
use crate::api::Alias;

/// Narrower than this, numbers would be torn apart.
const WIDTH_MIN: u16 = 60;

/// Comparisons and warnings shown at most each; the files have all.
const LINES_MAX: usize = 30;

/// A line below the head and nothing else.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// `width` in columns.
pub fn table(report: &Report, width: u16) -> String {
    let width = width.max(WIDTH_MIN);
    let mut parts = vec![summary_table(&report.summary, width)];
    parts.extend(comparison_lines(&report.comparisons));
    parts.extend(warning_lines(report, usize::from(width)));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n") + "\n"
}

fn summary_table(summary: &[Summary], width: u16) -> String {
    if summary.is_empty() {
        return "no task completed: there is nothing to summarise".to_owned();
    }
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.set_header(["benchmark", "alias", "tasks", "median", "mean ± 95 % CI", "CV", ""]);
    for column in [2, 3, 4, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut last = None;
    for row in summary {
        let repeated = last.replace((&row.benchmark, &row.unit)) == Some((&row.benchmark, &row.unit));
        table.add_row(cells(row, repeated));
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn cells(row: &Summary, repeated: bool) -> Vec<Cell> {
    let name = if repeated { String::new() } else { printable(&row.benchmark) };
    let scale = Scale::of(row.median.unwrap_or(0.0), &row.unit);
    let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| scale.with_unit(value));
    [
        name,
        row.alias.to_string(),
        row.tasks.to_string(),
        shown(row.median),
        mean_and_interval(row, &scale),
        row.cv_percent.map_or("-".to_owned(), |cv| format!("{cv:.1} %")),
        if row.warnings.is_empty() { String::new() } else { "!".to_owned() },
    ]
    .map(Cell::new)
    .into()
}

/// `12.35 ± 0.11`, in the scale of the median. No interval, no sign of one.
fn mean_and_interval(row: &Summary, scale: &Scale) -> String {
    match (row.mean, row.ci95) {
        (Some(mean), Some(interval)) => {
            format!("{} ± {}", scale.number(mean), number_like(interval.high - mean, mean, scale))
        }
        (Some(mean), None) => scale.number(mean),
        (None, _) => "-".to_owned(),
    }
}

/// The half width, with as many decimals as the mean is shown with.
fn number_like(half: f64, mean: f64, scale: &Scale) -> String {
    let shown = scale.number(mean);
    let scaled = half / scale.divisor;
    if shown.contains('e') {
        return number(scaled);
    }
    let decimals = shown.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let smallest = 10.0_f64.powi(-(decimals as i32));
    if 0.0 < scaled && scaled < smallest / 2.0 {
        return format!("<{smallest:.decimals$}");
    }
    format!("{scaled:.decimals$}")
}

fn comparison_lines(comparisons: &[Comparison]) -> Option<String> {
    let lines = comparisons.iter().take(LINES_MAX).map(|comparison| format!("  {}", sentence(comparison)));
    let lines: Vec<String> = lines.chain(left_out(comparisons.len())).collect();
    (!lines.is_empty()).then(|| format!("ratios, with 95 % CI:\n{}", lines.join("\n")))
}

/// `sort: b / a = 0.80 (0.78 to 0.82): better`.
fn sentence(comparison: &Comparison) -> String {
    let interval = comparison
        .ci95
        .map_or(String::new(), |interval| format!(" ({} to {})", ratio(interval.low), ratio(interval.high)));
    format!(
        "{}: {} / {} = {}{interval}: {}",
        printable(&comparison.benchmark),
        comparison.alias,
        comparison.baseline,
        ratio(comparison.ratio),
        comparison.verdict.word()
    )
}

pub(super) fn ratio(value: f64) -> String {
    if (0.01..100.0).contains(&value) { format!("{value:.3}") } else { number(value) }
}

/// One line an alias and kind of warning: the first benchmark it concerns speaks for the others.
fn warning_lines(report: &Report, width: usize) -> Option<String> {
    let mut groups: IndexMap<(&Alias, WarningKind), Vec<&Warning>> = IndexMap::new();
    for warning in &report.warnings {
        groups.entry((&warning.alias, warning.kind)).or_default().push(warning);
    }
    let lines = groups.values().take(LINES_MAX).map(|group| wrapped(&warning_line(group), width));
    let lines: Vec<String> = lines.chain(left_out(groups.len())).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn warning_line(group: &[&Warning]) -> String {
    let first = group[0];
    let mut subject = first.alias.to_string();
    if let Some(benchmark) = &first.benchmark {
        subject.push_str(&format!(", {}", printable(benchmark)));
        if group.len() > 1 {
            subject.push_str(&format!(" and {} more", group.len() - 1));
        }
    }
    format!("! {subject}: {}", printable(&first.message))
}

fn left_out(count: usize) -> Option<String> {
    (count > LINES_MAX).then(|| format!("  … and {} more in results.json", count - LINES_MAX))
}

/// Breaks between words; further lines are indented by two.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if !line.trim().is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(format!("  {word}"));
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn what_people_see() {
        insta::assert_snapshot!(table(&sample::report(), 80));
    }

    #[test]
    fn eighty_columns_are_kept_with_the_longest_names() {
        let long = "a".repeat(32);
        let name = "benchmark-".repeat(6);
        let task =
            |number| sample::task_with(&long, number, vec![sample::series(&name, "ns", &[1.0e9, 1.1e9])]);
        let report = Report::new(sample::facts(&[&long]), vec![task(1), task(2)]);
        let text = summary_table(&report.summary, 80);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_run_without_results_says_so() {
        let report = Report::new(sample::facts(&["a"]), vec![sample::failed("a", 1, "exit")]);
        let text = table(&report, 80);
        assert!(
            text.starts_with("no task completed") && text.contains("1 of 1 task did not complete (1 exit)"),
            "{text}"
        );
    }

    #[test]
    fn without_an_interval_none_is_shown() {
        let report = Report::new(sample::facts(&["a"]), vec![sample::task("a", 1, &[5.0e6])]);
        let text = summary_table(&report.summary, 80);
        assert!(text.contains("5.000 ms") && !text.lines().last().unwrap().contains('±'), "{text}");
    }
}
