//! Networks by name or by address.
//!
//! In: a word of a list of destinations. Out: networks, IPv4 as IPv4-mapped IPv6. Always holds: a prefix covers no more than it
//! says. Refuses: what is neither a known word nor an address with an optional prefix length.

use std::net::IpAddr;

use crate::attach::carriers::Network;

/// Words that stand for several networks.
const NAMED: &[(&str, &[&str])] = &[
    ("loopback", &["127.0.0.0/8", "::1/128"]),
    // RFC 1918, shared and link-local addresses (RFC 6598, RFC 3927), and IPv6's unique local and link-local ones.
    (
        "private",
        &[
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ],
    ),
    ("any", &["0.0.0.0/0", "::/0"]),
];

/// The networks of the default: nobody outside of the user's own ones.
pub(super) fn default() -> Vec<Network> {
    ["loopback", "private"]
        .into_iter()
        .flat_map(|word| parse(word).unwrap_or_default())
        .collect()
}

/// The networks a word stands for.
///
/// # Errors
/// A sentence with what is allowed.
pub(super) fn parse(word: &str) -> Result<Vec<Network>, String> {
    if let Some((_, networks)) = NAMED.iter().find(|(name, _)| *name == word) {
        return networks.iter().map(|text| network(text)).collect();
    }
    Ok(vec![network(word)?])
}

fn network(text: &str) -> Result<Network, String> {
    let refused = || {
        format!(
            "`{text}` is no destination; allowed: loopback, private, any, an address, or a network such as 10.1.0.0/16"
        )
    };
    let (addr, bits) = match text.split_once('/') {
        Some((addr, bits)) => (addr, Some(bits.parse::<u32>().map_err(|_| refused())?)),
        None => (text, None),
    };
    let (addr, most, before) = match addr.parse::<IpAddr>().map_err(|_| refused())? {
        IpAddr::V4(addr) => (addr.to_ipv6_mapped().octets(), 32, 96),
        IpAddr::V6(addr) => (addr.octets(), 128, 0),
    };
    let bits = bits.unwrap_or(most);
    if bits > most {
        return Err(refused());
    }
    Ok(Network {
        addr,
        bits: before + bits,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::{Network, default, parse};

    #[test]
    fn addresses_networks_and_words() {
        let mapped = |last: [u8; 4]| {
            let mut addr = [0; 16];
            addr[10..12].fill(0xff);
            addr[12..].copy_from_slice(&last);
            addr
        };
        for (text, addr, bits) in [
            ("10.1.0.0/16", mapped([10, 1, 0, 0]), 112),
            ("192.0.2.7", mapped([192, 0, 2, 7]), 128),
            ("0.0.0.0/0", mapped([0; 4]), 96),
            ("::/0", [0; 16], 0),
        ] {
            assert_eq!(parse(text).unwrap(), [Network { addr, bits }], "{text}");
        }
        assert_eq!(parse("any").unwrap().len(), 2);
        assert_eq!(default().len(), 9);
    }

    #[test]
    fn what_is_no_destination_is_refused() {
        for text in [
            "",
            "everything",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/x",
        ] {
            assert!(
                parse(text).unwrap_err().contains("is no destination"),
                "{text}"
            );
        }
    }
}
