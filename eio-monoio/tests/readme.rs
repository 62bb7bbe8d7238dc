//! What the README of the repository shows is what compiles.

use std::fs;
use std::path::Path;

#[test]
fn the_readme_does_not_drift_from_the_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme =
        fs::read_to_string(root.join("../README.md")).expect("the repository has a README");
    let example =
        fs::read_to_string(root.join("examples/readme.rs")).expect("the example is there");
    let (_, shown) = readme.split_once("```rust\n").expect("the README shows a server");
    let (shown, _) = shown.split_once("```").expect("the block has an end");
    let (_, code) = example.split_once("\n\n").expect("the example begins with a comment");
    assert_eq!(shown, code, "copy examples/readme.rs, less its first line, into the README");
}
