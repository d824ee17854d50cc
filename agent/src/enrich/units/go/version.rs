//! Which Go built a program, and what of the runtime's structs depends on it.
//!
//! In: the bytes of `.go.buildinfo`. Out: the release, and a row of [`LAYOUTS`]. Always holds: the section is read as Go 1.18 and later write it
//! (debug/buildinfo: the version's text stands in the section itself). Refuses: older forms, whose strings are behind pointers.

/// Bytes before the first string.
const HEAD: usize = 32;
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Flag: strings follow the head.
const INLINE: u8 = 2;

/// What depends on the release. Offsets are those of DWARF, read with gdb from a program built by each release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// First and last minor release of Go 1.
    releases: (u32, u32),
    /// `m` in a `runtime.g`.
    pub(super) g_m: u32,
    /// `curg` in a `runtime.m`.
    pub(super) m_curg: u32,
}

/// 1.25 took `ret` out of `gobuf`, which lies before `curg`.
const LAYOUTS: &[Layout] = &[
    Layout {
        releases: (18, 24),
        g_m: 48,
        m_curg: 192,
    },
    Layout {
        releases: (25, 26),
        g_m: 48,
        m_curg: 184,
    },
];

/// The row for a minor release of Go 1.
pub(super) fn layout(minor: u32) -> Option<Layout> {
    LAYOUTS
        .iter()
        .find(|layout| (layout.releases.0..=layout.releases.1).contains(&minor))
        .copied()
}

/// The minor release of Go 1 in a section `.go.buildinfo`.
pub(super) fn minor(section: &[u8]) -> Option<u32> {
    let head = section.get(..HEAD)?;
    if !head.starts_with(MAGIC) || head.get(MAGIC.len() + 1)? & INLINE == 0 {
        return None;
    }
    // A varint; versions are shorter than 128 bytes.
    let (length, rest) = section.get(HEAD..)?.split_first()?;
    let text = std::str::from_utf8(rest.get(..usize::from(*length & 0x7f))?).ok()?;
    // "go1.26.8", "go1.22rc1", "go1.21.0 X:boringcrypto", "devel go1.27-1a2b3c …"
    let release = text.strip_prefix("devel ").unwrap_or(text);
    let minor = release.strip_prefix("go1.")?;
    let digits = minor.find(|c: char| !c.is_ascii_digit());
    minor.get(..digits.unwrap_or(minor.len()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{INLINE, MAGIC, layout, minor};

    #[test]
    fn the_release_is_read_from_what_the_linker_writes() {
        let section = |flags: u8, text: &str| {
            let mut bytes = MAGIC.to_vec();
            bytes.extend([8, flags]);
            bytes.resize(32, 0);
            bytes.push(text.len() as u8);
            bytes.extend(text.as_bytes());
            bytes
        };
        for (text, expect) in [
            ("go1.26.8", Some(26)),
            ("go1.18", Some(18)),
            ("go1.22rc1", Some(22)),
            ("go1.21.0 X:boringcrypto", Some(21)),
            (
                "devel go1.27-1a2b3c4d Mon Jan 1 00:00:00 2026 +0000",
                Some(27),
            ),
            ("go2.1", None),
            ("", None),
        ] {
            assert_eq!(minor(&section(INLINE, text)), expect, "{text}");
        }
        assert_eq!(minor(&section(0, "go1.17")), None);
        let whole = section(INLINE, "go1.26.8");
        for cut in 0..whole.len() {
            assert_eq!(minor(&whole[..cut]), None);
        }
        assert_eq!(minor(&[0xff; 80]), None);
    }

    #[test]
    fn releases_that_were_not_looked_at_have_no_layout() {
        assert_eq!(layout(17), None);
        assert_eq!(layout(27), None);
        assert_eq!(layout(24).map(|known| known.m_curg), Some(192));
        assert_eq!(layout(25).map(|known| known.m_curg), Some(184));
    }
}
