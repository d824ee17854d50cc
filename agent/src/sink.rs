//! Where finished spans go: the terminal, and the exporter.
//!
//! In: spans from the pipeline. Out: text on stdout, spans in the exporter's queue. Always holds: a reader of stdout that
//! stops reading never holds up the capture: while live, text waits in a bounded queue and what does not fit is
//! counted. A replay waits instead, because its output must be whole.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use agent_trace::{
    frame::{ProcessFacts, ResourceValue},
    span::Span,
};

use crate::{
    config::{Config, PrintFormat},
    export::ExporterHandle,
    pipeline::Output,
    view::{TreeLimits, TreeView, json::line},
};

/// Pieces of text that wait for stdout. A piece holds at most a tick's worth of spans.
const PIECES_MAX: usize = 256;

/// How text is kept for one format.
enum Format {
    Nothing,
    Tree(Box<TreeView>),
    Json {
        text: String,
        extra: Vec<(String, ResourceValue)>,
    },
}

/// Writes text to stdout on a thread of its own.
struct Stdout {
    pieces: Option<SyncSender<String>>,
    writer: Option<JoinHandle<()>>,
    /// True while live: text that does not fit is dropped.
    drops: bool,
    dropped: Arc<AtomicU64>,
}

/// Text pieces that found stdout's queue full.
pub type DroppedText = Arc<AtomicU64>;

fn write_all(pieces: &Receiver<String>) {
    let mut stdout = std::io::stdout().lock();
    for piece in pieces {
        // A closed pipe ends the showing, not the tracing: what is left is taken and dropped.
        if stdout
            .write_all(piece.as_bytes())
            .and_then(|()| stdout.flush())
            .is_err()
        {
            for _ in pieces {}
            return;
        }
    }
}

impl Stdout {
    fn new(drops: bool, dropped: DroppedText) -> std::io::Result<Self> {
        let (pieces, waiting) = sync_channel(PIECES_MAX);
        let writer = std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || write_all(&waiting))?;
        Ok(Self {
            pieces: Some(pieces),
            writer: Some(writer),
            drops,
            dropped,
        })
    }

    fn write(&mut self, text: String) {
        let Some(pieces) = &self.pieces else { return };
        if text.is_empty() {
            return;
        }
        if !self.drops {
            // The writer only ends when the sender does.
            let _ = pieces.send(text);
        } else if let Err(TrySendError::Full(_)) = pieces.try_send(text) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn finish(&mut self) {
        drop(self.pieces.take());
        if let Some(writer) = self.writer.take() {
            // A reader that never reads must not keep the agent from ending: while live, it is left behind.
            if !self.drops || wait_a_little(&writer) {
                let _ = writer.join();
            }
        }
    }
}

/// Waits up to two seconds for a thread.
fn wait_a_little(writer: &JoinHandle<()>) -> bool {
    for _ in 0..200 {
        if writer.is_finished() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    false
}

/// See the module.
pub struct Sink {
    format: Format,
    stdout: Option<Stdout>,
    exporter: Option<ExporterHandle>,
}

impl Sink {
    /// A sink as configured. `live`: text is dropped rather than waited for.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn new(
        config: &Config,
        exporter: Option<ExporterHandle>,
        live: bool,
        dropped: DroppedText,
    ) -> std::io::Result<Self> {
        let format = match config.print_format() {
            PrintFormat::None => Format::Nothing,
            PrintFormat::Tree => Format::Tree(Box::new(TreeView::new(
                TreeLimits {
                    traces: config.print.traces_held,
                    spans: config.print.spans_held,
                },
                Config::color(),
            ))),
            PrintFormat::Json => Format::Json {
                text: String::new(),
                extra: config.resource.clone(),
            },
        };
        let stdout = match format {
            Format::Nothing => None,
            _ => Some(Stdout::new(live, dropped)?),
        };
        Ok(Self {
            format,
            stdout,
            exporter,
        })
    }

    fn show(&mut self) {
        let text = match &mut self.format {
            Format::Nothing => return,
            Format::Tree(view) => view.take_output(),
            Format::Json { text, .. } => std::mem::take(text),
        };
        if let Some(stdout) = &mut self.stdout {
            stdout.write(text);
        }
    }
}

impl Output for Sink {
    fn span(&mut self, span: &Span, facts: &Arc<ProcessFacts>) {
        match &mut self.format {
            Format::Nothing => {}
            Format::Tree(view) => view.push(span, facts),
            Format::Json { text, extra } => line(text, span, facts, extra),
        }
        if let Some(exporter) = &self.exporter {
            // What does not fit is counted there.
            let _ = exporter.enqueue_ref(span, facts);
        }
    }

    fn tick(&mut self, unix_ns: u64) {
        if let Format::Tree(view) = &mut self.format {
            view.tick(unix_ns);
        }
        self.show();
    }

    fn finish(&mut self) {
        if let Format::Tree(view) = &mut self.format {
            view.finish();
        }
        self.show();
        if let Some(stdout) = &mut self.stdout {
            stdout.finish();
        }
    }
}
