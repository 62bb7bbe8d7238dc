//! The engine comes, goes and returns.
