//! The Rust listings of the READMEs equal code that is compiled elsewhere: examples and doctests.

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
