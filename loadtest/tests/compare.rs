//! `report` and `compare` as a script uses them: files, standard output, the status at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use holdfast_loadtest::result::Draft;

/// A directory that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("holdfast-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    /// A result with one figure, lower being better.
    fn result(&self, name: &str, micros: f64) -> PathBuf {
        let mut draft = Draft::begin("call");
        draft.figure("server CPU for a call", "µs", micros).lower().must(28.0);
        let path = self.0.join(name);
        std::fs::write(&path, serde_json::to_string(&draft.finish()).expect("plain values")).expect("a file");
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(words: &[&str], files: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-loadtest"));
    command.args(words).args(files).output().expect("the harness")
}

#[test]
fn compare_ends_with_one_when_a_figure_is_too_much_worse() {
    let place = Place::new("compare");
    let (before, after) = (place.result("a.json", 10.0), place.result("b.json", 14.0));
    for (words, files, status, marked) in [
        (&["compare"][..], [&before, &after], 0, "WORSE"),
        (&["compare", "--fail-above", "1.5"], [&before, &after], 0, "WORSE"),
        (&["compare", "--fail-above", "1.2"], [&before, &after], 1, "WORSE"),
        (&["compare", "--fail-above", "1.2"], [&after, &before], 0, "better"),
        (&["compare", "--threshold", "1.5", "--fail-above", "1.5"], [&before, &after], 0, "1.40"),
        (&["compare", "--json", "-"], [&before, &after], 0, "\"worse_by\":1.4"),
    ] {
        let output = run(words, &[files[0], files[1]]);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "{words:?}: {out}{err}");
        assert!(out.contains(marked), "{words:?}: {out}");
        assert_eq!(err.contains("is more than"), status == 1, "{words:?}: {err}");
    }
}

#[test]
fn report_writes_the_page_and_names_a_file_that_is_no_result() {
    let place = Place::new("report");
    let (result, page, other) = (place.result("a.json", 30.0), place.0.join("page.html"), place.0.join("other.json"));
    let output = run(&["report", "-o"], &[&page, &result]);
    assert!(output.status.success(), "{output:?}");
    assert!(std::fs::read_to_string(&page).expect("the page").contains("must be ≤ 28 µs"));
    std::fs::write(&other, "{}").expect("a file");
    let output = run(&["report", "-o"], &[&page, &other]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("other.json: not a result"));
}
