//! The files in `deploy/`.
