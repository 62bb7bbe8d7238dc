//! Passes the linker script of esp-hal to the linker.

fn main() {
    println!("cargo:rustc-link-arg-bins=-Tlinkall.x");
}
