//! Every attribute key and every fixed attribute value of this crate's spans, once.
//!
//! In: nothing. Out: constants. Always holds: keys without `suture.` are those of OpenTelemetry's semantic
//! conventions 1.3x (pages "Semantic conventions for HTTP spans" and the attribute registry). Refuses: `http.route`,
//! which the conventions forbid to guess from a path: the template derived from a path is `url.template`, on both kinds.
//!
//! `error.type` on a server span whose status code is 5xx and on a client span whose status code is 4xx or 5xx is the
//! status code; otherwise, when an exchange failed, one of the `ERROR_*` values here.

/// `http.request.method`: a known method in capitals, or [`METHOD_OTHER`].
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
/// `http.request.method_original`: the method as sent, when it is not a known one.
pub const HTTP_REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
/// `http.request.resend_count`: which repetition of the same call this is, 1 for the second attempt.
pub const HTTP_REQUEST_RESEND_COUNT: &str = "http.request.resend_count";
/// `http.response.status_code`
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// `http.request.body.size`: bytes of the request's content on the wire.
pub const HTTP_REQUEST_BODY_SIZE: &str = "http.request.body.size";
/// `http.response.body.size`: bytes of the response's content on the wire.
pub const HTTP_RESPONSE_BODY_SIZE: &str = "http.response.body.size";
/// `url.scheme`: the scheme as observed on this connection.
pub const URL_SCHEME: &str = "url.scheme";
/// `url.path`
pub const URL_PATH: &str = "url.path";
/// `url.query`: by default with every value replaced by [`REDACTED`].
pub const URL_QUERY: &str = "url.query";
/// `url.full`: client spans; credentials and query values are replaced by [`REDACTED`].
pub const URL_FULL: &str = "url.full";
/// `url.template`: the path with its variable parts replaced.
pub const URL_TEMPLATE: &str = "url.template";
/// `server.address`: from the request's authority, else the socket.
pub const SERVER_ADDRESS: &str = "server.address";
/// `server.port`
pub const SERVER_PORT: &str = "server.port";
/// `client.address`: the socket's peer, on server spans.
pub const CLIENT_ADDRESS: &str = "client.address";
/// `network.peer.address`
pub const NETWORK_PEER_ADDRESS: &str = "network.peer.address";
/// `network.peer.port`
pub const NETWORK_PEER_PORT: &str = "network.peer.port";
/// `network.local.address`
pub const NETWORK_LOCAL_ADDRESS: &str = "network.local.address";
/// `network.local.port`
pub const NETWORK_LOCAL_PORT: &str = "network.local.port";
/// `network.transport`: `tcp` or `unix`.
pub const NETWORK_TRANSPORT: &str = "network.transport";
/// `network.protocol.name`: `http` or `fastcgi`.
pub const NETWORK_PROTOCOL_NAME: &str = "network.protocol.name";
/// `network.protocol.version`: `1.0` or `1.1`.
pub const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
/// `user_agent.original`
pub const USER_AGENT_ORIGINAL: &str = "user_agent.original";
/// `error.type`
pub const ERROR_TYPE: &str = "error.type";

/// `process.pid`
pub const PROCESS_PID: &str = "process.pid";
/// `process.executable.name`: here the program as the kernel names its thread, at most 15 bytes.
pub const PROCESS_EXECUTABLE_NAME: &str = "process.executable.name";
/// `process.exit.code`
pub const PROCESS_EXIT_CODE: &str = "process.exit.code";
/// On Resources: the systemd unit a process runs in.
pub const SUTURE_SYSTEMD_UNIT: &str = "suture.systemd.unit";
/// On Resources: the timer or path unit for which systemd began the process, or an ancestor.
pub const SUTURE_SYSTEMD_TRIGGER: &str = "suture.systemd.trigger";
/// Who began a command: `cron`, `crond`, `supercronic`, `systemd`.
pub const SUTURE_TICK_SCHEDULER: &str = "suture.tick.scheduler";

/// `messaging.system`
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// `messaging.operation.type`: [`SEND`] or [`PROCESS`].
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
/// `messaging.operation.name`: the protocol's own word.
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
/// `messaging.destination.name`
pub const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
/// `messaging.destination.template`: the name with its variable parts replaced.
pub const MESSAGING_DESTINATION_TEMPLATE: &str = "messaging.destination.template";
/// `messaging.destination.temporary`
pub const MESSAGING_DESTINATION_TEMPORARY: &str = "messaging.destination.temporary";
/// `messaging.destination.partition.id`
pub const MESSAGING_PARTITION: &str = "messaging.destination.partition.id";
/// `messaging.message.id`
pub const MESSAGING_MESSAGE_ID: &str = "messaging.message.id";
/// `messaging.message.conversation_id`
pub const MESSAGING_CONVERSATION_ID: &str = "messaging.message.conversation_id";
/// `messaging.message.body.size`
pub const MESSAGING_BODY_SIZE: &str = "messaging.message.body.size";
/// `messaging.batch.message_count`: messages that came in one answer.
pub const MESSAGING_BATCH_COUNT: &str = "messaging.batch.message_count";
/// `messaging.consumer.group.name`
pub const MESSAGING_CONSUMER_GROUP: &str = "messaging.consumer.group.name";
/// `messaging.kafka.offset`
pub const MESSAGING_KAFKA_OFFSET: &str = "messaging.kafka.offset";
/// `messaging.kafka.message.key`
pub const MESSAGING_KAFKA_KEY: &str = "messaging.kafka.message.key";
/// `aws.sqs.queue.url`
pub const AWS_SQS_QUEUE_URL: &str = "aws.sqs.queue.url";
/// Value of `messaging.operation.type`, and first word of the span's name: a message is put.
pub const SEND: &str = "send";
/// The same: it is worked on.
pub const PROCESS: &str = "process";
/// In the span's name, in place of a queue that one client made for itself.
pub const NAME_TEMPORARY: &str = "(temporary)";
/// The library whose job the message is, e.g. `celery`.
pub const SUTURE_JOB_SYSTEM: &str = "suture.job.system";
/// What is run: the task's, class' or actor's name.
pub const SUTURE_JOB_NAME: &str = "suture.job.name";
/// Attempts before this one.
pub const SUTURE_MESSAGING_RETRIES: &str = "suture.messaging.retries";
/// `true`: the broker had delivered the message before.
pub const SUTURE_MESSAGING_REDELIVERED: &str = "suture.messaging.redelivered";
/// `true`: the message was put aside for later.
pub const SUTURE_MESSAGING_DELAYED: &str = "suture.messaging.delayed";
/// Microseconds from the put to the delivery.
pub const SUTURE_MESSAGING_QUEUE_TIME: &str = "suture.messaging.queue_time_us";

/// Prefix of the keys made for request headers the user lists (`http.request.header.<key>`).
pub const HTTP_REQUEST_HEADER: &str = "http.request.header.";
/// Prefix of the keys made for response headers the user lists.
pub const HTTP_RESPONSE_HEADER: &str = "http.response.header.";

/// Why the span has the parent it has: `none`, `header`, `socket`, `thread`, `turn` (on every span).
pub const SUTURE_PARENT_EVIDENCE: &str = "suture.parent.evidence";
/// `true`: the request's head was longer than what was captured; attributes of the rest are missing.
pub const SUTURE_REQUEST_TRUNCATED: &str = "suture.request.truncated";
/// `true`: the response passed in a hole of the recording; status and sizes are missing.
pub const SUTURE_RESPONSE_UNSEEN: &str = "suture.response.unseen";
/// `true`: the exchange was still going on when the agent stopped or gave it up; its end is the last byte seen.
pub const SUTURE_UNFINISHED: &str = "suture.unfinished";
/// FastCGI: the script that was run (`SCRIPT_FILENAME`).
pub const SUTURE_FASTCGI_SCRIPT: &str = "suture.fastcgi.script";

/// On a link: why the two spans belong together, [`LINK_RETRY`], [`LINK_KEY`] or [`LINK_BATCH`].
pub const SUTURE_LINK_EVIDENCE: &str = "suture.link.evidence";
/// The other span is the attempt before.
pub const LINK_RETRY: &str = "retry";
/// The other span had the same correlation key first.
pub const LINK_KEY: &str = "key";
/// [`SUTURE_LINK_EVIDENCE`]: the call is for one of the messages that are linked so, which its thread took together.
pub const LINK_BATCH: &str = "batch";

/// Value of `http.request.method` for methods that are not known ones.
pub const METHOD_OTHER: &str = "_OTHER";
/// Span name in place of the method when it is [`METHOD_OTHER`].
pub const NAME_OTHER: &str = "HTTP";
/// Span name of a connection attempt that failed.
pub const NAME_CONNECT: &str = "connect";
/// What replaces a value that may be secret.
pub const REDACTED: &str = "REDACTED";

/// `error.type`: the peer did not accept the connection (ECONNREFUSED).
pub const ERROR_REFUSED: &str = "connection_refused";
/// `error.type`: the connection was reset by the peer (ECONNRESET).
pub const ERROR_RESET: &str = "connection_reset";
/// `error.type`: the connection was closed before the response was complete.
pub const ERROR_CLOSED: &str = "connection_closed";
/// `error.type`: the connection or its attempt timed out (ETIMEDOUT), or the client gave up waiting.
pub const ERROR_TIMEOUT: &str = "timeout";
/// `error.type`: no route to the host (EHOSTUNREACH).
pub const ERROR_HOST_UNREACHABLE: &str = "host_unreachable";
/// `error.type`: no route to the network (ENETUNREACH).
pub const ERROR_NETWORK_UNREACHABLE: &str = "network_unreachable";
/// `error.type`: the process ended while the exchange was open.
pub const ERROR_PROCESS_EXIT: &str = "process_exit";
/// `error.type`: FastCGI: the application refused the request (`protocolStatus`).
pub const ERROR_REFUSED_REQUEST: &str = "request_refused";
/// `error.type`: FastCGI: the application ended the request without a response.
pub const ERROR_NO_RESPONSE: &str = "no_response";
/// `error.type`: the broker refused a message; where it says why, that word stands in its place.
pub const ERROR_BROKER: &str = "broker_error";
/// `error.type`: the job failed.
pub const ERROR_JOB: &str = "job_failed";
/// `error.type`: the job was put again, or given to another worker, before this attempt said that it was done.
pub const ERROR_RETRIED: &str = "job_retried";
/// `error.type`: the consumer gave the message back to its queue.
pub const ERROR_REQUEUED: &str = "message_requeued";
/// `error.type`: the consumer refused the message for good.
pub const ERROR_REJECTED: &str = "message_rejected";
/// `error.type`: a command ended with a code other than 0.
pub const ERROR_EXIT_CODE: &str = "exit_code";
/// `error.type`: a signal ended a command, one without a name of its own here.
pub const ERROR_SIGNAL: &str = "signal";
/// `error.type`: a socket error without a name of its own here (the registry's fallback value).
pub const ERROR_OTHER: &str = "_OTHER";

/// The `error.type` of a socket error.
#[must_use]
pub const fn error_of_errno(errno: u16) -> &'static str {
    // Linux include/uapi/asm-generic/errno.h; the same numbers on x86_64, aarch64 and riscv64.
    match errno {
        32 => ERROR_CLOSED,                  // EPIPE
        101 => ERROR_NETWORK_UNREACHABLE,    // ENETUNREACH
        103 | 104 => ERROR_RESET,            // ECONNABORTED, ECONNRESET
        110 => ERROR_TIMEOUT,                // ETIMEDOUT
        111 => ERROR_REFUSED,                // ECONNREFUSED
        112 | 113 => ERROR_HOST_UNREACHABLE, // EHOSTDOWN, EHOSTUNREACH
        _ => ERROR_OTHER,
    }
}

/// The `error.type` of a command that a signal ended: the signal's name (signal(7), the numbers of x86-64).
#[must_use]
pub const fn error_of_signal(signal: u32) -> &'static str {
    match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        _ => ERROR_SIGNAL,
    }
}

/// A sentence for people, the status description of a span with this `error.type`.
#[must_use]
pub fn describe_error(error_type: &str) -> &'static str {
    match error_type {
        ERROR_REFUSED => "the peer refused the connection",
        ERROR_RESET => "the peer reset the connection",
        ERROR_CLOSED => "the connection was closed before the response was complete",
        ERROR_TIMEOUT => "no answer in time",
        ERROR_HOST_UNREACHABLE => "the host cannot be reached",
        ERROR_NETWORK_UNREACHABLE => "the network cannot be reached",
        ERROR_PROCESS_EXIT => "the process ended while the request was open",
        ERROR_REFUSED_REQUEST => "the application refused the request",
        ERROR_BROKER => "the broker refused the message",
        ERROR_RETRIED => "the job was tried again",
        ERROR_JOB => "the job failed",
        ERROR_REQUEUED => "the message was given back to its queue",
        ERROR_REJECTED => "the message was refused",
        ERROR_NO_RESPONSE => "the application gave no response",
        ERROR_EXIT_CODE => "the command ended with an exit code other than 0",
        ERROR_SIGNAL => "a signal ended the command",
        signal if signal.starts_with("SIG") => "a signal ended the command",
        _ => "",
    }
}
