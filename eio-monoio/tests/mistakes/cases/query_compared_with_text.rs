// A decoded query may be owned.
//~ error
//: expected `Cow<'_, str>`, found `&str`
//~ explained by src/web/request.rs
//= `.as_deref()`

use eio_monoio::ConnectRequest;

fn is_allowed(request: &ConnectRequest<'_>) -> bool {
    request.query("token") == Some("sesame")
}

fn main() {
    let _: fn(&ConnectRequest<'_>) -> bool = is_allowed;
}
