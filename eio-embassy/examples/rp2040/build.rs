//! Copies memory.x to a directory that the linker searches, and the radio's NVRAM to the file that `picow` includes.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("memory.x"), include_bytes!("memory.x")).expect("OUT_DIR is writable");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rustc-link-arg-bins=-Tlink-rp.x");
    println!("cargo:rustc-link-arg-bins=--nmagic");
    println!("cargo:rerun-if-changed=memory.x");

    println!("cargo:rerun-if-env-changed=CYW43_NVRAM");
    let nvram = match env::var_os("CYW43_NVRAM") {
        Some(path) => {
            println!("cargo:rerun-if-changed={}", PathBuf::from(&path).display());
            fs::read(path).expect("CYW43_NVRAM names a file")
        }
        None => {
            if env::var_os("CARGO_FEATURE_PICOW").is_some() {
                println!(
                    "cargo:warning=CYW43_NVRAM is not set: the firmware compiles, but its radio does not start"
                );
            }
            Vec::new()
        }
    };
    fs::write(out.join("nvram.bin"), nvram).expect("OUT_DIR is writable");
}
