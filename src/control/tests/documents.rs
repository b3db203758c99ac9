//! What the documents say of problems, held against the table.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::super::operate::OPENAPI;
use super::super::problem::Kind;

fn document(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_page_on_the_api_has_each_problem_with_its_status() {
    let page = document("docs/api.md");
    for kind in Kind::ALL {
        let row = kind.row();
        let start = match kind.is_outcome() {
            true => format!("| `{}` | {} |", row.slug, row.status),
            false => format!("| `/problems/{}` | {} |", row.slug, row.status),
        };
        assert_eq!(page.lines().filter(|line| line.starts_with(&start)).count(), 1, "{start}");
    }
}

#[test]
fn the_front_page_has_each_outcome_with_its_status() {
    let page = document("README.md");
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_outcome()) {
        let start = format!("| `{}` | {} |", kind.row().slug, kind.row().status);
        assert!(page.lines().any(|line| line.starts_with(&start)), "{start}");
    }
}

/// Each problem stands at its status, of a route or in the words before all routes, and what may pass has a `Retry-After` there.
#[test]
fn the_openapi_text_names_each_problem_at_its_status() {
    let text: Value = serde_json::from_str(OPENAPI).unwrap();
    let before = text["info"]["description"].as_str().unwrap();
    let operations = text["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap());
    let answers: Vec<(&String, &Value)> = operations
        .filter(|(name, _)| *name != "parameters")
        .flat_map(|(_, operation)| operation["responses"].as_object().unwrap())
        .collect();
    for kind in Kind::ALL {
        let (word, status) = (format!("`{}`", kind.row().slug), kind.row().status.to_string());
        let at_status: Vec<&Value> =
            answers.iter().filter(|(found, _)| **found == status).map(|(_, answer)| *answer).collect();
        let named = |answer: &&Value| answer["description"].as_str().unwrap().contains(&word);
        let is_told = at_status.iter().any(&named) || before.contains(&format!("{status} {word}"));
        assert!(is_told, "{status} {word}");
        for answer in at_status.into_iter().filter(named) {
            let may_pass = answer["headers"]["Retry-After"].is_object();
            assert!(may_pass || !kind.passes(), "{status} {word} has no Retry-After");
        }
    }
    for (status, answer) in answers {
        let description = answer["description"].as_str().unwrap();
        let is_problem = answer["content"]["application/problem+json"].is_object();
        let names_one = Kind::ALL.iter().any(|kind| {
            kind.row().status.to_string() == *status && description.contains(&format!("`{}`", kind.row().slug))
        });
        assert!(!is_problem || names_one, "{status}: {description}");
    }
}
