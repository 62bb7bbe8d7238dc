//! Nodes and links that fail.
