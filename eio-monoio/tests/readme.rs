//! The README of the repository shows the examples, which compile.

use std::fs;
use std::path::Path;

#[test]
fn readme_shows_the_examples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme =
        fs::read_to_string(root.join("../README.md")).expect("the repository has a README");
    let mut rest = readme.as_str();
    for name in ["readme.rs", "client.rs"] {
        let example =
            fs::read_to_string(root.join("examples").join(name)).expect("the example exists");
        let (_, shown) = rest.split_once("```rust\n").expect("the README shows the example");
        let (shown, after) = shown.split_once("```").expect("the block has an end");
        let (_, code) = example.split_once("\n\n").expect("the example begins with a comment");
        assert_eq!(shown, code, "copy examples/{name}, less its first line, into the README");
        rest = after;
    }
}
