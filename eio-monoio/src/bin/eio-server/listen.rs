//! [`Listen`]: an address to listen on.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::str::FromStr;

use eio_monoio::{Handler, Listener, Running, ServeError, Server};

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    Tcp(String),
    Unix(PathBuf),
    /// Sockets of the service manager.
    Inherited,
}

impl Default for Listen {
    fn default() -> Self {
        Self::Tcp("127.0.0.1:3000".into())
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "inherited" {
            return Ok(Self::Inherited);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            let path = (!path.is_empty()).then(|| Self::Unix(path.into()));
            return path.ok_or_else(|| "unix: needs a path".into());
        }
        let (host, port) = text.rsplit_once(':').ok_or("an address needs a port")?;
        if host.is_empty() {
            return Err("an address needs a host; 0.0.0.0 or [::] is every address".into());
        }
        port.parse::<u16>().map_err(|_| "the port is not a number up to 65535")?;
        Ok(Self::Tcp(text.into()))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited => f.write_str("inherited"),
        }
    }
}

impl Listen {
    /// Whether the kernel chooses a port.
    pub(crate) fn has_free_port(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.ends_with(":0"))
    }

    /// Checks that a host name has an address, without listening there.
    pub(crate) fn check(&self) -> io::Result<()> {
        if let Self::Tcp(address) = self
            && address.to_socket_addrs()?.next().is_none()
        {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        Ok(())
    }

    /// Starts a server there. `inherited` are the sockets for it.
    pub(crate) fn start<H, F>(
        &self,
        server: Server<F>,
        inherited: Vec<Listener>,
    ) -> Result<Running, ServeError>
    where
        H: Handler,
        F: Fn() -> H + Send + Sync + 'static,
    {
        match self {
            Self::Tcp(address) => server.bind(address.as_str()),
            Self::Unix(path) => server.bind_unix(path),
            Self::Inherited => server.listen(inherited),
        }
    }
}

/// The sockets of the service manager: those for Engine.IO, and those named `admin`.
pub(crate) struct Inherited {
    pub(crate) listen: Vec<Listener>,
    pub(crate) admin: Vec<Listener>,
}

impl Inherited {
    pub(crate) fn take() -> io::Result<Self> {
        let sockets = Listener::inherited()?;
        let (admin, listen) =
            sockets.into_iter().partition(|socket| socket.name() == Some("admin"));
        Ok(Self { listen, admin })
    }

    /// A socket that no option asks for has clients that wait.
    pub(crate) fn warn_of_unused(&self, listen: &Listen, admin: Option<&Listen>) {
        let unused = [
            (&self.listen, "listen", *listen == Listen::Inherited),
            (&self.admin, "admin", admin == Some(&Listen::Inherited)),
        ];
        for (sockets, option, used) in unused {
            for socket in sockets.iter().filter(|_| !used) {
                let endpoint = socket.endpoint();
                tracing::warn!(%endpoint, "the service manager's socket is unused; {option} is not inherited");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_host_and_port_or_is_a_path() {
        for text in ["127.0.0.1:3000", "[::1]:0", "example:80", "unix:/run/a.sock", "inherited"] {
            assert_eq!(text.parse::<Listen>().expect("an address").to_string(), text);
        }
        for text in ["", "3000", ":3000", "localhost", "a:b", "a:65536", "unix:"] {
            assert!(text.parse::<Listen>().is_err(), "{text:?}");
        }
    }
}
