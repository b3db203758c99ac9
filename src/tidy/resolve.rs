//! Which file a path means: the tree of modules, and what each file imports of the others.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Named, named};
use super::source::Source;

/// A module's place: the names from the crate's root down.
pub type Module = Vec<String>;

/// One file that needs another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The file that imports.
    pub path: String,
    /// The line of the import.
    pub line: usize,
    /// The module that imports.
    pub from: Module,
    /// The module that is imported, re-exports followed to where they lead.
    pub to: Module,
}

/// The module that a file under `src/` is; the program's root counts as the library's.
#[must_use]
pub fn module_of(path: &str) -> Module {
    let path = path.strip_prefix("src/").unwrap_or(path);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut module: Module = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    if module == ["lib"] {
        module.pop();
    }
    module
}

/// Every import of one file by another.
#[must_use]
pub fn edges(sources: &[Source]) -> Vec<Edge> {
    let tree = Tree::read(sources);
    let mut edges = Vec::new();
    for source in sources {
        let from = module_of(&source.path);
        for name in named(source) {
            let Some(absolute) = tree.absolute(&from, &name.path) else {
                continue;
            };
            let to = tree.follow(absolute);
            if to != from {
                edges.push(Edge { path: source.path.clone(), line: name.line, from: from.clone(), to });
            }
        }
    }
    edges
}

/// The modules of a crate.
struct Tree {
    modules: BTreeSet<Module>,
    /// Module → name → the absolute path that an import binds it to.
    bound: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
}

/// Re-exports of re-exports that are followed.
const REEXPORTS_MAX: usize = 8;

impl Tree {
    fn read(sources: &[Source]) -> Self {
        let modules = sources.iter().map(|source| module_of(&source.path)).collect();
        let mut tree = Self { modules, bound: BTreeMap::new() };
        for source in sources {
            let from = module_of(&source.path);
            let imports: Vec<Named> = named(source);
            let bound = imports.into_iter().filter_map(|import| {
                let path = tree.absolute(&from, &import.path)?;
                Some((import.bound?, path))
            });
            let bound: BTreeMap<_, _> = bound.collect();
            tree.bound.insert(from, bound);
        }
        tree
    }

    /// A path from the crate's root; `None` when it leads out of the crate.
    fn absolute(&self, from: &Module, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let mut base = match first.as_str() {
            "crate" | "holdfast" => Vec::new(),
            "self" => from.clone(),
            "super" => {
                let mut parent = from.clone();
                parent.pop()?;
                parent
            }
            name => {
                let mut child = from.clone();
                child.push(name.to_owned());
                // Without a keyword, a path begins at a child module, or at another crate.
                if !self.modules.contains(&child) {
                    return None;
                }
                child
            }
        };
        for segment in rest {
            if segment == "super" {
                base.pop()?;
            } else {
                base.push(segment.clone());
            }
        }
        Some(base)
    }

    /// The module that a path leads to: the longest beginning that is one; a re-export found there is followed.
    fn follow(&self, mut path: Vec<String>) -> Module {
        for _ in 0..REEXPORTS_MAX {
            let module = self.longest(&path);
            let rest = &path[module.len()..];
            let target = rest.first().and_then(|name| self.bound.get(&module)?.get(name));
            match target {
                Some(target) if *target != path => {
                    path = target.iter().chain(&rest[1..]).cloned().collect();
                }
                _ => return module,
            }
        }
        self.longest(&path)
    }

    fn longest(&self, path: &[String]) -> Module {
        let lengths = (0..=path.len()).rev();
        lengths.map(|length| path[..length].to_vec()).find(|module| self.modules.contains(module)).unwrap_or_default()
    }
}

#[cfg(test)]
fn told(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<_> = files.iter().map(|(path, text)| Source::read(path, text)).collect();
    let edges = edges(&sources);
    let told = edges.iter().map(|e| format!("{} -> {}", e.from.join("::"), e.to.join("::")));
    told.collect()
}

#[test]
fn files_are_modules() {
    let cases =
        [("src/lib.rs", ""), ("src/main.rs", "main"), ("src/a.rs", "a"), ("src/a/mod.rs", "a"), ("src/a/b.rs", "a::b")];
    for (path, module) in cases {
        assert_eq!(module_of(path).join("::"), module, "{path}");
    }
}

#[test]
fn paths_lead_to_files() {
    let rest = [
        ("src/lib.rs", ""),
        ("src/a/mod.rs", "pub mod b;"),
        ("src/a/b.rs", "pub mod c;"),
        ("src/a/b/c.rs", ""),
        ("src/d.rs", "pub use crate::a::b::c::X; pub use super::a as e;"),
    ];
    let cases = [
        ("src/x.rs", "use crate::a::b::T;", "x -> a::b"),
        ("src/x.rs", "use super::a::{self, b};", "x -> a|x -> a::b"),
        ("src/x.rs", "fn f() { crate::a::b::c::g() }", "x -> a::b::c"),
        ("src/x.rs", "use crate::d::X;", "x -> a::b::c"),
        ("src/x.rs", "use crate::d::e::b::Y;", "x -> a::b"),
        ("src/x.rs", "use std::a::b; use other::X;", ""),
        ("src/a/y.rs", "use super::b::T; use self::z; use super::super::d;", "a::y -> a::b|a::y -> d"),
        ("src/main.rs", "fn main() { holdfast::a::f() }", "main -> a"),
    ];
    for (path, text, expected) in cases {
        let mut files = rest.to_vec();
        files.push((path, text));
        let from = module_of(path).join("::") + " -> ";
        let found: Vec<_> = told(&files).into_iter().filter(|e| e.starts_with(&from)).collect();
        assert_eq!(found.join("|"), expected, "{path}: {text}");
    }
    let parent = [("src/a.rs", "mod b; use b::X; fn f() { b::g() }"), ("src/a/b.rs", "")];
    assert_eq!(told(&parent), ["a -> a::b", "a -> a::b"]);
}
