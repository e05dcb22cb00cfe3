//! `report.html`: one file that needs nothing else. No script at all, so a policy forbids every one; all text is
//! escaped, since names and messages come from workloads and machines.

use std::fmt::Write;

use super::Report;
use super::facts::PlanFact;
use super::plot::{self, Axis};
use super::stats::Interval;
use super::summary::Summary;
use super::table::ratio;
use super::units::Scale;

/// Rows of a table shown at most; `results.json` has all of them.
const ROWS_MAX: usize = 2000;
/// Strips of a figure shown at most: beyond, nobody compares them by eye.
const STRIPS_MAX: usize = 100;

pub fn html(report: &Report) -> String {
    let title = escape(&format!("{} · {}", report.run.workload, report.run.run_id));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>{}</style>\n</head>\n<body>\n<h1>{title}</h1>\n",
        include_str!("report.css")
    );
    for part in
        [facts(report), warnings(report), plots(report), summary(report), comparisons(report), tasks(report)]
    {
        page.push_str(&part);
    }
    page.push_str("</body>\n</html>\n");
    page
}

/// For text and for attributes in quotes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() && c != '\n' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A table that scrolls sideways on a narrow screen. Cells are HTML already.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut text = String::from("<div class=\"wide\" tabindex=\"0\"><table><thead><tr>");
    head.iter().for_each(|cell| text.push_str(&format!("<th scope=\"col\">{cell}</th>")));
    text.push_str("</tr></thead><tbody>\n");
    let left_out = rows.len().saturating_sub(ROWS_MAX);
    for row in rows.into_iter().take(ROWS_MAX) {
        let cells: String = row.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        let _ = writeln!(text, "<tr>{cells}</tr>");
    }
    text.push_str("</tbody></table></div>\n");
    if left_out > 0 {
        let _ = writeln!(text, "<p>{left_out} more rows are in results.json.</p>");
    }
    text
}

fn facts(report: &Report) -> String {
    let run = &report.run;
    let status = serde_json::to_value(run.status).ok();
    let status = status.as_ref().and_then(|status| status.as_str()).unwrap_or_default();
    let finished = run.finished_at.map_or("not finished".to_owned(), |at| at.to_string());
    let pairs = [
        ("status", status.to_owned()),
        ("started", run.started_at.to_string()),
        ("finished", finished),
        ("order seed", run.seed.to_string()),
        ("config SHA-256", run.config_sha256.clone()),
        ("bench", run.bench_version.clone()),
    ];
    let list: String =
        pairs.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escape(value))).collect();
    let head = ["alias", "provider", "instance type", "architecture", "vCPU", "instances", "tasks", "USD/h"];
    format!("<dl>{list}</dl>\n{}", table(&head, run.plan.iter().map(plan_cells).collect()))
}

fn plan_cells(row: &PlanFact) -> Vec<String> {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    vec![
        escape(row.alias.as_str()),
        escape(&row.provider),
        escape(&row.instance_type),
        escape(&or_dash(row.architecture.clone())),
        or_dash(row.vcpu.map(|vcpu| vcpu.to_string())),
        or_dash(row.instances.map(|instances| instances.to_string())),
        row.tasks.to_string(),
        or_dash(row.price_usd_per_h.map(|price| price.to_string())),
    ]
}

fn warnings(report: &Report) -> String {
    if report.warnings.is_empty() {
        return "<h2>Warnings</h2><p>None: nothing seen on the machines speaks against these figures.</p>\n"
            .to_owned();
    }
    let mut text = String::from("<h2>Warnings</h2>\n<ul class=\"warnings\">\n");
    for warning in report.warnings.iter().take(ROWS_MAX) {
        let benchmark =
            warning.benchmark.as_ref().map_or(String::new(), |name| format!(", {}", escape(name)));
        let (alias, message) = (escape(warning.alias.as_str()), escape(&warning.message));
        let _ = writeln!(text, "<li><b>{alias}{benchmark}</b>: {message}</li>");
    }
    if let Some(left_out) = report.warnings.len().checked_sub(ROWS_MAX).filter(|count| *count > 0) {
        let _ = writeln!(text, "<li>{left_out} more are in results.json.</li>");
    }
    text + "</ul>\n"
}

/// A figure per benchmark.
fn plots(report: &Report) -> String {
    let same = |a: &Summary, b: &Summary| a.benchmark == b.benchmark && a.unit == b.unit;
    let rows: Vec<&[Summary]> = report.summary.chunk_by(same).collect();
    let strips = rows.iter().map(|rows| rows.len().min(STRIPS_MAX)).sum();
    let dots_max = plot::dots_a_strip(strips);
    let figures: String = rows.into_iter().map(|rows| figure(report, rows, dots_max)).collect();
    format!(
        "<h2>Samples</h2>\n<p>Dots are samples, a line of dots a task; upright lines are the tasks' medians; the bar \
         below is the 95 % confidence interval of their mean.</p>\n{figures}"
    )
}

fn figure(report: &Report, rows: &[Summary], dots_max: usize) -> String {
    let (rows, hidden) = rows.split_at(rows.len().min(STRIPS_MAX));
    let series: Vec<Vec<&[f64]>> = rows.iter().map(|row| plot::samples_of(row, &report.tasks)).collect();
    let intervals = rows.iter().filter_map(|row| row.ci95).flat_map(|interval| [interval.low, interval.high]);
    let samples = series.iter().flatten().flat_map(|samples| samples.iter().copied());
    let Some(axis) = Axis::of(samples.chain(intervals)) else { return String::new() };
    let scale = Scale::of(rows[0].median.unwrap_or(axis.high), &rows[0].unit);
    let mut text = format!("<figure>\n<figcaption>{}</figcaption>\n", escape(&rows[0].benchmark));
    for (row, series) in rows.iter().zip(&series) {
        let (svg, step) = plot::strip(row, series, axis, dots_max);
        let thinned = if step > 1 { format!(" · every {step}th sample drawn") } else { String::new() };
        let (alias, median) = (escape(row.alias.as_str()), middle(row, &scale));
        let _ = writeln!(text, "<div class=\"strip\"><p><b>{alias}</b> {median}{thinned}</p>{svg}</div>");
    }
    let (low, high) = (escape(&scale.with_unit(axis.low)), escape(&scale.with_unit(axis.high)));
    let _ = writeln!(text, "<p class=\"axis\"><span>{low}</span><span>{high}</span></p>");
    if !hidden.is_empty() {
        let _ = writeln!(text, "<p>{} more are in the summary.</p>", hidden.len());
    }
    text + "</figure>\n"
}

fn middle(row: &Summary, scale: &Scale) -> String {
    escape(&row.median.map_or("–".to_owned(), |median| scale.with_unit(median)))
}

fn interval(interval: Option<Interval>, shown: impl Fn(f64) -> String) -> String {
    interval.map_or("–".to_owned(), |i| format!("{} to {}", escape(&shown(i.low)), escape(&shown(i.high))))
}

fn summary(report: &Report) -> String {
    let head = [
        "benchmark",
        "alias",
        "tasks",
        "samples",
        "median",
        "mean",
        "95 % CI of the mean",
        "SD",
        "CV",
        "CV in a task",
        "warnings",
    ];
    let rows = report.summary.iter().map(|row| {
        let scale = Scale::of(row.median.unwrap_or(0.0), &row.unit);
        let shown = |value: Option<f64>| escape(&value.map_or("–".to_owned(), |v| scale.with_unit(v)));
        let percent = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.2} %"));
        vec![
            escape(&row.benchmark),
            escape(row.alias.as_str()),
            row.tasks.to_string(),
            row.samples.to_string(),
            shown(row.median),
            shown(row.mean),
            interval(row.ci95, |value| scale.with_unit(value)),
            shown(row.sd),
            percent(row.cv_percent),
            percent(row.within_cv_percent),
            row.warnings.len().to_string(),
        ]
    });
    format!(
        "<h2>Summary</h2>\n<p>Between tasks: each task counts once, with the median of its samples.</p>\n{}",
        table(&head, rows.collect())
    )
}

fn comparisons(report: &Report) -> String {
    if report.comparisons.is_empty() {
        return String::new();
    }
    let rows = report.comparisons.iter().map(|comparison| {
        vec![
            escape(&comparison.benchmark),
            escape(comparison.alias.as_str()),
            escape(comparison.baseline.as_str()),
            ratio(comparison.ratio),
            interval(comparison.ci95, ratio),
            comparison.verdict.word().to_owned(),
        ]
    });
    let head = ["benchmark", "alias", "against", "ratio", "95 % CI", "verdict"];
    format!("<h2>Comparisons</h2>\n{}", table(&head, rows.collect()))
}

fn tasks(report: &Report) -> String {
    let rows = report.tasks.iter().map(|task| {
        let metadata = task.metadata.as_ref();
        let of_machine = |read: fn(&crate::api::TaskMetadata) -> Option<String>| {
            escape(&metadata.and_then(read).unwrap_or_else(|| "–".to_owned()))
        };
        let reason = [task.reason.as_deref(), task.error_message.as_deref()];
        vec![
            escape(task.alias.as_str()),
            task.number.to_string(),
            super::warnings::state_word(task.state).to_owned(),
            task.attempts.to_string(),
            escape(&reason.into_iter().flatten().collect::<Vec<_>>().join(": ")),
            of_machine(|m| Some(m.host.clone())),
            of_machine(|m| m.machine.cpu_model.clone()),
            of_machine(|m| m.pinning.cpu.map(|cpu| cpu.to_string())),
            of_machine(|m| m.conditions.noise.steal_percent.map(|steal| format!("{steal:.2} %"))),
        ]
    });
    let head = ["alias", "task", "state", "attempts", "reason", "host", "CPU model", "CPU", "steal"];
    format!("<h2>Tasks</h2>\n{}", table(&head, rows.collect()))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_whole_page() {
        insta::assert_snapshot!(html(&sample::report()));
    }

    #[test]
    fn text_of_strangers_cannot_become_markup() {
        let name = "</figcaption><script>alert(1)</script>\" onload='x";
        let mut task = sample::task_with("a", 1, vec![sample::series(name, "<i>", &[1.0, 2.0])]);
        task.instance_type = "<img src=x>".to_owned();
        task.metadata.as_mut().unwrap().host = "<b>host".to_owned();
        let mut facts = sample::facts(&["a"]);
        facts.workload = "<u>".to_owned();
        facts.plan[0].instance_type = "<img src=x>".to_owned();
        let page = html(&Report::new(facts, vec![task, sample::failed("a", 2, "<s>")]));
        for markup in ["<script", "<img", "<i>", "<b>host", "<u>", "<s>", "\" onload"] {
            assert!(!page.contains(markup), "{markup} got through");
        }
        assert!(page.contains("&lt;script&gt;alert(1)"));
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        let page = html(&sample::report());
        for outside in ["http://", "https://", "src=", "@import", "url(", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn an_empty_run_is_a_page_too() {
        let page = html(&Report::new(sample::facts(&[]), vec![]));
        assert!(page.contains("<h2>Tasks</h2>") && page.ends_with("</html>\n"));
    }
}
