//! Which addresses an image may be fetched from.
//!
//! Image addresses come from strangers. Without a guard, one that points at the cluster's own services or at a cloud's metadata address would
//! be fetched from inside. So only public addresses are fetched, and the check is made on the address that is connected to, after the name
//! was looked up. The one exception is the profile source itself, which the platform's owner named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Origin, Url};

/// A name that leads to no public address.
#[derive(Debug, thiserror::Error)]
#[error("{0} leads to no public address")]
pub struct NotPublic(String);

/// Resolves names to their public addresses alone.
#[derive(Debug, Clone, Copy)]
pub struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NotPublic(name.as_str().to_owned()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// How an address is to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// As it is: it is the profile source.
    Trusted,
    /// Through [`PublicOnly`].
    Guarded,
    /// Not at all.
    Refused,
}

/// Decides about addresses.
#[derive(Debug, Clone)]
pub struct Guard {
    trusted: Option<Origin>,
}

impl Guard {
    /// A guard that trusts the profile source at `endpoint`: its scheme, host and port together.
    pub fn new(endpoint: Option<&str>) -> Self {
        Self { trusted: endpoint.and_then(|endpoint| Url::parse(endpoint).ok()).map(|url| url.origin()) }
    }

    pub fn passage(&self, url: &Url) -> Passage {
        if !matches!(url.scheme(), "http" | "https") {
            return Passage::Refused;
        }
        if self.trusted.as_ref() == Some(&url.origin()) {
            return Passage::Trusted;
        }
        // A numeric host is connected to without a look-up.
        let public = match url.host() {
            None => false,
            Some(Host::Domain(_)) => true,
            Some(Host::Ipv4(address)) => is_public(address.into()),
            Some(Host::Ipv6(address)) => is_public(address.into()),
        };
        if public { Passage::Guarded } else { Passage::Refused }
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_public_v4(mapped),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation();
    let shared = a == 100 && (64..128).contains(&b);
    let protocol = (a, b, c) == (192, 0, 0);
    let benchmark = a == 198 && (18..20).contains(&b);
    !(special || shared || protocol || benchmark || a == 0 || a >= 240)
}

/// Global unicast, less documentation and the ranges that only wrap an IPv4 address.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let global = first & 0xe000 == 0x2000;
    let documentation = (first == 0x2001 && second == 0x0db8) || first & 0xfff0 == 0x3ff0;
    let wrapped = first == 0x2002 || (first == 0x2001 && second == 0);
    global && !documentation && !wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(guard: &Guard, url: &str) -> Passage {
        guard.passage(&Url::parse(url).expect("an address"))
    }

    #[test]
    fn inner_addresses_are_refused_however_they_are_written() {
        let guard = Guard::new(Some("http://198.18.0.7:8080"));
        for url in [
            "http://127.0.0.1/x",
            "http://127.1/x",
            "http://2130706433/x",
            "http://0x7f.0.0.1/",
            "http://0.0.0.0/",
            "http://10.0.0.8/",
            "http://172.16.3.4/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1/",
            "http://198.18.0.1/",
            "http://198.18.0.7/",
            "http://198.18.0.7:5432/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "ftp://example.com/",
            "file:///etc/passwd",
        ] {
            assert_eq!(passage(&guard, url), Passage::Refused, "{url}");
        }
    }

    #[test]
    fn public_addresses_are_guarded_and_the_profile_source_is_trusted() {
        let guard = Guard::new(Some("http://apify-stand-in"));
        for url in [
            "https://93.184.215.14/1.jpg",
            "https://[2606:2800:21f::1]/1.jpg",
            "https://cdn.example/1.jpg",
            "http://apify-stand-in:81/",
        ] {
            assert_eq!(passage(&guard, url), Passage::Guarded, "{url}");
        }
        assert_eq!(passage(&guard, "http://apify-stand-in:80/images/1.jpg"), Passage::Trusted);
        assert_eq!(passage(&Guard::new(None), "http://apify-stand-in/"), Passage::Guarded);
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_resolves_to_nothing() {
        let name: Name = "localhost".parse().expect("a name");
        assert!(PublicOnly.resolve(name).await.is_err());
    }
}
