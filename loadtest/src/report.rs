//! `report`: results as one HTML page that needs nothing else, neither scripts nor fonts nor a network.
//!
//! Owns the choice of what is drawn together. It must never compute a figure: what a result does not say, the page does not.

mod page;
mod plots;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::result::RunResult;

/// Options of `report`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Results that the scenarios have written with --json; they appear in this order.
    #[arg(required = true, value_name = "RESULT.json")]
    results: Vec<PathBuf>,
    /// File that gets the page.
    #[arg(long, short, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
}

/// Writes the page.
///
/// # Errors
/// A file that cannot be read, is no result, or cannot be written.
pub fn run(options: &Options) -> Result<(), String> {
    let results = options.results.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let output = &options.output;
    fs::write(output, html(&results)).map_err(|error| format!("{}: {error}", output.display()))
}

/// The page.
pub fn html(results: &[RunResult]) -> String {
    page::page(results).into_string()
}

/// Reads a result.
///
/// # Errors
/// The file cannot be read, or is no result.
pub fn read(path: &Path) -> Result<RunResult, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    RunResult::from_json(&text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
