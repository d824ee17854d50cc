//! The queue systems and libraries that are measured, and what each reaches today.
//!
//! In: nothing. Out: [`ALL`], one row for each. Always holds: a floor is what was reached when it was written down, so that falling below it is a
//! regression; wrong, missing or doubled above 0 fails in every row.

use suture_tests::victims::broker::Server;
use suture_tests::victims::brokers::System;
use suture_tests::victims::jobs::Library;
use suture_tests::victims::teams::Program;

/// How a job that failed once comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The worker puts it once more; the kind of such a job.
    PutAgain(&'static str),
    /// The broker delivers the same message once more; the kind.
    Redelivered(&'static str),
}

impl Again {
    /// The word in the path.
    pub fn kind(self) -> &'static str {
        match self {
            Self::PutAgain(kind) | Self::Redelivered(kind) => kind,
        }
    }
}

/// What is right at least, in percent, at each number in flight.
#[derive(Clone, Copy, Debug)]
pub struct Floors {
    /// Messages under their requests.
    pub puts: f64,
    /// Work under its message.
    pub work: f64,
    /// Calls under their work.
    pub calls: f64,
    /// Attempts that are linked.
    pub links: f64,
    /// Deliveries of a load that may end late: none, or any where nobody says the end.
    pub late: usize,
}

/// A row.
pub struct Queue {
    /// Its name as an argument.
    pub name: &'static str,
    /// Who keeps the messages.
    pub server: Server,
    /// Shop and workers.
    pub program: Program,
    /// The kind of a job that succeeds.
    pub kind: &'static str,
    /// Its calls.
    pub calls: usize,
    /// Of a job that fails once, where the library has such.
    pub again: Option<Again>,
    /// Workers.
    pub workers: usize,
    /// Jobs that each works on at once.
    pub at_once: usize,
    /// Jobs of a load at most (twice the number in flight are put in any case).
    pub most: usize,
    /// See there.
    pub floors: Floors,
}

const ALL_RIGHT: Floors = Floors {
    puts: 99.9,
    work: 99.9,
    calls: 99.9,
    links: 99.9,
    late: 0,
};
/// Who finishes a job worked on it; not told of some of a worker's first ones.
const SETTLED: Floors = Floors {
    calls: 90.0,
    ..ALL_RIGHT
};
/// A client's own loop puts for many, and an event loop, or another unit than the one that reads, works: roots, but each joined to its message.
const JOINED: Floors = Floors {
    puts: 0.0,
    work: 99.9,
    calls: 0.0,
    links: 0.0,
    late: usize::MAX,
};
/// The same where the unit that reads does the work.
const WORKED: Floors = Floors {
    calls: 99.9,
    ..JOINED
};
/// Put and fetched by calls over HTTP: the answer to a put may be read after its delivery.
const FETCHED: Floors = Floors {
    puts: 99.9,
    work: 98.0,
    calls: 99.9,
    links: 99.9,
    late: usize::MAX,
};
/// As [`JOINED`], where a message that failed is fetched once more.
const FETCHED_AGAIN: Floors = Floors {
    links: 99.9,
    ..JOINED
};
/// The request puts, the broker keeps a message that is tried again, and who works is not known.
const REDELIVERED: Floors = Floors {
    puts: 99.9,
    links: 99.9,
    ..JOINED
};

const fn job(name: &'static str, library: Library, at_once: usize, floors: Floors) -> Queue {
    Queue {
        name,
        server: library.server(),
        program: Program::Job(library),
        kind: "work",
        calls: 2,
        again: Some(Again::PutAgain("retry")),
        workers: 2,
        at_once,
        most: 128,
        floors,
    }
}

const fn message(name: &'static str, server: Server, program: Program, floors: Floors) -> Queue {
    Queue {
        name,
        server,
        program,
        kind: "work",
        calls: 1,
        again: None,
        workers: 2,
        at_once: 4,
        most: 128,
        floors,
    }
}

/// All of them.
pub const ALL: &[Queue] = &[
    job("celery-redis", Library::Celery, 4, ALL_RIGHT),
    job("celery-rabbitmq", Library::CeleryRabbitmq, 4, ALL_RIGHT),
    Queue {
        most: 40,
        ..job("rq", Library::Rq, 1, ALL_RIGHT)
    },
    job("sidekiq", Library::Sidekiq, 5, ALL_RIGHT),
    job("huey", Library::Huey, 4, ALL_RIGHT),
    job("dramatiq", Library::Dramatiq, 4, ALL_RIGHT),
    // (Of its first jobs at 1 in flight some deliveries are missing: such a run fails.)
    job("bullmq", Library::BullMq, 5, SETTLED),
    job("asynq", Library::Asynq, 4, ALL_RIGHT),
    Queue {
        kind: "list",
        calls: 2,
        again: None,
        ..message(
            "redis-py-lists",
            Server::Redis,
            Program::Job(Library::Lists),
            ALL_RIGHT,
        )
    },
    Queue {
        kind: "stream",
        calls: 2,
        again: None,
        ..message(
            "redis-py-streams",
            Server::Redis,
            Program::Job(Library::Lists),
            ALL_RIGHT,
        )
    },
    Queue {
        again: Some(Again::Redelivered("again")),
        ..message(
            "pika",
            Server::Rabbitmq,
            Program::Broker(System::Rabbitmq),
            ALL_RIGHT,
        )
    },
    Queue {
        again: Some(Again::Redelivered("again")),
        ..message(
            "amqplib",
            Server::Rabbitmq,
            Program::Node("amqplib"),
            JOINED,
        )
    },
    Queue {
        again: Some(Again::Redelivered("again")),
        ..message(
            "amqp091-go",
            Server::Rabbitmq,
            Program::Go("amqp091"),
            REDELIVERED,
        )
    },
    Queue {
        again: Some(Again::Redelivered("again")),
        ..message(
            "kafka-python",
            Server::Kafka,
            Program::Python("kafka_python"),
            FETCHED_AGAIN,
        )
    },
    Queue {
        again: Some(Again::Redelivered("again")),
        ..message(
            "confluent-kafka",
            Server::Kafka,
            Program::Python("confluent"),
            FETCHED_AGAIN,
        )
    },
    Queue {
        again: Some(Again::Redelivered("again")),
        ..message(
            "kafkajs",
            Server::Kafka,
            Program::Node("kafkajs"),
            FETCHED_AGAIN,
        )
    },
    message("franz-go", Server::Kafka, Program::Go("franz"), JOINED),
    message(
        "nats-py",
        Server::Nats,
        Program::Asyncio("nats_core"),
        JOINED,
    ),
    Queue {
        again: Some(Again::Redelivered("again")),
        ..message(
            "nats-py-jetstream",
            Server::Nats,
            Program::Asyncio("nats_stream"),
            JOINED,
        )
    },
    message("nats.go", Server::Nats, Program::Go("nats"), JOINED),
    Queue {
        again: Some(Again::Redelivered("again")),
        ..message(
            "nats.go-jetstream",
            Server::Nats,
            Program::Go("stream"),
            JOINED,
        )
    },
    message("nats.js", Server::Nats, Program::Node("nats_core"), JOINED),
    Queue {
        again: Some(Again::Redelivered("again")),
        ..message(
            "nats.js-jetstream",
            Server::Nats,
            Program::Node("nats_stream"),
            JOINED,
        )
    },
    message(
        "paho-3.1.1",
        Server::Mosquitto,
        Program::Python("paho_v3"),
        WORKED,
    ),
    message(
        "paho-5",
        Server::Mosquitto,
        Program::Python("paho_v5"),
        WORKED,
    ),
    Queue {
        again: Some(Again::Redelivered("again")),
        ..message(
            "boto3-sqs",
            Server::ElasticMq,
            Program::Python("sqs"),
            FETCHED,
        )
    },
    Queue {
        again: Some(Again::Redelivered("again")),
        ..message(
            "go-sqs",
            Server::ElasticMq,
            Program::Go("sqs"),
            Floors {
                calls: 40.0,
                ..FETCHED
            },
        )
    },
    message(
        "psycopg-skip-locked",
        Server::Postgresql,
        Program::Broker(System::Postgresql),
        ALL_RIGHT,
    ),
    Queue {
        again: Some(Again::Redelivered("retry")),
        calls: 2,
        ..message(
            "procrastinate",
            Server::Postgresql,
            Program::Python("procrastinate_jobs"),
            ALL_RIGHT,
        )
    },
    Queue {
        again: Some(Again::Redelivered("retry")),
        calls: 2,
        kind: "loop",
        ..message(
            "procrastinate-asyncio",
            Server::Postgresql,
            Program::Python("procrastinate_jobs"),
            ALL_RIGHT,
        )
    },
];
