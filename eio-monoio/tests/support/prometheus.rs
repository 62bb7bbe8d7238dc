//! Reads metrics in the text format of Prometheus.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use super::connection::Connection;
use super::request::Request;

/// The series that a server publishes at `/metrics`.
#[track_caller]
pub(crate) fn scrape(address: SocketAddr) -> BTreeMap<String, f64> {
    let response = Connection::open(address).request(&Request::get("/metrics"));
    assert_eq!(response.status, 200);
    let kind = response.header("Content-Type");
    assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));
    parse(response.text())
}

/// Parses a scrape into series and values, with the checks of `promtool check metrics` and more.
#[track_caller]
pub(crate) fn parse(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut kinds = HashMap::new();
    let mut helped = HashSet::new();
    let mut family = String::new();
    let mut series = BTreeMap::new();
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(is_name(name) && help.ends_with('.'), "{line}");
            assert!(helped.insert(name.to_owned()), "twice: {line}");
            family = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, family, "HELP and TYPE belong together");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kinds.insert(name.to_owned(), kind.to_owned()), None, "twice: {line}");
        } else {
            let (key, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
            let kind = kinds.get(&family).expect("a TYPE before its series");
            let parts: &[&str] =
                if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            let of_family = |part: &&str| name.strip_suffix(*part) == Some(family.as_str());
            assert!(parts.iter().any(of_family), "outside of its family {family}: {line}");
            let labels = labels.strip_suffix('}').expect("labels in braces");
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (name, value) = label.split_once('=').expect("a label");
                assert!(is_name(name), "{line}");
                let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                assert!(value.is_some_and(|value| !value.contains(['"', '\\', ' '])), "{line}");
            }
            let value: f64 = value.parse().expect("a number");
            assert!(value >= 0.0, "{line}");
            assert_eq!(series.insert(key.to_owned(), value), None, "twice: {line}");
        }
    }
    assert_eq!(helped.len(), kinds.len(), "a HELP without a TYPE");
    series
}

/// The sum over all workers of the series that have this name and, if it is not empty, this label.
pub(crate) fn sum(series: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let found = series.iter().filter(|(key, _)| {
        key.split('{').next() == Some(name) && (label.is_empty() || key.contains(label))
    });
    found.map(|(_, value)| value).sum()
}
