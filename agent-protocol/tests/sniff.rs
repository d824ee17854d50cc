//! First bytes and what they are taken for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use agent_protocol::sniff::{Protocol, Token, protocol_of, token_of};

fn check(bytes: &[u8], expect: Option<Token>) {
    assert_eq!(
        token_of(bytes),
        expect,
        "{:?}",
        bytes.escape_ascii().to_string()
    );
    assert_eq!(protocol_of(bytes), expect.map(Token::protocol));
}

#[test]
fn requests() {
    for bytes in [
        "GET / HTTP/1.1\r\n",
        "GET",
        "G",
        "GET ",
        "POST /",
        "OPTIONS * HTTP/1.1",
        "GET http://h/",
        "CONNECT h:443",
        "CONNECT [::1]:1",
        "CONNECT 10.0.0.1:1",
        "VERSION-CONTROL /",
        "HEAD /",
        "PROPFIN",
    ] {
        check(bytes.as_bytes(), Some(Token::Request));
    }
    for bytes in [
        "",
        "X",
        "XX",
        "get / HTTP/1.1",
        "GE /",
        "GET x",
        "PING\r\n",
        "GET\r\n",
        "*1\r\n$4\r\nPING\r\n",
        "SSH-2.0-OpenSSH",
        "GET 10.0.0.1",
        "PROPFINDS",
        "CONNECT {\"verbose\":false}\r\n",
        " GET /",
        "\0\0\0\x08",
        "EHLO mail.example.org",
    ] {
        check(bytes.as_bytes(), None);
    }
    assert_eq!(protocol_of(b"GET / HTTP/1.1\r\n"), Some(Protocol::Http1));
}

#[test]
fn responses() {
    check(b"HTTP/1.1 200 OK\r\n", Some(Token::Response));
    check(b"HTTP/1.0 404", Some(Token::Response));
    check(b"HTTP/1.1 100 Continue\r\n", Some(Token::Interim));
    check(b"HTTP/1.1 ", Some(Token::Response));
    check(b"HT", Some(Token::Response));
    check(b"HTTP/2 200 OK\r\n", None);
    check(b"HTML/1.1 200\r\n", None);
}

#[test]
fn fastcgi_records() {
    check(
        b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0",
        Some(Token::FastCgiRequest),
    );
    check(b"\x01\x06\0\x01\x01\0\x06\0", Some(Token::FastCgiResponse));
    check(b"\x01\x07\0\x01\x01\0\0\0", Some(Token::FastCgiResponse));
    check(b"\x01\x03\0\x01\0\x08\0\0", Some(Token::FastCgiResponse));
    check(b"\x01\x01\0\x01\0\x09\0\0", None);
    check(b"\x01\x04\0\x01\0\x08\0\0", None);
    check(b"\x01\x06\0\x01\x01\0\x06\x01", None);
    check(b"\x01\x06\0\x01\x01\0\x06", None);
    check(b"\x02\x01\0\x01\0\x08\0\0", None);
}
