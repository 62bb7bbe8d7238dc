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

    println!("cargo:rustc-link-arg-bins=-Tdefmt.x");

    // Each line ends with a zero byte, and the last one with two more.
    println!("cargo:rerun-if-changed=nvram_rp2040.txt");
    let lines = include_str!("nvram_rp2040.txt").lines().filter(|line| !line.starts_with('#'));
    let mut nvram: Vec<u8> = lines.flat_map(|line| line.bytes().chain([0])).collect();
    nvram.extend([0, 0]);
    fs::write(out.join("nvram.bin"), nvram).expect("OUT_DIR is writable");
}
