//! Medians, ratios and the lines that say whether Weir is where it should be.

use std::fmt::Write;
use std::path::Path;

use crate::arms::{ALL, Arm};
use crate::error::{BenchError, Result};
use crate::rounds::{Sample, Samples};

/// What an arm's rounds come to.
struct Row {
    arm: Arm,
    cpu: Spread,
    p50_micros: f64,
    p99_micros: f64,
    rate: f64,
    proxy_busy: f64,
    /// Difference to the plain arm of the same proxy, taken round by round.
    adds: Option<Spread>,
}

/// Median, and the smallest and the largest of all rounds.
#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

/// What is said about the run besides its figures.
#[derive(Debug, Default)]
pub struct Circumstances {
    /// One line for each fact: machine, kernel, versions, extent.
    pub facts: Vec<String>,
    /// Arms that could not be measured, with the reason.
    pub missing: Vec<(Arm, String)>,
}

/// The whole report in Markdown.
pub fn render(samples: &Samples, circumstances: &Circumstances) -> String {
    let rows = rows(samples);
    let mut text = String::new();
    for fact in &circumstances.facts {
        line(&mut text, format_args!("- {fact}"));
    }
    line(&mut text, format_args!(""));
    table(&mut text, &rows, circumstances);
    line(&mut text, format_args!(""));
    for verdict in verdicts(&rows) {
        line(&mut text, format_args!("- {verdict}"));
    }
    for fault in &samples.faults {
        line(&mut text, format_args!("- not counted: {fault}"));
    }
    text
}

/// Puts `report` between the two marker lines of a file.
pub fn write_between(path: &Path, name: &str, report: &str) -> Result<()> {
    let (begin, end) = (format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->"));
    let text = std::fs::read_to_string(path).map_err(BenchError::io(format!("reading {}", path.display())))?;
    let missing = |marker: &str| BenchError::NoMarker { path: path.to_owned(), marker: marker.to_owned() };
    let (before, rest) = text.split_once(&begin).ok_or_else(|| missing(&begin))?;
    let (_, after) = rest.split_once(&end).ok_or_else(|| missing(&end))?;
    let filled = format!("{before}{begin}\n\n{}\n\n{end}{after}", report.trim());
    std::fs::write(path, filled).map_err(BenchError::io(format!("writing {}", path.display())))
}

fn table(text: &mut String, rows: &[Row], circumstances: &Circumstances) {
    let reference = median_of(rows, Arm::Nginx);
    let nginx_adds = rows.iter().find(|row| row.arm == Arm::NginxLua).and_then(|row| row.adds);
    line(text, format_args!("| {} |", COLUMNS.join(" | ")));
    line(text, format_args!("|---{}|", "|--:".repeat(COLUMNS.len() - 1)));
    for arm in ALL {
        if let Some(row) = rows.iter().find(|row| row.arm == arm) {
            line(text, format_args!("| {} |", cells(row, reference, nginx_adds).join(" | ")));
        } else if let Some((_, reason)) = circumstances.missing.iter().find(|(missing, _)| *missing == arm) {
            // A reason may be many lines of a tool's output; the table has room for the first.
            let reason = reason.lines().next().unwrap_or_default().replace('|', "/");
            line(text, format_args!("| {} | not measured: {reason} {}", arm.title(), "|".repeat(COLUMNS.len() - 1)));
        }
    }
}

const COLUMNS: [&str; 10] = [
    "arm",
    "CPU-us a request",
    "least–most",
    "to nginx plain",
    "chain adds",
    "to nginx + Lua's",
    "p50 us",
    "p99 us",
    "requests/s",
    "proxy busy",
];

fn cells(row: &Row, nginx: Option<f64>, nginx_adds: Option<Spread>) -> Vec<String> {
    let ratio = |value: f64, to: Option<f64>| to.map_or_else(dash, |to| format!("{:.2}", value / to));
    vec![
        row.arm.title().to_owned(),
        format!("{:.1}", row.cpu.median),
        format!("{:.1}–{:.1}", row.cpu.least, row.cpu.most),
        ratio(row.cpu.median, nginx),
        row.adds.map_or_else(dash, |adds| format!("{:.1} ({:.1}–{:.1})", adds.median, adds.least, adds.most)),
        row.adds.map_or_else(dash, |adds| ratio(adds.median, nginx_adds.map(|adds| adds.median))),
        format!("{:.0}", row.p50_micros),
        format!("{:.0}", row.p99_micros),
        format!("{:.0}", row.rate),
        format!("{:.0} %", row.proxy_busy * 100.0),
    ]
}

/// The lines of the target, each PASS, MISS or why it cannot be said.
fn verdicts(rows: &[Row]) -> Vec<String> {
    let adds = |arm| rows.iter().find(|row| row.arm == arm).and_then(|row| row.adds).map(|adds| adds.median);
    let total = |arm| median_of(rows, arm);
    let better_plain = match (total(Arm::Nginx), total(Arm::Haproxy)) {
        (Some(nginx), Some(haproxy)) => Some(nginx.min(haproxy)),
        _ => None,
    };
    vec![
        verdict(
            "the chain adds less than half of what nginx + Lua adds",
            adds(Arm::WeirChain),
            adds(Arm::NginxLua).map(|a| a / 2.0),
        ),
        verdict("aim: the chain adds less than HAProxy's own parts in C", adds(Arm::WeirChain), adds(Arm::HaproxyChain)),
        verdict(
            "Weir with the chain costs less than half of Envoy + wasm",
            total(Arm::WeirChain),
            total(Arm::EnvoyWasm).map(|t| t / 2.0),
        ),
        verdict("plain: at or under the better of nginx and HAProxy", total(Arm::Weir), better_plain),
    ]
}

fn verdict(claim: &str, ours: Option<f64>, bound: Option<f64>) -> String {
    let (Some(ours), Some(bound)) = (ours, bound) else { return format!("NOT MEASURED {claim}") };
    let word = if ours <= bound { "PASS" } else { "MISS" };
    format!("{word} {claim}: {ours:.1} us, bound {bound:.1} us ({:+.0} %)", (ours / bound - 1.0) * 100.0)
}

fn rows(samples: &Samples) -> Vec<Row> {
    let of = |arm: Arm| samples.by_arm.get(&arm).map(Vec::as_slice).unwrap_or_default();
    let row = |arm: Arm| {
        let good: Vec<Sample> = of(arm).iter().flatten().copied().collect();
        let pick = |value: fn(&Sample) -> f64| spread(good.iter().map(value).collect());
        let differences = arm.plain().map(|plain| {
            let pairs = of(arm)
                .iter()
                .zip(of(plain))
                .filter_map(|(chain, plain)| Some(chain.as_ref()?.cpu_micros - plain.as_ref()?.cpu_micros));
            pairs.collect()
        });
        Some(Row {
            arm,
            cpu: pick(|s| s.cpu_micros)?,
            p50_micros: pick(|s| s.p50.as_secs_f64() * 1e6)?.median,
            p99_micros: pick(|s| s.p99.as_secs_f64() * 1e6)?.median,
            rate: pick(|s| s.rate)?.median,
            proxy_busy: pick(|s| s.proxy_busy)?.median,
            adds: differences.and_then(spread),
        })
    };
    ALL.into_iter().filter_map(row).collect()
}

fn median_of(rows: &[Row], arm: Arm) -> Option<f64> {
    rows.iter().find(|row| row.arm == arm).map(|row| row.cpu.median)
}

fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let (least, most) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let median = if values.len() % 2 == 1 { upper } else { (upper + values.get(middle - 1)?) / 2.0 };
    Some(Spread { median, least, most })
}

fn dash() -> String {
    "–".to_owned()
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sample(cpu_micros: f64) -> Option<Sample> {
        Some(Sample {
            cpu_micros,
            p50: Duration::from_micros(300),
            p99: Duration::from_micros(900),
            rate: 40_000.0,
            proxy_busy: 1.0,
        })
    }

    #[test]
    fn what_a_chain_adds_is_taken_round_by_round() {
        let mut samples = Samples::default();
        // The second round ran on a slower machine: the difference is still 5.
        samples.by_arm.insert(Arm::Nginx, vec![sample(20.0), sample(30.0), None]);
        samples.by_arm.insert(Arm::NginxLua, vec![sample(25.0), sample(35.0), sample(99.0)]);
        let rows = rows(&samples);
        let lua = rows.iter().find(|row| row.arm == Arm::NginxLua).and_then(|row| row.adds).expect("both rounds are whole");
        assert_eq!((lua.median, lua.least, lua.most), (5.0, 5.0, 5.0));
    }

    #[test]
    fn a_losing_row_is_a_miss_and_an_absent_one_says_so() {
        assert!(verdict("x", Some(3.0), Some(2.0)).starts_with("MISS x: 3.0 us, bound 2.0 us (+50 %)"));
        assert!(verdict("x", Some(1.0), Some(2.0)).starts_with("PASS"));
        assert!(verdict("x", None, Some(2.0)).starts_with("NOT MEASURED"));
    }

    #[test]
    fn a_missing_arm_keeps_its_row() {
        let circumstances =
            Circumstances { missing: vec![(Arm::Envoy, "no wheel\nfor this machine".to_owned())], ..Default::default() };
        let text = render(&Samples::default(), &circumstances);
        assert!(text.contains("| Envoy, plain | not measured: no wheel |"), "{text}");
    }

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n").expect("writable");
        write_between(file.path(), "x", "new\n").expect("the markers are there");
        write_between(file.path(), "x", "newer\n").expect("and stay");
        let text = std::fs::read_to_string(file.path()).expect("readable");
        assert_eq!(text, "a\n<!-- x: begin -->\n\nnewer\n\n<!-- x: end -->\nb\n");
        assert!(write_between(file.path(), "y", "new").is_err());
    }
}
