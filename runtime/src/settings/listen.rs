//! Addresses to listen on, in Kong's notation: `0.0.0.0:8000, [::]:8443 ssl`, or `off`.

use std::net::SocketAddr;

/// One address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether connections speak TLS.
    pub tls: bool,
}

impl Listen {
    /// `address:port`, then flags. Flags of Kong's that this version does not honour are refused by name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let address = words.next().unwrap_or_default();
        let address = address.parse().map_err(|_| {
            format!(
                "`{address}` is not an address: write IP:PORT, as in 127.0.0.1:8001 or [::1]:8001 (host names are not resolved)"
            )
        })?;
        let mut tls = false;
        for word in words {
            match word {
                "ssl" => tls = true,
                // Every worker has its own socket with SO_REUSEPORT in any case: asking for it changes nothing.
                "reuseport" => {}
                "http2" => return Err("`http2`: HTTP/2 is not in this version".to_owned()),
                "proxy_protocol" => return Err("`proxy_protocol`: the PROXY protocol is not in this version".to_owned()),
                other => return Err(format!("`{other}` is not a flag of an address; there is `ssl`")),
            }
        }
        Ok(Self { address, tls })
    }
    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.address.ip().is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (text, part) in [
            ("localhost:8000", "not an address"),
            ("0.0.0.0", "not an address"),
            ("", "not an address"),
            ("0.0.0.0:8000 http2", "HTTP/2 is not in this version"),
            ("0.0.0.0:8000 proxy_protocol", "PROXY"),
            ("0.0.0.0:8000 tls", "`tls` is not a flag"),
        ] {
            let reason = Listen::parse(text).expect_err(text);
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }

    #[test]
    fn addresses_are_read_with_their_flags() {
        assert_eq!(Listen::parse("[::1]:0 ssl").map(|l| (l.address.to_string(), l.tls)), Ok(("[::1]:0".to_owned(), true)));
        assert!(Listen::parse("127.0.0.1:8001 reuseport").is_ok_and(|l| l.is_loopback() && !l.tls));
    }
}
