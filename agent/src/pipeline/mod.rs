//! Frames in, spans out: the part that live capture, recordings and replays share.
//!
//! In: [`Frame`]s. Out: spans with their Resource into an [`Output`]. Always holds: what comes out is a function of the
//! frames. Refuses: nothing; a span whose process is not known gets a Resource that says so.

pub mod live;
pub mod mask;
pub mod recording;
pub mod replay;

use std::sync::Arc;

use agent_common::abi::ProcessKey;
use agent_trace::{
    frame::{Frame, ProcessFacts},
    span::Span,
    tracer::{Command, Tracer, TracerConfig},
};
use rustc_hash::FxHashMap;

/// Where finished spans go.
pub trait Output {
    /// One finished span and its Resource.
    fn span(&mut self, span: &Span, facts: &Arc<ProcessFacts>);
    /// Time passed: ns since the Unix epoch.
    fn tick(&mut self, unix_ns: u64);
    /// No span comes any more.
    fn finish(&mut self);
}

/// Processes whose facts are held at once; the oldest go first.
const FACTS_MAX: usize = 65_536;

/// See the module.
pub struct Pipeline<O> {
    tracer: Tracer,
    facts: FxHashMap<ProcessKey, Arc<ProcessFacts>>,
    unknown: Arc<ProcessFacts>,
    /// Where spans go.
    pub output: O,
}

impl<O: std::fmt::Debug> std::fmt::Debug for Pipeline<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

impl<O: Output> Pipeline<O> {
    /// A pipeline that has seen nothing.
    pub fn new(config: TracerConfig, output: O) -> Self {
        let unknown = Arc::new(ProcessFacts {
            service_name: "unknown_service".to_owned(),
            ..ProcessFacts::default()
        });
        Self {
            tracer: Tracer::new(config),
            facts: FxHashMap::default(),
            unknown,
            output,
        }
    }

    /// Takes one frame, and hands on the spans it finished.
    pub fn on_frame(&mut self, frame: Frame<'_>) {
        let mut ticked = None;
        match &frame {
            Frame::Process(facts) => self.remember(facts),
            Frame::Tick {
                ktime_ns,
                epoch_offset_ns,
            } => {
                ticked = Some(ktime_ns.wrapping_add(*epoch_offset_ns));
            }
            Frame::Kernel(_) | Frame::KernelCounters(_) => {}
        }
        self.tracer.on_frame(frame);
        if let Some(unix_ns) = ticked {
            self.hand_on();
            self.output.tick(unix_ns);
        }
    }

    /// The next thing the tracer asks for. A replay has no one to answer and drops them.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.tracer.poll_command()
    }

    /// The tracer, for its counters.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// No frame comes any more.
    pub fn finish(&mut self, ktime_ns: u64) {
        self.tracer.finish(ktime_ns);
        self.hand_on();
        self.output.finish();
    }

    fn remember(&mut self, facts: &ProcessFacts) {
        if self.facts.len() >= FACTS_MAX {
            // Which one goes hardly matters at this size; the one that started first is the likeliest to be gone.
            if let Some(oldest) = self.facts.keys().min().copied() {
                self.facts.remove(&oldest);
            }
        }
        let key = ProcessKey {
            start_ns: facts.start_ns,
            tgid: facts.tgid,
            zero: 0,
        };
        self.facts.insert(key, Arc::new(facts.clone()));
    }

    fn hand_on(&mut self) {
        while let Some(span) = self.tracer.poll_span() {
            let facts = self.facts.get(&span.process).unwrap_or(&self.unknown);
            self.output.span(&span, facts);
            self.tracer.take_back(span);
        }
    }
}
