//! The listings of the READMEs and of docs/guide.md equal code that is compiled elsewhere: examples and doctests.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The code of an example, without the comment that it begins with.
fn example(name: &str) -> String {
    let example = read(&format!("examples/{name}"));
    let (_, code) = example.split_once("\n\n").expect("the example begins with a comment");
    code.to_owned()
}

/// The Rust listings of a document: the words after `rust` on the fence, and the code as rustdoc shows it.
fn listings(document: &str) -> Vec<(String, String)> {
    let mut listings = Vec::new();
    let mut rest = document;
    while let Some((_, fenced)) = rest.split_once("```rust") {
        let (attributes, code) = fenced.split_once('\n').expect("the fence has an end");
        let (code, after) = code.split_once("```").expect("the listing has an end");
        let shown = code.split_inclusive('\n').filter(|line| !line.trim_start().starts_with("# "));
        listings.push((attributes.to_owned(), shown.collect()));
        rest = after;
    }
    listings
}

#[test]
fn listings_of_the_readmes_equal_the_compiled_code() {
    // The listing of eio-embassy is a doctest there: its documentation is its README.
    let embassy = listings(&read("../eio-embassy/README.md"));
    let (_, embassy) = embassy.first().expect("eio-embassy's README has a listing");
    let front = [
        ("", example("serve.rs")),
        ("", example("broadcast.rs")),
        ("", example("awaiting.rs")),
        ("", example("client.rs")),
        (",ignore", embassy.clone()),
    ];
    for (document, expected) in [("../README.md", &front[..]), ("README.md", &front[..1])] {
        let shown = listings(&read(document));
        assert_eq!(shown.len(), expected.len(), "listings of {document}");
        for ((attributes, shown), (expected_attributes, expected)) in shown.iter().zip(expected) {
            assert_eq!(attributes, expected_attributes, "{document}");
            assert_eq!(shown, expected, "copy the code into {document}");
        }
    }
}

/// The file that a line of a document links to, if listings are taken from such files.
fn linked_file(line: &str) -> Option<&str> {
    let (_, target) = line.rsplit_once("](../")?;
    let (target, _) = target.split_once(')')?;
    let kinds = [".rs", ".sql", ".service", ".conf"];
    kinds.iter().any(|kind| target.ends_with(kind)).then_some(target)
}

/// Whether `listing` is a block of whole lines of `file`, which may have four spaces of indentation more.
fn is_part(listing: &[&str], file: &str) -> bool {
    let file: Vec<&str> = file.lines().collect();
    ["", "    "].iter().any(|indentation| {
        let listing: Vec<String> = listing
            .iter()
            .map(
                |line| if line.is_empty() { String::new() } else { format!("{indentation}{line}") },
            )
            .collect();
        file.windows(listing.len()).any(|lines| lines == listing)
    })
}

/// Fails if a command of a listing runs an example or a program that does not exist.
fn assert_programs_exist(commands: &[&str]) {
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        for pair in words.windows(2) {
            let source = match pair[0] {
                "--bin" => format!("examples/apps/src/bin/{}.rs", pair[1]),
                "--example" => format!("examples/{}.rs", pair[1]),
                _ => continue,
            };
            read(&source);
        }
    }
}

#[test]
fn listings_of_the_guide_are_parts_of_the_programs_that_it_links() {
    let guide = read("../docs/guide.md");
    let (mut linked, mut listings) = (None, 0);
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            linked = linked_file(line).or(linked);
            continue;
        };
        let listing: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        listings += 1;
        if language == "sh" {
            assert_programs_exist(&listing);
            continue;
        }
        let path = linked.expect("a link stands above the listing");
        let file = read(&format!("../{path}"));
        let shown = listing.join("\n");
        assert!(is_part(&listing, &file), "not part of {path}: copy the code:\n{shown}");
    }
    assert!(listings > 20, "{listings}");
}
