//! Behind reverse proxies, in front of odd peers, and what an operator reads about both.
//!
//! nginx, HAProxy, Apache and Caddy run with the configurations of `docs/proxies.md`; Traefik and cloud balancers are
//! requests as they write them.

#[path = "../support/mod.rs"]
mod support;

mod balancers;
mod causes;
mod causes_by_option;
mod kept_connections;
mod log;
mod odd_peers;
mod proxy;
mod proxy_protocol;
mod recipes;
mod restart;
mod reverse_proxies;
