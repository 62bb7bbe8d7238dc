// An option has a unit.
//~ error
//: expected `Duration`, found integer

fn main() {
    _ = eio_monoio::Config::new().ping_interval(25);
}
