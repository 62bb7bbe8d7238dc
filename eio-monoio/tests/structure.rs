//! The direction of imports between the folders of `src`, as `docs/ARCHITECTURE.md` writes it.
//!
//! Reads the crate's own `use` declarations and `crate::` paths. A re-export is not an import: a name that a `mod.rs` or
//! `lib.rs` re-exports stands for the file that defines it. Unit tests may import anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The most files that may import one another in a circle.
const LARGEST_CIRCLE: usize = 3;

#[test]
fn folders_import_in_the_documented_direction() {
    let allowed = documented_direction();
    let graph = Graph::read();
    let mut wrong = Vec::new();
    for (from, to) in graph.arrows() {
        let (above, below) = (folder(from), folder(to));
        if above == below || above == "lib" {
            continue;
        }
        let Some(folders) = allowed.get(above) else {
            wrong.push(format!("{above}/ is not in docs/ARCHITECTURE.md"));
            continue;
        };
        if !folders.contains(below) {
            wrong.push(format!("{from} imports {to}: {above} may not import {below}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_documented_direction_has_no_circle() {
    let allowed = documented_direction();
    let circles = circles(&allowed);
    assert!(circles.is_empty(), "{circles:?}");
}

#[test]
fn no_circle_of_files_is_larger_than_three() {
    let graph = Graph::read();
    let large: Vec<_> =
        circles(&graph.imports).into_iter().filter(|files| files.len() > LARGEST_CIRCLE).collect();
    assert!(large.is_empty(), "{large:#?}");
}

/// A panic of the application's subscriber must not end a thread: `log.rs` catches it.
#[test]
fn events_are_logged_by_the_guarded_macros() {
    let levels = ["error", "warn", "info", "debug", "trace"];
    let direct: Vec<_> = levels.map(|level| format!("tracing::{level}!")).into();
    let graph = Graph::read();
    let mut wrong = graph.code.iter().filter(|(name, code)| {
        *name != "log" && direct.iter().any(|event| code.contains(event.as_str()))
    });
    assert_eq!(wrong.next().map(|(name, _)| name), None, "use crate::log");
}

#[test]
fn a_wrong_direction_and_a_circle_are_found() {
    let mut graph = Graph::default();
    graph.add("io/a", "use crate::server::conn::{Conn, http};\nfn f() { crate::worker::net::g() }");
    graph.add("server/conn/mod", "use super::b::B;");
    graph.add("server/b", "pub(crate) use crate::io::a::A;\nuse crate::io::a;");
    for other in ["server/conn/http", "worker/net", "lib"] {
        graph.add(other, "#[cfg(test)]\nmod tests { use crate::server::conn::Conn; }");
    }
    graph.resolve();
    let arrows: Vec<_> = graph.arrows().collect();
    assert!(arrows.contains(&("io/a", "server/conn/mod")), "{arrows:?}");
    assert!(arrows.contains(&("io/a", "server/conn/http")), "{arrows:?}");
    assert!(arrows.contains(&("io/a", "worker/net")), "{arrows:?}");
    assert!(arrows.contains(&("server/conn/mod", "server/b")), "{arrows:?}");
    assert!(!arrows.iter().any(|(from, _)| *from == "worker/net"), "{arrows:?}");
    let circle = vec!["io/a", "server/b", "server/conn/mod"];
    assert_eq!(circles(&graph.imports), [circle]);
}

/// The lines `folder -> folder, folder` of the first fenced block of `docs/ARCHITECTURE.md` that has any.
fn documented_direction() -> Imports {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ARCHITECTURE.md");
    let text = fs::read_to_string(&path).expect("docs/ARCHITECTURE.md");
    let rules = text.lines().filter_map(|line| line.split_once(" -> "));
    let rules: Imports = rules
        .filter(|(above, _)| above.bytes().all(|b| b.is_ascii_lowercase()))
        .map(|(above, below)| (above.into(), below.split(", ").map(str::to_owned).collect()))
        .collect();
    assert!(rules.len() >= 6, "docs/ARCHITECTURE.md says `folder -> folder, ...` for each folder");
    rules
}

/// The top folder of a file of `src`; `root` for a file next to `lib.rs`.
fn folder(file: &str) -> &str {
    match file.split_once('/') {
        Some((folder, _)) => folder,
        None if file == "lib" => "lib",
        None => "root",
    }
}

type Imports = BTreeMap<String, BTreeSet<String>>;

/// Which file imports which, by their paths below `src` without `.rs`.
#[derive(Default)]
struct Graph {
    code: BTreeMap<String, String>,
    imports: Imports,
}

impl Graph {
    fn read() -> Self {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut graph = Self::default();
        for path in rust_files(&src) {
            let name = path.strip_prefix(&src).unwrap().with_extension("");
            let name = name.to_str().unwrap().to_owned();
            // A program is a user of the library.
            let is_library = !name.starts_with("bin/");
            if is_library && name != "tests" && !name.ends_with("/tests") {
                graph.add(&name, &fs::read_to_string(&path).unwrap());
            }
        }
        graph.resolve();
        graph
    }

    /// Adds a file, without its comments and its unit tests.
    fn add(&mut self, name: &str, text: &str) {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let code: Vec<_> = code.lines().map(|line| line.split("//").next().unwrap()).collect();
        self.code.insert(name.into(), code.join("\n"));
    }

    fn resolve(&mut self) {
        for (name, code) in &self.code {
            let mut imports = BTreeSet::new();
            for path in paths(code, Reexports::No) {
                if let Some(target) = self.file_of(&absolute(name, &path), 0)
                    && target != *name
                {
                    imports.insert(target);
                }
            }
            self.imports.insert(name.clone(), imports);
        }
    }

    /// The file that defines what `path` names; re-exports are followed.
    fn file_of(&self, path: &[String], depth: usize) -> Option<String> {
        let (file, rest) = (0..=path.len()).rev().find_map(|len| {
            let (module, rest) = path.split_at(len);
            let module = module.join("/");
            let names = match len {
                0 => vec!["lib".to_owned()],
                _ => vec![module.clone(), format!("{module}/mod")],
            };
            let known = names.into_iter().find(|name| self.code.contains_key(name))?;
            Some((known, rest))
        })?;
        let Some(name) = rest.first() else { return Some(file) };
        let reexport = paths(&self.code[&file], Reexports::Only)
            .into_iter()
            .find(|path| path.last() == Some(name) && path.len() > 1);
        match reexport {
            Some(path) if depth < 8 => self.file_of(&absolute(&file, &path), depth + 1),
            _ => Some(file),
        }
    }

    fn arrows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.imports
            .iter()
            .flat_map(|(from, to)| to.iter().map(move |to| (from.as_str(), to.as_str())))
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let mut all: Vec<_> =
        files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")).collect();
    all.extend(folders.iter().flat_map(|folder| rust_files(folder)));
    all
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reexports {
    Only,
    No,
}

/// Every path of the `use` declarations of a file, and every other path that begins with `crate::`.
fn paths(code: &str, which: Reexports) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let before = rest[..at].rsplit('\n').next().unwrap_or_default().trim();
        let declaration = rest[at + 4..].split(';').next().unwrap_or_default();
        rest = &rest[at + 4..];
        let is_reexport = before.starts_with("pub");
        if !(before.is_empty() || is_reexport) || is_reexport != (which == Reexports::Only) {
            continue;
        }
        expand(&declaration.split_whitespace().collect::<Vec<_>>().join(" "), &[], &mut found);
    }
    if which == Reexports::No {
        for (at, _) in code.match_indices("crate::") {
            let end = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
            let path = code[at..].split(end).next().unwrap_or_default();
            found.push(segments(path));
        }
    }
    found
}

/// Expands `a::{b, c::{d, self}}`.
fn expand(tree: &str, prefix: &[String], found: &mut Vec<Vec<String>>) {
    let joined = |path: &str| [prefix, &segments(path)].concat();
    let Some((path, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        if !path.is_empty() {
            found.push(joined(path));
        }
        return;
    };
    let prefix = joined(path.trim());
    let group = group.trim().strip_suffix('}').unwrap_or(group);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(group[start..at].trim(), &prefix, found);
                start = at + 1;
            }
            _ => {}
        }
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").filter(|part| !part.is_empty() && *part != "self").map(str::to_owned).collect()
}

/// A path from the root of the crate, without `crate`. Paths of other crates lead nowhere.
fn absolute(file: &str, path: &[String]) -> Vec<String> {
    let mut module: Vec<String> = file.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    match path.first().map(String::as_str) {
        Some("crate") => path[1..].to_vec(),
        Some("super") => {
            module.pop();
            [&module, &path[1..]].concat()
        }
        _ => [module.as_slice(), path].concat(),
    }
}

/// Sets of names of which each imports, by way of others, each other one.
fn circles(imports: &Imports) -> Vec<Vec<&str>> {
    let reachable = |from: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(name) = next.pop() {
            for to in imports.get(name).into_iter().flatten() {
                if seen.insert(to.as_str()) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|name| (name.as_str(), reachable(name))).collect();
    let circle = |name: &str| -> Vec<&str> {
        let both = |other: &&&str| {
            reach.get(name).is_some_and(|to| to.contains(**other))
                && reach.get(**other).is_some_and(|to| to.contains(name))
        };
        reach.keys().filter(both).copied().collect()
    };
    let all: BTreeSet<Vec<&str>> = imports.keys().map(|name| circle(name)).collect();
    all.into_iter().filter(|circle| circle.len() > 1).collect()
}
