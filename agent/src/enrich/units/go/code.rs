//! Instructions of x86-64 that a place for a uprobe is found by.
//!
//! In: the bytes of one function. Out: the offset of an instruction in it. Always holds: a call is recognised by its whole target, a function's
//! beginning by all bytes of what Go's compiler puts there; anything else is not found. Refuses: a target that is called more than once.

/// `call rel32`.
const CALL: u8 = 0xe8;
/// Its length.
pub(super) const CALL_LEN: usize = 5;

/// All that may be calls in `code`, whose first byte is at the address `at`: offset and target. Bytes inside of other instructions are
/// among them; with their targets they are no function's beginning but by a chance of one in four thousand million.
pub(super) fn calls(code: &[u8], at: u64) -> impl Iterator<Item = (usize, u64)> {
    memchr::memchr_iter(CALL, code).filter_map(move |offset| {
        let distance = code.get(offset + 1..)?.first_chunk::<4>()?;
        let behind = at.wrapping_add((offset + CALL_LEN) as u64);
        let target = behind.wrapping_add_signed(i64::from(i32::from_le_bytes(*distance)));
        Some((offset, target))
    })
}

/// The one call of `target` in `code`, whose first byte is at the address `at`.
pub(super) fn only_call(code: &[u8], at: u64, target: u64) -> Option<usize> {
    let mut calls = calls(code, at).filter(|(_, to)| *to == target);
    let (offset, _) = calls.next()?;
    calls.next().is_none().then_some(offset)
}

/// The jump at the end of the check for room on the stack with which a function begins: `cmp rsp, [r14+16]; jbe`, or for larger frames
/// `lea r12, [rsp-SIZE]; cmp r12, [r14+16]; jbe` (cmd/internal/obj/x86: `stacksplit`; the same in Go 1.18 to 1.26).
pub(super) fn stack_check(code: &[u8]) -> Option<usize> {
    const SMALL: &[u8] = &[0x49, 0x3b, 0x66, 0x10];
    const LARGE: &[u8] = &[0x4d, 0x3b, 0x66, 0x10];
    const LEA_BYTE: &[u8] = &[0x4c, 0x8d, 0x64, 0x24];
    const LEA_WORD: &[u8] = &[0x4c, 0x8d, 0xa4, 0x24];
    let begins = |at: usize, with: &[u8]| code.get(at..).is_some_and(|rest| rest.starts_with(with));
    let jump = if begins(0, SMALL) {
        SMALL.len()
    } else if begins(0, LEA_BYTE) && begins(5, LARGE) {
        5 + LARGE.len()
    } else if begins(0, LEA_WORD) && begins(8, LARGE) {
        8 + LARGE.len()
    } else {
        return None;
    };
    (begins(jump, &[0x76]) || begins(jump, &[0x0f, 0x86])).then_some(jump)
}

#[cfg(test)]
mod tests {
    use super::{only_call, stack_check};

    #[test]
    fn a_call_is_found_by_its_target_and_only_when_it_is_the_only_one() {
        // nop; call +0 (to 0x1006); nop; call -6 (to 0x1006)
        let code = [0x90, 0xe8, 0, 0, 0, 0, 0x90, 0xe8, 0xfa, 0xff, 0xff, 0xff];
        assert_eq!(only_call(&code[..7], 0x1000, 0x1006), Some(1));
        assert_eq!(only_call(&code[..7], 0x1000, 0x1007), None);
        assert_eq!(only_call(&code, 0x1000, 0x1006), None);
        assert_eq!(only_call(&[0xe8, 0, 0], 0, 5), None);
        // Addresses wrap, whatever the file claims.
        assert_eq!(only_call(&[0xe8, 0, 0, 0, 0], u64::MAX, 4), Some(0));
    }

    #[test]
    fn the_stack_check_is_found_in_each_of_its_forms() {
        let cases: &[(&[u8], Option<usize>)] = &[
            (&[0x49, 0x3b, 0x66, 0x10, 0x76, 0x20, 0x55], Some(4)),
            (&[0x49, 0x3b, 0x66, 0x10, 0x0f, 0x86, 1, 0, 0, 0], Some(4)),
            (
                &[
                    0x4c, 0x8d, 0x64, 0x24, 0xc8, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86,
                ],
                Some(9),
            ),
            (
                &[
                    0x4c, 0x8d, 0xa4, 0x24, 0xd0, 0xfd, 0xff, 0xff, 0x4d, 0x3b, 0x66, 0x10, 0x76,
                ],
                Some(12),
            ),
            (&[0x49, 0x3b, 0x66, 0x10], None),
            (&[0x49, 0x3b, 0x66, 0x10, 0x75, 0x20], None),
            (&[0x55, 0x48, 0x89, 0xe5], None),
            (&[], None),
        ];
        for (code, expect) in cases {
            assert_eq!(stack_check(code), *expect, "{code:x?}");
        }
    }
}
