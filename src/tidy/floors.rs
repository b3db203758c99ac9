//! Which way parts may look: down, never at a neighbour, never around in a circle.

use std::collections::BTreeMap;

use super::Violation;
use super::resolve::{Edge, Module, edges};
use super::source::Source;

/// The parts of the crate, each with its floor. The io wing (`net`) and the state wing share a floor, so they are strangers.
const FLOORS: [(&str, u8); 18] = [
    ("wire", 0),
    ("kit", 0),
    ("session", 1),
    ("directory", 2),
    ("calls", 2),
    ("auth", 2),
    ("audit", 2),
    ("revocations", 2),
    ("broker", 2),
    ("registry", 2),
    ("net", 2),
    ("work", 3),
    ("control", 4),
    ("cli", TOP),
    ("config", TOP),
    ("gateway", TOP),
    ("main", TOP),
    ("", TOP),
];

/// Assembly: its parts know each other, though in no circle.
const TOP: u8 = 5;

/// The client libraries stand beside the building: they may look at the ground floor alone, not at each other, and only the top
/// looks at them.
const CLIENTS: [&str; 2] = ["agent", "backend"];

/// Neighbours that know each other, each with its reason.
const ACQUAINTED: [(&str, &str, &str); 1] =
    [("wire", "kit", "an envelope carries a call's id, a refusal says when to come again: `kit` is where both are")];

/// Imports that close a circle and are still to be untied: importing file, imported file, and how. The list may only get shorter:
/// an entry that is not needed any more fails the test as well.
const OWED: [(&str, &str, &str); 0] = [];

/// Parts that are test code.
const TESTS: [&str; 2] = ["sim", "tidy"];

/// The floor of a part; `None` for parts without one.
#[must_use]
pub fn floor(part: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == part).map(|(_, floor)| *floor)
}

/// The part that a module belongs to.
#[must_use]
pub fn part(module: &Module) -> &str {
    module.first().map_or("", String::as_str)
}

/// The floor of a file, by its path; the client library has none, and neither has test code.
#[must_use]
pub fn floor_of_file(path: &str) -> Option<u8> {
    floor(part(&super::resolve::module_of(path)))
}

/// Whether a file belongs to the part of this name.
#[must_use]
pub fn in_part(path: &str, name: &str) -> bool {
    part(&super::resolve::module_of(path)) == name
}

/// Whether a file belongs to a client library.
#[must_use]
pub fn is_client(path: &str) -> bool {
    CLIENTS.iter().any(|client| in_part(path, client))
}

/// Whether a file is one of the top floor's.
#[must_use]
pub fn is_top(path: &str) -> bool {
    floor_of_file(path) == Some(TOP)
}

/// Holds that a part imports from lower floors only.
#[must_use]
pub fn imports_point_down(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for edge in edges(sources) {
        let (from, to) = (part(&edge.from), part(&edge.to));
        if from == to || TESTS.contains(&from) {
            continue;
        }
        if let Some(why) = forbidden(from, to) {
            let text = format!("`{from}` imports from `{}`: {why}", edge.to.join("::"));
            violations.push(Violation { path: edge.path, line: edge.line, text });
        }
    }
    violations
}

fn forbidden(from: &str, to: &str) -> Option<&'static str> {
    if ACQUAINTED.iter().any(|(a, b, _)| (*a, *b) == (from, to)) {
        return None;
    }
    if CLIENTS.contains(&from) {
        return (floor(to) != Some(0)).then_some("a client library uses `wire` and `kit` alone");
    }
    if CLIENTS.contains(&to) {
        return (floor(from) != Some(TOP)).then_some("only the top floor uses a client library");
    }
    match (floor(from), floor(to)) {
        (Some(TOP), Some(_)) => None,
        (Some(from), Some(to)) if to < from => None,
        (Some(from), Some(to)) if to == from => Some("neighbours on one floor are strangers"),
        (Some(_), Some(_)) => Some("imports point down"),
        _ => Some("a part needs a floor: give it one in `tidy/floors.rs`"),
    }
}

/// Holds that no import leads around in a circle: below each module, its children with all that is under them import
/// each other in one direction. (A parent and its own children may know each other.)
#[must_use]
pub fn no_cycles(sources: &[Source]) -> Vec<Violation> {
    let mut families: BTreeMap<Module, Vec<Sibling>> = BTreeMap::new();
    for edge in edges(sources) {
        if TESTS.contains(&part(&edge.from)) || is_owed(&edge) {
            continue;
        }
        if let Some((parent, sibling)) = siblings(edge) {
            families.entry(parent).or_default().push(sibling);
        }
    }
    families.values().filter_map(|siblings| cycle(siblings)).collect()
}

fn is_owed(edge: &Edge) -> bool {
    let ends = (edge.from.join("::"), edge.to.join("::"));
    OWED.iter().any(|(from, to, _)| (*from, *to) == (&ends.0, &ends.1))
}

/// Holds that what is owed is still there, so that the list shrinks with the debt.
#[must_use]
pub fn owed_is_there(sources: &[Source]) -> Vec<Violation> {
    let edges = edges(sources);
    let paid = OWED
        .iter()
        .filter(|(from, to, _)| !edges.iter().any(|edge| edge.from.join("::") == *from && edge.to.join("::") == *to));
    paid.map(|(from, to, _)| Violation {
        path: "src/tidy/floors.rs".to_owned(),
        line: 1,
        text: format!("`{from}` imports from `{to}` no more: take it off the list of what is owed"),
    })
    .collect()
}

/// An import among the children of one module.
struct Sibling {
    from: String,
    to: String,
    edge: Edge,
}

/// The module below which the two ends of an import part, and the children that they are under.
fn siblings(edge: Edge) -> Option<(Module, Sibling)> {
    let shared = edge.from.iter().zip(&edge.to).take_while(|(a, b)| a == b).count();
    let from = edge.from.get(shared)?.clone();
    let to = edge.to.get(shared)?.clone();
    Some((edge.from[..shared].to_vec(), Sibling { from, to, edge }))
}

fn cycle(siblings: &[Sibling]) -> Option<Violation> {
    let mut outgoing: BTreeMap<&str, Vec<&Sibling>> = BTreeMap::new();
    for sibling in siblings {
        outgoing.entry(&sibling.from).or_default().push(sibling);
    }
    for start in outgoing.keys() {
        let mut way = Vec::new();
        let mut seen = Vec::new();
        if leads_back(start, start, &outgoing, &mut seen, &mut way) {
            let last = way.last()?;
            let names: Vec<&str> = way.iter().map(|step| step.from.as_str()).collect();
            return Some(Violation {
                path: last.edge.path.clone(),
                line: last.edge.line,
                text: format!("a circle of imports: {} -> {start}", names.join(" -> ")),
            });
        }
    }
    None
}

fn leads_back<'a>(
    at: &'a str,
    start: &str,
    outgoing: &BTreeMap<&'a str, Vec<&'a Sibling>>,
    seen: &mut Vec<&'a str>,
    way: &mut Vec<&'a Sibling>,
) -> bool {
    for step in outgoing.get(at).into_iter().flatten() {
        way.push(step);
        if step.to == start {
            return true;
        }
        if !seen.contains(&step.to.as_str()) {
            seen.push(&step.to);
            if leads_back(&step.to, start, outgoing, seen, way) {
                return true;
            }
        }
        way.pop();
    }
    false
}

#[cfg(test)]
fn planted(files: &[(&str, &str)], rule: fn(&[Source]) -> Vec<Violation>) -> Vec<String> {
    let sources: Vec<_> = files.iter().map(|(path, text)| Source::read(path, text)).collect();
    rule(&sources).into_iter().map(|violation| violation.text).collect()
}

#[cfg(test)]
const BUILDING: [(&str, &str); 9] = [
    ("src/lib.rs", ""),
    ("src/kit/ids.rs", ""),
    ("src/wire/close.rs", ""),
    ("src/calls.rs", ""),
    ("src/auth/token.rs", ""),
    ("src/net/conn.rs", ""),
    ("src/work/pool.rs", ""),
    ("src/agent/mod.rs", ""),
    ("src/backend/mod.rs", ""),
];

#[test]
fn a_planted_import_is_found() {
    let cases = [
        ("src/wire/x.rs", "use crate::kit::ids::CallId;", ""),
        ("src/kit/x.rs", "use crate::wire::close::C;", "neighbours"),
        ("src/kit/x.rs", "use crate::calls::Calls;", "point down"),
        ("src/net/x.rs", "use crate::calls::Calls;", "neighbours"),
        ("src/auth/x.rs", "fn f() { crate::net::conn::g() }", "neighbours"),
        ("src/directory.rs", "use crate::{\n kit::ids,\n auth::{token::T},\n};", "neighbours"),
        ("src/net/x.rs", "use super::super::work::pool;", "point down"),
        ("src/control/x.rs", "use crate::work::pool::P; use crate::net::conn::C;", ""),
        ("src/work/x.rs", "use crate::gateway::run;", "point down"),
        ("src/work/x.rs", "use crate::agent::Agent;", "client library"),
        ("src/agent/x.rs", "use crate::calls::Calls;", "client library"),
        ("src/agent/x.rs", "use crate::kit::ids::CallId;", ""),
        ("src/backend/x.rs", "use crate::agent::Agent;", "client library"),
        ("src/backend/x.rs", "use crate::kit::ids::CallId;", ""),
        ("src/work/x.rs", "use crate::backend::Link;", "client library"),
        ("src/cli/x.rs", "use crate::agent::Agent; use crate::config::S;", ""),
        ("src/net/x.rs", "// use crate::calls::Calls;\n#[cfg(test)]\nmod tests { use crate::calls::C; }", ""),
        ("src/sim/x.rs", "use crate::gateway::run;", ""),
    ];
    for (path, text, expected) in cases {
        let mut files = BUILDING.to_vec();
        files.extend([("src/gateway.rs", ""), ("src/config/mod.rs", ""), (path, text)]);
        let found = planted(&files, imports_point_down);
        let right = match expected {
            "" => found.is_empty(),
            word => matches!(found.as_slice(), [only] if only.contains(word)),
        };
        assert!(right, "{path}: {text}: {found:?}");
    }
}

#[test]
fn a_part_without_a_floor_is_found() {
    let files = [("src/kit/ids.rs", ""), ("src/attic/x.rs", "use crate::kit::ids::CallId;")];
    assert_eq!(planted(&files, imports_point_down).len(), 1);
}

#[test]
fn a_planted_circle_is_found() {
    let circles: [&[(&str, &str)]; 3] = [
        &[("src/a.rs", "use crate::b::X;"), ("src/b.rs", "use crate::a::Y;")],
        &[
            ("src/n/a.rs", "use super::b::X;"),
            ("src/n/b.rs", "use crate::n::c::X;"),
            ("src/n/c.rs", "fn f() { super::a::g() }"),
        ],
        // Through a parent's re-export.
        &[
            ("src/n/mod.rs", "pub use self::a::X; pub use self::b::Y;"),
            ("src/n/a.rs", "use super::Y;"),
            ("src/n/b.rs", "use super::X;"),
        ],
    ];
    for files in circles {
        assert_eq!(planted(files, no_cycles).len(), 1, "{files:?}");
    }
    let straight: [&[(&str, &str)]; 2] = [
        &[("src/a.rs", "use crate::b::X; use crate::c::X;"), ("src/b.rs", "use crate::c::Y;"), ("src/c.rs", "")],
        // A parent and its child.
        &[("src/n/mod.rs", "mod a; use self::a::X; struct Y;"), ("src/n/a.rs", "use super::Y;")],
    ];
    for files in straight {
        assert_eq!(planted(files, no_cycles), [""; 0], "{files:?}");
    }
}
