//! Figures as a table in plain text: names to the left, figures to the right.

use std::io::Write;

/// Prints `rows` under `head`. A reader that has gone away is no concern of a measurement.
pub fn print(head: &[&str], rows: &[Vec<String>]) {
    let _ = std::io::stdout().write_all(text(head, rows).as_bytes());
}

/// The table as text.
pub fn text(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut out = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            let cell = match column {
                0 => format!("{cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            };
            out.push_str(&cell);
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".to_owned(), "10.25".to_owned()]];
        assert_eq!(text(&["name", "µs"], &rows), "name     µs\na     10.25\n");
    }
}
