//! Where a runner is: `host:port`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ::http::HeaderValue;

/// Where a runner is: a name, an IPv4 address or a bracketed IPv6 address, and a port.
///
/// A name is looked up whenever a connection is made, so that it may come to mean another machine.
///
/// ```
/// use runpool::runner::http::RunnerAddress;
/// let address: RunnerAddress = "[::1]:9001".parse().unwrap();
/// assert_eq!((address.host(), address.port()), ("::1", 9001));
/// assert!("9001".parse::<RunnerAddress>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerAddress {
    text: String,
    host: String,
    port: u16,
    /// The host, if it is no name.
    ip: Option<IpAddr>,
    header: HeaderValue,
}

/// The text is no address of a runner.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{text}` is not the address of a runner: {why}; expected `host:port`, such as \"127.0.0.1:9001\", \"[::1]:9001\" or \"runner-1:9001\""
)]
pub struct InvalidAddress {
    text: String,
    why: &'static str,
}

/// The longest name (RFC 1035 section 2.3.4, as text).
const LONGEST_NAME: usize = 253;

impl RunnerAddress {
    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name in lower case, or the IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; never 0.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Where to connect without looking anything up; `None` for a name.
    pub(super) fn socket_address(&self) -> Option<SocketAddr> {
        self.ip.map(|ip| SocketAddr::new(ip, self.port))
    }

    /// The address as the value of a `Host` header.
    pub(super) const fn header(&self) -> &HeaderValue {
        &self.header
    }
}

impl fmt::Display for RunnerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RunnerAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let wrong = |why| InvalidAddress { text: text.to_owned(), why };
        if text.contains("://") {
            return Err(wrong("it is a URL"));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("it has no port"))?;
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong("its port is not a number"));
        }
        let port: u16 = port.parse().map_err(|_| wrong("its port is above 65535"))?;
        if port == 0 {
            return Err(wrong("its port is 0"));
        }
        let host = if let Some(bracketed) = host.strip_prefix('[') {
            let inner = bracketed.strip_suffix(']').ok_or_else(|| wrong("a bracket is not closed"))?;
            let ip: Ipv6Addr = inner.parse().map_err(|_| wrong("what is in brackets is not an IPv6 address"))?;
            ip.to_string()
        } else {
            name_or_ipv4(host).map_err(wrong)?
        };
        let header = HeaderValue::from_str(text).map_err(|_| wrong("it has characters that no host has"))?;
        let ip = host.parse().ok();
        Ok(Self { text: text.to_owned(), host, port, ip, header })
    }
}

fn name_or_ipv4(host: &str) -> Result<String, &'static str> {
    if host.is_empty() {
        return Err("it has no host");
    }
    if host.contains(':') {
        return Err("an IPv6 address needs brackets");
    }
    if host.len() > LONGEST_NAME {
        return Err("its host is longer than 253 characters");
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')) {
        return Err("it has characters that no host has");
    }
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        let ip: Ipv4Addr = host.parse().map_err(|_| "its host is not an IPv4 address")?;
        return Ok(ip.to_string());
    }
    Ok(host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_both_kinds_of_ip_addresses_are_addresses() {
        for (text, host, port) in [
            ("127.0.0.1:9001", "127.0.0.1", 9001),
            ("[::1]:80", "::1", 80),
            ("Runner-1.example:65535", "runner-1.example", 65535),
            ("my_runner:1", "my_runner", 1),
        ] {
            let address: RunnerAddress = text.parse().unwrap();
            assert_eq!((address.host(), address.port(), address.as_str()), (host, port, text));
        }
    }

    #[test]
    fn a_wrong_address_is_named_with_what_is_wrong_and_what_was_expected() {
        for (text, why) in [
            ("", "it has no port"),
            ("localhost", "it has no port"),
            (":9001", "it has no host"),
            ("localhost:", "its port is not a number"),
            ("localhost:+1", "its port is not a number"),
            ("localhost:http", "its port is not a number"),
            ("localhost:65536", "its port is above 65535"),
            ("localhost:0", "its port is 0"),
            ("::1:9001", "an IPv6 address needs brackets"),
            ("[::1:9001", "a bracket is not closed"),
            ("[localhost]:9001", "what is in brackets is not an IPv6 address"),
            ("127.0.0.256:9001", "its host is not an IPv4 address"),
            ("http://localhost:9001", "it is a URL"),
            ("a b:9001", "it has characters that no host has"),
            ("naïve:9001", "it has characters that no host has"),
        ] {
            let error = text.parse::<RunnerAddress>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{text}` is not the address of a runner: {why}; expected `host:port`")),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".*") {
            let _ = text.parse::<RunnerAddress>();
        }
    }
}
