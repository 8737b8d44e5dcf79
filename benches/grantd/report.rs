//! The report, printed and written to a file: each figure with its ceiling and its target.

use std::{fs, path::Path, time::Duration};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::{Outcome, plan::Plan};

/// A figure, with its target.
#[derive(Serialize)]
pub(crate) struct Figure {
    engine: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
    /// The value to compare with.
    ceiling: Option<f64>,
    ceiling_is: Option<&'static str>,
    ratio: Option<f64>,
    target: Option<String>,
    met: Option<bool>,
}

impl Figure {
    pub(crate) fn new(engine: &'static str, what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let what = what.into();
        Self { engine, what, value, unit, ceiling: None, ceiling_is: None, ratio: None, target: None, met: None }
    }

    /// Sets a value of the same unit to compare with.
    pub(crate) fn beside(mut self, what: &'static str, ceiling: f64) -> Self {
        self.ceiling = Some(ceiling);
        self.ceiling_is = Some(what);
        self.ratio = Some(self.value / ceiling);
        self
    }

    pub(crate) fn ratio_at_least(mut self, ratio: f64) -> Self {
        self.target = Some(format!("≥ {:.0} %", ratio * 100.0));
        self.met = self.ratio.map(|found| found >= ratio);
        self
    }

    pub(crate) fn at_most(mut self, most: f64) -> Self {
        self.target = Some(format!("≤ {}", quantity(most, self.unit)));
        self.met = Some(self.value <= most);
        self
    }

    pub(crate) fn at_least(mut self, least: f64) -> Self {
        self.target = Some(format!("≥ {}", quantity(least, self.unit)));
        self.met = Some(self.value >= least);
        self
    }

    pub(crate) fn above(mut self, least: f64) -> Self {
        self.target = Some(format!("> {}", quantity(least, self.unit)));
        self.met = Some(self.value > least);
        self
    }
}

/// All figures of a run.
#[derive(Serialize)]
pub(crate) struct Report {
    cores: usize,
    processor: Option<String>,
    /// Whether the run was too short to compare it with others.
    quick: bool,
    notes: Vec<String>,
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self { cores: plan.threads, processor: processor(), quick: plan.quick, notes: Vec::new(), figures: Vec::new() }
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Prints the table and writes the JSON.
    pub(crate) fn finish(&self) -> Outcome<()> {
        println!("\n{}\n", self.table());
        self.notes.iter().for_each(|note| println!("{note}"));
        let missed = self.figures.iter().filter(|figure| figure.met == Some(false)).count();
        println!("Targets missed: {missed}");
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results/latest.json"));
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")?;
        println!("Written to {}", path.display());
        Ok(())
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["on", "what", "figure", "ceiling", "ratio", "target", "met"]);
        for column in [2, 4] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.add_rows(self.figures.iter().map(row));
        table
    }
}

fn row(figure: &Figure) -> [String; 7] {
    let ceiling = figure.ceiling.zip(figure.ceiling_is);
    [
        figure.engine.to_owned(),
        figure.what.clone(),
        quantity(figure.value, figure.unit),
        ceiling.map(|(value, what)| format!("{} {what}", quantity(value, figure.unit))).unwrap_or_default(),
        figure.ratio.map(|ratio| format!("{:.0} %", ratio * 100.0)).unwrap_or_default(),
        figure.target.clone().unwrap_or_default(),
        figure.met.map_or("", |met| if met { "yes" } else { "NO" }).to_owned(),
    ]
}

/// Formats a value with three significant digits.
fn quantity(value: f64, unit: &str) -> String {
    let decimals = match value {
        v if v == 0.0 || v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {unit}")
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

pub(crate) fn milliseconds(durations: &[Duration]) -> Vec<f64> {
    durations.iter().map(|duration| duration.as_secs_f64() * 1000.0).collect()
}

/// Returns the smallest value that `percent` of the values do not exceed.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = (values.len() * percent).div_ceil(100).max(1) - 1;
    values.get(at).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}
