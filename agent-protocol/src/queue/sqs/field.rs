//! Names of members in the texts of SQS' calls.
//!
//! In: a name. Out: which of those it is that are looked at. Always holds: nothing is kept of others. Refuses: nothing.

/// See the module. (Amazon SQS API reference, JSON protocol; names and nesting seen with strace of boto3 1.44 and ElasticMQ 1.7.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// Not looked at.
    Other,
    /// An array's element.
    Item,
    QueueUrl,
    /// What is sent, and what comes.
    Body,
    MessageAttributes,
    /// Of a message that is sent, and of one that comes.
    SystemAttributes,
    StringValue,
    Traceparent,
    Tracestate,
    AwsTraceHeader,
    ReceiveCount,
    DelaySeconds,
    VisibilityTimeout,
    ReceiptHandle,
    MessageId,
    Id,
    Entries,
    Messages,
    Successful,
    Failed,
    Code,
}

impl Field {
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b"QueueUrl" => Self::QueueUrl,
            b"MessageBody" | b"Body" => Self::Body,
            b"MessageAttributes" => Self::MessageAttributes,
            b"MessageSystemAttributes" | b"Attributes" => Self::SystemAttributes,
            b"StringValue" => Self::StringValue,
            b"traceparent" => Self::Traceparent,
            b"tracestate" => Self::Tracestate,
            b"AWSTraceHeader" => Self::AwsTraceHeader,
            b"ApproximateReceiveCount" => Self::ReceiveCount,
            b"DelaySeconds" => Self::DelaySeconds,
            b"VisibilityTimeout" => Self::VisibilityTimeout,
            b"ReceiptHandle" => Self::ReceiptHandle,
            b"MessageId" => Self::MessageId,
            b"Id" => Self::Id,
            b"Entries" => Self::Entries,
            b"Messages" => Self::Messages,
            b"Successful" => Self::Successful,
            b"Failed" => Self::Failed,
            b"Code" => Self::Code,
            _ => Self::Other,
        }
    }
}
