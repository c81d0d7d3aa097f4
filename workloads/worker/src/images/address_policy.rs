//! Which URLs images may be fetched from.
//!
//! Image URLs are untrusted input. Without this policy, a URL of a service inside the cluster or
//! of the cloud's metadata service would be fetched from inside (server-side request forgery).
//! Only public addresses are allowed. The check applies to the address that is connected to, after
//! name resolution. The profile source is the one exception, because the platform's owner
//! configured it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Origin, Url};

/// IPv4 ranges that are not public, from the IANA special-purpose address registry.
const NON_PUBLIC_V4: [Ipv4Net; 14] = [
    // This network.
    Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8),
    // Private use.
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    // Shared address space of carrier-grade NAT.
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
    // Loopback.
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local, among them the metadata services of clouds.
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    // IETF protocol assignments.
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation.
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 0), 24),
    // Benchmarking.
    Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15),
    // Multicast.
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved, and limited broadcast.
    Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The global unicast addresses of IPv6.
const GLOBAL_UNICAST_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Ranges of [`GLOBAL_UNICAST_V6`] that are not public.
const NON_PUBLIC_V6: [Ipv6Net; 4] = [
    // Documentation.
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    Ipv6Net::new_assert(Ipv6Addr::new(0x3ff0, 0, 0, 0, 0, 0, 0, 0), 12),
    // Teredo and 6to4 wrap an IPv4 address, which may be internal.
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32),
    Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
];

/// A name resolves to no public address.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no public address")]
pub struct NoPublicAddress(String);

/// A resolver that returns only public addresses.
#[derive(Debug, Clone, Copy)]
pub struct PublicResolver;

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NoPublicAddress(name.as_str().to_owned()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// How a URL may be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// From any address: it is the profile source.
    Trusted,
    /// From public addresses only, by [`PublicResolver`].
    Public,
    /// Not at all.
    Denied,
}

/// Decides how URLs may be fetched.
#[derive(Debug, Clone)]
pub struct AddressPolicy {
    trusted: Option<Origin>,
}

impl AddressPolicy {
    /// A policy that trusts the origin of `endpoint`: its scheme, host and port together.
    pub fn new(endpoint: Option<&str>) -> Self {
        Self { trusted: endpoint.and_then(|endpoint| Url::parse(endpoint).ok()).map(|url| url.origin()) }
    }

    /// How `url` may be fetched.
    pub fn access(&self, url: &Url) -> Access {
        if !matches!(url.scheme(), "http" | "https") {
            return Access::Denied;
        }
        if self.trusted.as_ref() == Some(&url.origin()) {
            return Access::Trusted;
        }
        // Names are checked by the resolver. Numeric hosts are connected to without one.
        let allowed = match url.host() {
            None => false,
            Some(Host::Domain(_)) => true,
            Some(Host::Ipv4(address)) => is_public(address.into()),
            Some(Host::Ipv6(address)) => is_public(address.into()),
        };
        if allowed { Access::Public } else { Access::Denied }
    }
}

fn is_public(address: IpAddr) -> bool {
    // An IPv4-mapped address is connected to over IPv4.
    match address.to_canonical() {
        IpAddr::V4(address) => !NON_PUBLIC_V4.iter().any(|range| range.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_UNICAST_V6.contains(&address) && !NON_PUBLIC_V6.iter().any(|range| range.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(policy: &AddressPolicy, url: &str) -> Access {
        policy.access(&Url::parse(url).expect("a URL"))
    }

    #[test]
    fn internal_addresses_are_denied_in_any_notation() {
        let policy = AddressPolicy::new(Some("http://198.18.0.7:8080"));
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
            assert_eq!(access(&policy, url), Access::Denied, "{url}");
        }
    }

    #[test]
    fn only_the_profile_source_is_trusted() {
        let policy = AddressPolicy::new(Some("http://apify-stand-in"));
        for url in [
            "https://93.184.215.14/1.jpg",
            "https://[2606:2800:21f::1]/1.jpg",
            "https://cdn.example/1.jpg",
            "http://apify-stand-in:81/",
        ] {
            assert_eq!(access(&policy, url), Access::Public, "{url}");
        }
        assert_eq!(access(&policy, "http://apify-stand-in:80/images/1.jpg"), Access::Trusted);
        assert_eq!(access(&AddressPolicy::new(None), "http://apify-stand-in/"), Access::Public);
    }

    #[tokio::test]
    async fn name_with_internal_addresses_does_not_resolve() {
        let name: Name = "localhost".parse().expect("a name");
        assert!(PublicResolver.resolve(name).await.is_err());
    }
}
