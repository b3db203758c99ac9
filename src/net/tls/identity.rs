//! Who a client with a certificate is: agent id and tenant, by a rule over the fields of its certificate.
//!
//! A rule is one or more patterns with a space between them, `FIELD:TEXT` with `{agent}` and `{tenant}` in the text:
//! `cn:{agent} o:{tenant}`, `dns:{agent}.{tenant}.agents.example.com`, `uri:spiffe://example.com/{tenant}/{agent}`. Fields are
//! `cn`, `o`, `ou`, `dns` and `uri`. Every pattern must fit, and fit in one way: who could be two agents is none.
//! It looks at nothing but text, and never at a certificate that was not checked.

use super::subject::Subject;
use crate::kit::ids::is_name;

/// A client's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The agent id.
    pub agent: String,
    /// The tenant, if the rule says where it stands.
    pub tenant: Option<String>,
}

/// How a certificate becomes an [`Identity`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    CommonName,
    Organization,
    Unit,
    DnsName,
    Uri,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Agent,
    Tenant,
}

impl Part {
    fn placeholder(self) -> &'static str {
        match self {
            Self::Agent => "{agent}",
            Self::Tenant => "{tenant}",
        }
    }
}

/// Text, then each part with the text that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    field: Field,
    before: String,
    parts: Vec<(Part, String)>,
}

/// What the patterns have found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    agent: Option<String>,
    tenant: Option<String>,
}

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let patterns: Result<Vec<Pattern>, String> = text.split_whitespace().map(Pattern::parse).collect();
        let patterns = patterns?;
        let times = |part: Part| patterns.iter().flat_map(|pattern| &pattern.parts).filter(|(p, _)| *p == part).count();
        match (times(Part::Agent), times(Part::Tenant)) {
            (1, 0 | 1) => Ok(Self { patterns }),
            (0, _) => Err("says nowhere where the agent's id stands: write {agent} there".to_owned()),
            (2.., _) => Err("has {agent} more than once".to_owned()),
            (_, 2..) => Err("has {tenant} more than once".to_owned()),
        }
    }

    /// Whether the rule says where the tenant stands.
    #[must_use]
    pub fn names_tenant(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.parts.iter().any(|(part, _)| *part == Part::Tenant))
    }

    /// The identity of a checked certificate's owner; `None` if the rule does not fit, fits in two ways, or what it finds cannot
    /// be a name.
    #[must_use]
    pub fn identify(&self, subject: &Subject) -> Option<Identity> {
        let mut all = Found::default();
        for pattern in &self.patterns {
            let mut found = pattern.values(subject).iter().filter_map(|value| pattern.find(value));
            let first = found.next()?;
            if found.any(|other| other != first) {
                return None;
            }
            all = Found { agent: all.agent.or(first.agent), tenant: all.tenant.or(first.tenant) };
        }
        Some(Identity { agent: all.agent?, tenant: all.tenant })
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let (field, text) =
            text.split_once(':').ok_or_else(|| format!("`{text}` has no field: cn:, o:, ou:, dns: or uri:"))?;
        let (field, text) = match field {
            "cn" => (Field::CommonName, text.to_owned()),
            "o" => (Field::Organization, text.to_owned()),
            "ou" => (Field::Unit, text.to_owned()),
            "dns" => (Field::DnsName, text.to_ascii_lowercase()),
            "uri" => (Field::Uri, text.to_owned()),
            other => return Err(format!("`{other}` is no field: cn, o, ou, dns and uri are")),
        };
        let next = |text: &str| {
            let places = [Part::Agent, Part::Tenant].map(|part| text.find(part.placeholder()).map(|at| (at, part)));
            places.into_iter().flatten().min_by_key(|(at, _)| *at)
        };
        let (mut before, mut parts, mut rest) = (text.clone(), Vec::new(), text.as_str());
        while let Some((at, part)) = next(rest) {
            match parts.last_mut() {
                None => before.truncate(at),
                Some((_, after)) => *after = rest[..at].to_owned(),
            }
            rest = &rest[at + part.placeholder().len()..];
            parts.push((part, rest.to_owned()));
        }
        let texts = || parts.iter().map(|(_, after)| after).chain([&before]);
        if texts().any(|text| text.contains(['{', '}'])) {
            return Err(format!("`{text}`: {{agent}} and {{tenant}} are all that may stand in braces"));
        }
        if parts.iter().rev().skip(1).any(|(_, after)| after.is_empty()) {
            return Err(format!("`{text}`: there must be something between {{agent}} and {{tenant}}"));
        }
        Ok(Self { field, before, parts })
    }

    fn values<'a>(&self, subject: &'a Subject) -> &'a [String] {
        match self.field {
            Field::CommonName => &subject.common_names,
            Field::Organization => &subject.organizations,
            Field::Unit => &subject.units,
            Field::DnsName => &subject.dns_names,
            Field::Uri => &subject.uris,
        }
    }

    /// Fits the pattern to a value. A part ends where the text that follows it begins and does not contain the first character
    /// of that, so that there is one way to fit.
    fn find(&self, value: &str) -> Option<Found> {
        let lower = value.to_ascii_lowercase();
        let mut rest = if self.field == Field::DnsName { lower.as_str() } else { value }.strip_prefix(&*self.before)?;
        let mut found = Found::default();
        for (part, after) in &self.parts {
            let end = match after.chars().next() {
                Some(first) => rest.find(first)?,
                None => rest.len(),
            };
            let (name, tail) = rest.split_at(end);
            rest = tail.strip_prefix(after.as_str())?;
            let place = match part {
                Part::Agent => &mut found.agent,
                Part::Tenant => &mut found.tenant,
            };
            *place = Some(name.to_owned()).filter(|name| is_name(name));
            place.as_ref()?;
        }
        rest.is_empty().then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Subject {
            common_names: texts(&["pump-7"]),
            organizations: texts(&["acme"]),
            units: texts(&["north", "south"]),
            dns_names: texts(&["Pump-7.acme.Agents.example.com", "other.example.com"]),
            uris: texts(&["spiffe://example.com/acme/pump-7", "https://example.com/"]),
            not_before: 0,
            not_after: 0,
        }
    }

    #[test]
    fn rules_that_fit_and_rules_that_do_not() {
        type Names = (&'static str, Option<&'static str>);
        let cases: [(&str, Option<Names>); 18] = [
            ("cn:{agent}", Some(("pump-7", None))),
            ("cn:pump-{agent}", Some(("7", None))),
            ("cn:{agent} o:{tenant}", Some(("pump-7", Some("acme")))),
            ("o:{tenant} cn:{agent}", Some(("pump-7", Some("acme")))),
            ("cn:{agent} o:acme", Some(("pump-7", None))),
            ("cn:{agent} o:other", None),
            ("cn:{agent} o:acm", None),
            ("cn:fan-{agent}", None),
            ("cn:{agent}-7", Some(("pump", None))),
            ("cn:{agent}p-7", None),
            ("ou:{agent}", None),
            ("ou:n{agent}", Some(("orth", None))),
            ("dns:{agent}.{tenant}.agents.EXAMPLE.com", Some(("pump-7", Some("acme")))),
            ("dns:{agent}.agents.example.com", None),
            ("dns:{agent}.example.com", Some(("other", None))),
            ("uri:spiffe://example.com/{tenant}/{agent}", Some(("pump-7", Some("acme")))),
            ("uri:spiffe://example.com/{agent}", None),
            ("uri:https://example.com/{agent}", None),
        ];
        for (rule, expected) in cases {
            let found = Rule::parse(rule).expect("it is a rule").identify(&subject());
            let expected =
                expected.map(|(agent, tenant)| Identity { agent: agent.to_owned(), tenant: tenant.map(str::to_owned) });
            assert_eq!(found, expected, "{rule}");
        }
        assert_eq!(Rule::parse("cn:{agent}").expect("it is a rule").identify(&Subject::default()), None);
    }

    #[test]
    fn what_cannot_be_a_name_is_nobody() {
        let rule = Rule::parse("cn:{agent}").expect("it is a rule");
        for name in ["", "a b", "a/b", "a\u{e4}", &"x".repeat(129)] {
            let subject = Subject { common_names: vec![name.to_owned()], ..Subject::default() };
            assert_eq!(rule.identify(&subject), None, "{name:?}");
        }
        let twice = Subject { common_names: vec!["a".to_owned(), "a".to_owned()], ..Subject::default() };
        assert!(rule.identify(&twice).is_some(), "the same twice is one");
    }

    #[test]
    fn wrong_rules_are_refused_with_a_reason() {
        let cases = [
            ("", "says nowhere"),
            ("cn:pump", "says nowhere"),
            ("o:{tenant}", "says nowhere"),
            ("cn:{agent} o:{agent}", "has {agent} more than once"),
            ("cn:{agent} o:{tenant} ou:{tenant}", "has {tenant} more than once"),
            ("{agent}", "`{agent}` has no field"),
            ("mail:{agent}", "`mail` is no field"),
            ("cn:{agent}{tenant}", "`{agent}{tenant}`: there must be something between"),
            ("cn:{agent}-{name}", "`{agent}-{name}`: {agent} and {tenant} are all"),
            ("cn:}{agent}", "`}{agent}`: {agent} and {tenant} are all"),
        ];
        for (rule, expected) in cases {
            let told = Rule::parse(rule).expect_err("it is wrong");
            assert!(told.starts_with(expected), "{rule}: {told}");
        }
        assert!(Rule::parse("cn:{agent} o:{tenant}").expect("it is a rule").names_tenant());
        assert!(!Rule::parse("cn:{agent}").expect("it is a rule").names_tenant());
    }
}
