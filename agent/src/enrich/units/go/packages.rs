//! Whose code a function is, by its name.
//!
//! In: a name from Go's table of functions. Out: [`Owner`]. Always holds: a package of the standard library is known by the first element of its
//! path, which no other module may have (cmd/go: "import path does not begin with hostname"). Refuses: nothing; what is not known is the
//! program's own.

/// Whose code it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The standard library's, or made by the linker.
    Standard,
    /// The program's, or a module's.
    Program,
    /// A module's that keeps requests in a queue behind a lock: who waits on nothing is given other requests' work.
    LockedQueue,
    /// A module's whose one goroutine reads the requests of many connections.
    Loop,
}

/// First elements of the paths of Go 1.26's standard library; `vendor` is its own.
const STANDARD: &[&str] = &[
    "archive",
    "bufio",
    "bytes",
    "cmp",
    "compress",
    "container",
    "context",
    "crypto",
    "database",
    "debug",
    "embed",
    "encoding",
    "errors",
    "expvar",
    "flag",
    "fmt",
    "go",
    "hash",
    "html",
    "image",
    "index",
    "internal",
    "io",
    "iter",
    "log",
    "maps",
    "math",
    "mime",
    "net",
    "os",
    "path",
    "plugin",
    "reflect",
    "regexp",
    "runtime",
    "slices",
    "sort",
    "strconv",
    "strings",
    "structs",
    "sync",
    "syscall",
    "testing",
    "text",
    "time",
    "unicode",
    "unique",
    "unsafe",
    "vendor",
    "weak",
];

/// Modules, each seen in its source: gopool's workers and pond's take the next task from a list under a mutex, without a wait.
const LOCKED_QUEUES: &[&[u8]] = &[
    b"github.com/bytedance/gopkg/util/gopool.",
    b"github.com/alitto/pond/v2",
];

/// Their goroutines wait with epoll themselves.
const LOOPS: &[&[u8]] = &[
    b"github.com/cloudwego/netpoll",
    b"github.com/panjf2000/gnet",
    b"github.com/tidwall/evio",
    b"github.com/lesismal/nbio",
];

/// The owner of the function `name`.
pub(super) fn owner(name: &[u8]) -> Owner {
    let any = |of: &[&[u8]]| of.iter().any(|prefix| name.starts_with(prefix));
    if any(LOCKED_QUEUES) {
        return Owner::LockedQueue;
    }
    if any(LOOPS) {
        return Owner::Loop;
    }
    // "net/http.(*Request).write", "main.main.func1", "type:.eq.…", "go.shape…", "_cgo_…"
    let end = name
        .iter()
        .position(|byte| matches!(byte, b'/' | b'.' | b':' | b'('))
        .unwrap_or(name.len());
    let (first, rest) = name.split_at_checked(end).unwrap_or((name, b""));
    let is_linkers = rest.first() == Some(&b':') || first.is_empty() || first.starts_with(b"_");
    // A host's name has a dot before the first slash.
    let slash = name.iter().position(|byte| *byte == b'/');
    let is_host = rest.first() == Some(&b'.')
        && slash.is_some_and(|slash| {
            // … but so has a method or a type parameter of a package without one.
            name.get(..slash)
                .is_some_and(|host| !host.iter().any(|byte| matches!(byte, b'(' | b'[' | b'*')))
        });
    if is_linkers {
        return Owner::Standard;
    }
    let is_standard = !is_host && STANDARD.iter().any(|known| known.as_bytes() == first);
    if is_standard {
        Owner::Standard
    } else {
        Owner::Program
    }
}

#[cfg(test)]
mod tests {
    use super::{Owner, owner};

    #[test]
    fn names_tell_whose_code_it_is() {
        for (name, expect) in [
            ("net/http.(*persistConn).writeLoop", Owner::Standard),
            ("runtime.newproc1", Owner::Standard),
            ("time.Sleep", Owner::Standard),
            (
                "slices.SortFunc[go.shape.[]github.com/x/y.T]",
                Owner::Standard,
            ),
            ("sync.(*Map).Load", Owner::Standard),
            ("vendor/golang.org/x/net/http/httpguts.x", Owner::Standard),
            ("type:.eq.main.T", Owner::Standard),
            ("_cgo_topofstack", Owner::Standard),
            ("main.main.func1", Owner::Program),
            ("main.(*T[net/http.Client]).Run", Owner::Program),
            ("github.com/x/y.(*Pool).work", Owner::Program),
            (
                "golang.org/x/sync/errgroup.(*Group).Go.func1",
                Owner::Program,
            ),
            ("net.example/log.Print", Owner::Program),
            ("shop/internal/cart.Add", Owner::Program),
            (
                "github.com/bytedance/gopkg/util/gopool.(*worker).run.func1",
                Owner::LockedQueue,
            ),
            (
                "github.com/cloudwego/netpoll.(*defaultPoll).Wait",
                Owner::Loop,
            ),
        ] {
            assert_eq!(owner(name.as_bytes()), expect, "{name}");
        }
    }
}
