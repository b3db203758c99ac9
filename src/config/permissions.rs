//! What an entry of `[[api.keys]]` says of the key's permissions.
//!
//! Owns how the three lists are read and which of them contradict each other. What they mean is `auth::permissions`' business.

use std::str::FromStr;

use super::schema::OptionalList;
use crate::auth::permissions::{Methods, Permissions, Right};
use crate::kit::labels::{self, Condition};

/// Most conditions on labels: as many as a list of agents takes.
const CONDITIONS_MAX: usize = 16;

/// The permissions; each problem is told with its field. What is wrong allows nothing.
pub(super) fn resolve(
    allow: &OptionalList,
    methods: &OptionalList,
    agents: &OptionalList,
    problem: &mut dyn FnMut(&str, &str),
) -> Permissions {
    let rights: Option<Vec<Right>> = parse_all("allow", allow, problem);
    let methods: Option<Vec<Methods>> = parse_all("methods", methods, problem);
    let agents: Option<Vec<OneCondition>> = parse_all("agents", agents, problem);
    if methods.is_some() && rights.as_ref().is_some_and(|rights| !rights.contains(&Right::Call)) {
        problem("methods", "names methods, and `allow` has no \"call\"");
    }
    if agents.is_some() && rights.as_ref().is_some_and(|rights| rights.contains(&Right::Administer)) {
        problem(
            "agents",
            "binds the key to some agents, and \"administer\" is for all of the tenant: whoever is revoked need not be connected, so no label is known",
        );
    }
    let agents: Vec<Condition> = agents.unwrap_or_default().into_iter().map(|one| one.0).collect();
    if agents.len() > CONDITIONS_MAX {
        problem("agents", &format!("has more than {CONDITIONS_MAX} labels"));
    }
    let contradicts = |(at, one): (usize, &Condition)| agents[..at].iter().any(|other| other.0 == one.0);
    if agents.iter().enumerate().any(contradicts) {
        problem("agents", "has one label twice, and all of them must be there");
    }
    Permissions::new(rights.as_deref(), methods, agents)
}

/// A condition, as an entry of a list.
struct OneCondition(Condition);

impl FromStr for OneCondition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        labels::condition(text).map(Self).ok_or_else(|| "must be \"key=value\"".to_owned())
    }
}

/// The entries of a list. An empty list is a problem: it could mean nothing or everything.
fn parse_all<T: FromStr<Err = String>>(
    field: &str,
    list: &OptionalList,
    problem: &mut dyn FnMut(&str, &str),
) -> Option<Vec<T>> {
    let list = list.as_ref()?;
    if list.is_empty() {
        problem(field, "is empty: leave it out, or say what is meant");
    }
    let mut parsed = Vec::with_capacity(list.len());
    for text in list {
        match text.parse() {
            Ok(one) => parsed.push(one),
            Err(what) => problem(field, &format!("where \"{text}\" {what}")),
        }
    }
    Some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::permissions::{Act, Ruling};

    fn list(texts: &[&str]) -> OptionalList {
        Some(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    fn resolved(allow: &OptionalList, methods: &OptionalList, agents: &OptionalList) -> (Permissions, Vec<String>) {
        let mut problems = Vec::new();
        let found = resolve(allow, methods, agents, &mut |field, what| problems.push(format!("`{field}` {what}")));
        (found, problems)
    }

    #[test]
    fn lists_become_permissions() {
        let (key, problems) =
            resolved(&list(&["call", "list"]), &list(&["backup.*"]), &list(&["site=ams", "tier=gold"]));
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(key.may(Act::Use(Right::List)), Ruling::Allowed);
        assert_eq!(key.may(Act::Use(Right::Disconnect)), Ruling::Forbidden);
        assert_eq!(key.may(Act::Call { method: "backup.run" }), Ruling::Allowed);
        assert_eq!(key.may(Act::Call { method: "disk.free" }), Ruling::Forbidden);
        assert_eq!(key.conditions().len(), 2);
        assert_eq!(resolved(&None, &None, &None), (Permissions::new(None, None, Vec::new()), Vec::new()));
    }

    #[test]
    fn what_contradicts_itself_or_says_nothing_is_refused() {
        let none = &None;
        let many: Vec<String> = (0..=CONDITIONS_MAX).map(|n| format!("k{n}=v")).collect();
        for (allow, methods, agents, expected) in [
            (&list(&[]), none, none, "`allow` is empty"),
            (none, &list(&[]), none, "`methods` is empty"),
            (none, none, &list(&[]), "`agents` is empty"),
            (&list(&["calls"]), none, none, "`allow` where \"calls\" must be one of"),
            (none, &list(&["a*b"]), none, "`methods` where \"a*b\" may have one star"),
            (none, none, &list(&["site"]), "`agents` where \"site\" must be \"key=value\""),
            (none, none, &list(&["a=1", "a=2"]), "`agents` has one label twice"),
            (&list(&["list"]), &list(&["m"]), none, "`methods` names methods, and `allow` has no \"call\""),
            (none, none, &Some(many.clone()), "`agents` has more than 16 labels"),
        ] {
            let (_, problems) = resolved(allow, methods, agents);
            assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{expected}: {problems:?}");
        }
    }

    #[test]
    fn what_is_wrong_allows_nothing() {
        let (key, _) = resolved(&list(&["calls"]), &list(&["*a"]), &None);
        assert_eq!(key.may(Act::Use(Right::List)), Ruling::Forbidden);
        assert_eq!(key.may(Act::Call { method: "a" }), Ruling::Forbidden);
    }
}
