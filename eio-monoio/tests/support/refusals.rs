//! The bodies of Engine.IO's refusals (`docs/protocol.md` 2.2).

pub(crate) const UNKNOWN_TRANSPORT: &str = r#"{"code":0,"message":"Transport unknown"}"#;
pub(crate) const UNKNOWN_SID: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
pub(crate) const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
pub(crate) const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
pub(crate) const FORBIDDEN: &str = r#"{"code":4,"message":"Forbidden"}"#;
pub(crate) const BAD_VERSION: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;
