//! What stands in `Host` and in `Origin`.

use std::str::FromStr;

use hyper::http::uri;

/// A name or an address, and a port if one is said: `jobs.example.com`, `[::1]:8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// In small letters; an address of IPv6 in brackets.
    host: String,
    port: Option<u16>,
}

/// Where a page comes from: `https://chat.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin {
    scheme: String,
    host: String,
    port: u16,
}

/// A text that is no [`Authority`] or no [`WebOrigin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoName;

impl Authority {
    /// Whether who says `called` means this. Where no port is said here, any does.
    pub fn is(&self, called: &Self) -> bool {
        self.host == called.host && self.port.is_none_or(|port| called.port == Some(port))
    }
}

impl FromStr for Authority {
    type Err = NoName;

    /// Nothing but a host and a number: `user@host` and `host:name`, which pass as authorities elsewhere, are none.
    fn from_str(text: &str) -> Result<Self, NoName> {
        let authority: uri::Authority = text.parse().map_err(|_| NoName)?;
        let host = authority.host();
        let port = match text.strip_prefix(host).ok_or(NoName)? {
            _ if host.is_empty() => return Err(NoName),
            "" => None,
            port => Some(number(port.strip_prefix(':').ok_or(NoName)?)?),
        };
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

fn number(text: &str) -> Result<u16, NoName> {
    // `parse` takes a sign.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or(NoName)
}

impl FromStr for WebOrigin {
    type Err = NoName;

    /// As browsers write it: a scheme, a host, and the port unless it is the usual one of `http` or `https`.
    fn from_str(text: &str) -> Result<Self, NoName> {
        let (scheme, authority) = text.split_once("://").ok_or(NoName)?;
        let Authority { host, port } = authority.parse()?;
        let port = match (scheme, port) {
            (_, Some(port)) => port,
            ("http", None) => 80,
            ("https", None) => 443,
            _ => return Err(NoName),
        };
        Ok(Self { scheme: scheme.to_owned(), host, port })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("jobs.example.com", "jobs.example.com", true)]
    #[case("jobs.example.com", "JOBS.example.com:80", true)]
    #[case("jobs.example.com:80", "jobs.example.com:80", true)]
    #[case("jobs.example.com:80", "jobs.example.com", false)]
    #[case("jobs.example.com:80", "jobs.example.com:81", false)]
    #[case("[::1]", "[::1]:80", true)]
    #[case("localhost", "localhost.", false)]
    #[case("localhost", "localhost.example.com", false)]
    fn a_name(#[case] own: &str, #[case] called: &str, #[case] is_it: bool) {
        assert_eq!(own.parse::<Authority>().unwrap().is(&called.parse().unwrap()), is_it);
    }

    #[rstest]
    fn no_name(
        #[values(
            "", ":80", "a:", "a:b", "a:+80", "a:99999", "u@a", "a@a", "a:1@a", "a:u@a", "@a", "a/", "a/b", "a b", "http://a",
            "a?b", "a#b", "::1", "[::1", "[::1]80"
        )]
        text: &str,
    ) {
        assert_eq!(text.parse::<Authority>(), Err(NoName));
    }

    #[rstest]
    #[case("http://a", "http://A:80", true)]
    #[case("https://a", "https://a:443", true)]
    #[case("https://a", "http://a", false)]
    #[case("https://a", "https://a:80", false)]
    #[case("x://a:1", "x://a:1", true)]
    fn an_origin(#[case] own: &str, #[case] named: &str, #[case] is_same: bool) {
        assert_eq!(own.parse::<WebOrigin>().unwrap() == named.parse().unwrap(), is_same);
    }

    #[rstest]
    fn no_origin(
        #[values(
            "",
            "null",
            "a",
            "http://",
            "http:a",
            "http://u@a",
            "http://a/",
            "http://a:80/",
            "http://a, http://b",
            "x://a",
            "*"
        )]
        text: &str,
    ) {
        assert_eq!(text.parse::<WebOrigin>(), Err(NoName));
    }
}
