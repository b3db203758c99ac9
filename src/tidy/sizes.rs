//! How long files and functions may be: both, since each limit alone leaves a way out.

use super::Violation;
use super::source::{Source, after_bracket, is_word};

/// Most lines of a file, its tests apart.
const FILE_LINES_MAX: usize = 500;

/// Most lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Holds a file to its limit.
#[must_use]
pub fn file(source: &Source) -> Vec<Violation> {
    if source.lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![Violation {
        path: source.path.clone(),
        line: FILE_LINES_MAX,
        text: format!("{} lines without tests; at most {FILE_LINES_MAX}", source.lines),
    }]
}

/// Holds each function of a file to its limit.
#[must_use]
pub fn functions(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for at in source.words("fn") {
        let Some((name, end)) = function(&source.code, at) else {
            continue;
        };
        let (first, last) = (source.line(at), source.line(end - 1));
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX {
            violations.push(Violation {
                path: source.path.clone(),
                line: first,
                text: format!("`{name}` has {lines} lines; at most {FUNCTION_LINES_MAX}"),
            });
        }
    }
    violations
}

/// The name of the function whose `fn` is here, and the end of its body; `None` for function types and functions without a body.
fn function(code: &str, at: usize) -> Option<(&str, usize)> {
    let bytes = code.as_bytes();
    let rest = code[at + 2..].trim_start();
    let start = code.len() - rest.len();
    let length = rest.bytes().take_while(|b| is_word(*b)).count();
    if length == 0 {
        return None;
    }
    let mut i = start + length;
    while i < bytes.len() {
        match bytes[i] {
            b'(' | b'[' => i = after_bracket(bytes, i),
            b'{' => return Some((&code[start..start + length], after_bracket(bytes, i))),
            b';' => return None,
            _ => i += 1,
        }
    }
    None
}

#[test]
fn a_planted_giant_is_found() {
    let body = "    x();\n".repeat(69);
    let giant = format!(
        "struct S {{\n    f: fn(u8) -> u8,\n}}\nfn small() {{}}\nfn giant(a: [u8; 3])\nwhere T: X,\n{{\n{body}}}\n"
    );
    let found = functions(&Source::read("src/a.rs", &giant));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].line, found[0].text.as_str()), (5, "`giant` has 73 lines; at most 70"));
    let fits = format!("fn fits() {{\n{}}}\n", "    x();\n".repeat(68));
    assert_eq!(functions(&Source::read("src/a.rs", &fits)), []);
    let test = format!("#[cfg(test)]\nmod tests {{\n{giant}\n}}");
    assert_eq!(functions(&Source::read("src/a.rs", &test)), []);
}

#[test]
fn a_planted_long_file_is_found() {
    let lines = |count: usize| "// x\n".repeat(count);
    assert_eq!(file(&Source::read("src/a.rs", &lines(500))), []);
    assert_eq!(file(&Source::read("src/a.rs", &lines(501))).len(), 1);
    let tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", lines(500), lines(500));
    assert_eq!(file(&Source::read("src/a.rs", &tests)), []);
    assert_eq!(file(&Source::read("src/a/tests.rs", &lines(900))), []);
}
