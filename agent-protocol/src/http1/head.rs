//! Reads one head (RFC 9112 §2-5) with httparse.
//!
//! In: the bytes of a head, from its first line to its empty line, or whole lines of it. Out: its first line and its
//! headers, in place. Always holds: nothing is allocated for an ordinary head; what is unusual but served by real
//! servers (folded lines, more than 64 headers, bytes that are not UTF-8 in the target, invalid lines among valid
//! ones) is read on a second try over a copy no larger than three times the head.

use std::mem::MaybeUninit;

use httparse::{Error, Header, ParserConfig, Status};

use crate::http1::machine::NoHead;

/// Headers read without allocation.
const HEADERS: usize = 64;

/// First line and headers of a request.
pub(crate) struct RequestParts<'h, 'b> {
    pub(crate) method: &'b str,
    pub(crate) target: &'b str,
    pub(crate) minor: u8,
    pub(crate) headers: &'h [Header<'b>],
    pub(crate) len: usize,
}

/// First line and headers of a response.
pub(crate) struct ResponseParts<'h, 'b> {
    pub(crate) status: u16,
    pub(crate) minor: u8,
    pub(crate) headers: &'h [Header<'b>],
    pub(crate) len: usize,
}

/// Reads a request's head; `then` is called with it once. `quick`: only ordinary heads.
pub(crate) fn request<R>(
    bytes: &[u8],
    quick: bool,
    then: &mut dyn FnMut(RequestParts<'_, '_>) -> R,
) -> Result<R, NoHead> {
    let mut space = [const { MaybeUninit::uninit() }; HEADERS];
    match parse_request(&ParserConfig::default(), bytes, &mut space) {
        Ok(Some(parts)) => return Ok(then(parts)),
        _ if quick => return Err(NoHead::Bad),
        Ok(None) | Err(_) => {}
    }
    let copy = tolerable(bytes);
    let mut config = ParserConfig::default();
    config
        .ignore_invalid_headers_in_requests(true)
        .allow_multiple_spaces_in_request_line_delimiters(true);
    let mut space = vec![MaybeUninit::uninit(); lines(&copy)];
    match parse_request(&config, &copy, &mut space) {
        Ok(Some(parts)) => Ok(then(RequestParts {
            len: bytes.len(),
            ..parts
        })),
        Ok(None) => Err(NoHead::Partial),
        Err(_) => Err(NoHead::Bad),
    }
}

/// Reads a response's head; `then` is called with it once. `quick`: only ordinary heads.
pub(crate) fn response<R>(
    bytes: &[u8],
    quick: bool,
    then: &mut dyn FnMut(ResponseParts<'_, '_>) -> R,
) -> Result<R, NoHead> {
    let mut space = [const { MaybeUninit::uninit() }; HEADERS];
    match parse_response(&ParserConfig::default(), bytes, &mut space) {
        Ok(Some(parts)) => return Ok(then(parts)),
        _ if quick => return Err(NoHead::Bad),
        Ok(None) | Err(_) => {}
    }
    let copy = tolerable(bytes);
    let mut config = ParserConfig::default();
    config
        .ignore_invalid_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_multiple_spaces_in_response_status_delimiters(true);
    let mut space = vec![MaybeUninit::uninit(); lines(&copy)];
    match parse_response(&config, &copy, &mut space) {
        Ok(Some(parts)) => Ok(then(ResponseParts {
            len: bytes.len(),
            ..parts
        })),
        Ok(None) => Err(NoHead::Partial),
        Err(_) => Err(NoHead::Bad),
    }
}

fn parse_request<'h, 'b>(
    config: &ParserConfig,
    bytes: &'b [u8],
    space: &'h mut [MaybeUninit<Header<'b>>],
) -> Result<Option<RequestParts<'h, 'b>>, Error> {
    let mut request = httparse::Request::new(&mut []);
    let Status::Complete(len) =
        config.parse_request_with_uninit_headers(&mut request, bytes, space)?
    else {
        return Ok(None);
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Ok(None);
    };
    Ok(Some(RequestParts {
        method,
        target,
        minor,
        headers: request.headers,
        len,
    }))
}

fn parse_response<'h, 'b>(
    config: &ParserConfig,
    bytes: &'b [u8],
    space: &'h mut [MaybeUninit<Header<'b>>],
) -> Result<Option<ResponseParts<'h, 'b>>, Error> {
    let mut response = httparse::Response::new(&mut []);
    let Status::Complete(len) =
        config.parse_response_with_uninit_headers(&mut response, bytes, space)?
    else {
        return Ok(None);
    };
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Ok(None);
    };
    Ok(Some(ResponseParts {
        status,
        minor,
        headers: response.headers,
        len,
    }))
}

/// Upper bound of the headers in a head: its lines.
fn lines(head: &[u8]) -> usize {
    head.iter().filter(|&&byte| byte == b'\n').count()
}

/// A copy of a head that has its empty line, its folded lines joined (RFC 9112 §5.2: obs-fold means spaces) and its
/// first line made UTF-8.
fn tolerable(head: &[u8]) -> Vec<u8> {
    let first = head
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(head.len(), |at| at + 1);
    let (line, rest) = head.split_at(first);
    let mut copy = String::from_utf8_lossy(line).into_owned().into_bytes();
    let fold = copy.len();
    copy.extend_from_slice(rest);
    for at in fold..copy.len() {
        if copy[at] == b'\n' && matches!(copy.get(at + 1), Some(b' ' | b'\t')) {
            copy[at] = b' ';
            if at > fold && copy[at - 1] == b'\r' {
                copy[at - 1] = b' ';
            }
        }
    }
    if !copy.ends_with(b"\n\r\n") && !copy.ends_with(b"\n\n") {
        copy.extend_from_slice(b"\r\n");
    }
    copy
}

/// Whether a byte may stand in a token, such as a method or a header's name (RFC 9110 §5.6.2: tchar).
pub const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// A header's value as text, at most `max` bytes.
pub(crate) fn text(value: &[u8], max: usize) -> String {
    let cut = &value[..value.len().min(max)];
    let mut text = String::from_utf8_lossy(cut).into_owned();
    if text.len() > max {
        let at = (0..=max)
            .rev()
            .find(|&at| text.is_char_boundary(at))
            .unwrap_or(0);
        text.truncate(at);
    }
    text
}

/// Joins one more value of a list-valued header, at most `max + 1` bytes in all (so that too long can be told). An
/// empty value adds nothing.
pub(crate) fn join(list: &mut Option<String>, value: &[u8], max: usize) {
    if value.trim_ascii().is_empty() {
        return;
    }
    let list = list.get_or_insert_default();
    if !list.is_empty() {
        list.push(',');
    }
    let room = (max + 1).saturating_sub(list.len());
    list.push_str(&text(value, room));
}
