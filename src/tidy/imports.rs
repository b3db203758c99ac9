//! Which paths a source file names: its `use` trees, leaf by leaf, and qualified paths in the code.

use super::source::{Source, is_word};

/// A path that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The line, from 1.
    pub line: usize,
    /// Its segments as they are typed, `crate`, `self` and `super` among them; a glob ends in `*`.
    pub path: Vec<String>,
    /// The name that it is bound to here, where it is an import.
    pub bound: Option<String>,
}

/// Every path of a file outside of its tests.
#[must_use]
pub fn named(source: &Source) -> Vec<Named> {
    let mut named = Vec::new();
    let mut used = Vec::new();
    for at in source.words("use") {
        // `impl Trait + use<'a>` is the other place where the word can stand.
        let rest = &source.code[at + 3..];
        if rest.trim_start().starts_with('<') {
            continue;
        }
        let length = rest.find(';').unwrap_or(rest.len());
        used.push(at..at + 3 + length);
        let mut tree = Tree { text: &rest[..length], line: source.line(at), named: &mut named };
        tree.walk();
    }
    qualified(source, &used, &mut named);
    named
}

/// Paths of two segments or more outside of `use`.
fn qualified(source: &Source, used: &[std::ops::Range<usize>], named: &mut Vec<Named>) {
    let bytes = source.code.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !is_word(bytes[at]) {
            at += 1;
            continue;
        }
        let (path, end) = path_at(&source.code, at);
        let continues = source.code[..at].trim_end().ends_with("::");
        let in_use = used.iter().any(|range| range.contains(&at));
        if path.len() > 1 && !continues && !in_use {
            let line = source.line(at);
            named.push(Named { line, path, bound: None });
        }
        at = end;
    }
}

/// The path that begins at a word, and the index after it. Spaces and line breaks around `::` are allowed.
fn path_at(code: &str, start: usize) -> (Vec<String>, usize) {
    let bytes = code.as_bytes();
    let mut path = Vec::new();
    let mut at = start;
    loop {
        let word = bytes[at..].iter().take_while(|b| is_word(**b)).count();
        path.push(code[at..at + word].to_owned());
        at += word;
        let rest = code[at..].trim_start();
        let Some(after) = rest.strip_prefix("::") else {
            return (path, at);
        };
        let after = after.trim_start();
        if !after.bytes().next().is_some_and(is_word) {
            return (path, at);
        }
        at = code.len() - after.len();
    }
}

/// A `use` tree while it is walked.
struct Tree<'a> {
    text: &'a str,
    line: usize,
    named: &'a mut Vec<Named>,
}

impl Tree<'_> {
    fn walk(&mut self) {
        let text = self.text;
        self.branch(text.trim().trim_start_matches("::"), &[]);
    }

    /// One tree: a path, and after it nothing, `as name`, `*` or a list of trees in braces.
    fn branch(&mut self, tree: &str, parents: &[String]) {
        let tree = tree.trim();
        if let Some(open) = tree.find('{') {
            let mut path = parents.to_vec();
            path.extend(segments(&tree[..open]));
            let close = tree.rfind('}').unwrap_or(tree.len());
            for part in split_list(&tree[open + 1..close]) {
                self.branch(part, &path);
            }
            return;
        }
        let (typed, alias) = match tree.split_once(" as ") {
            Some((typed, alias)) => (typed, Some(alias.trim().to_owned())),
            None => (tree, None),
        };
        let mut path = parents.to_vec();
        path.extend(segments(typed));
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let bound = alias.or_else(|| path.last().cloned());
        if !path.is_empty() {
            let line = self.line;
            self.named.push(Named { line, path, bound });
        }
    }
}

fn segments(path: &str) -> impl Iterator<Item = String> {
    let segments = path.split("::").map(str::trim);
    segments.filter(|segment| !segment.is_empty()).map(str::to_owned)
}

/// Splits at the commas that stand in no inner braces.
fn split_list(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[test]
fn trees_are_walked_to_their_leaves() {
    let cases: [(&str, &[&str]); 9] = [
        ("use a::b;", &["a::b"]),
        ("pub(crate) use a;", &["a"]),
        ("use a::{self, b, c::{d, e as f}};", &["a", "a::b", "a::c::d", "a::c::e"]),
        ("use a::{\n    b,\n    // c,\n    d::*,\n};", &["a::b", "a::d::*"]),
        ("use ::a::b as _;", &["a::b"]),
        ("use {a::b, super::c};", &["a::b", "super::c"]),
        ("// use a::b;\nlet s = \"use c::d;\";", &[]),
        ("fn f() { use a::b; c::d() }", &["a::b", "c::d"]),
        ("fn f<'a>() -> impl X + use<'a> { a::b }", &["a::b"]),
    ];
    for (text, expected) in cases {
        let found = named(&Source::read("src/a.rs", text));
        let found: Vec<String> = found.iter().map(|named| named.path.join("::")).collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn qualified_paths_are_whole_and_know_their_line() {
    let text = "fn f() {\n    x.y(crate::a\n        ::b::C::new(), <u8 as d::E>::g, Vec::<h::I>::new())\n}";
    let found = named(&Source::read("src/a.rs", text));
    let found: Vec<_> = found.iter().map(|n| (n.line, n.path.join("::"))).collect();
    let expected = [(2, "crate::a::b::C::new"), (3, "d::E"), (3, "h::I")];
    assert_eq!(found, expected.map(|(line, path)| (line, path.to_owned())));
}

#[test]
fn imports_know_the_name_that_they_bind() {
    let found = named(&Source::read("src/a.rs", "use a::{self, b as c, d};"));
    let bound: Vec<_> = found.iter().filter_map(|n| n.bound.as_deref()).collect();
    assert_eq!(bound, ["a", "c", "d"]);
}
