//! Replays a recording through the same stages as the live run.
//!
//! In: a recording. Out: spans, byte-identical each time. Always holds: no clock is read and no process is looked up.

use std::path::Path;

use agent_trace::{frame::Frame, tracer::TracerConfig};

use super::{
    Output, Pipeline,
    recording::{self, RecordingError},
};

/// Replays `path` into `output`.
///
/// # Errors
/// [`RecordingError`]; what came before the damage has been handed on.
pub fn replay<O: Output>(
    path: &Path,
    config: TracerConfig,
    output: O,
) -> Result<O, RecordingError> {
    let mut pipeline = Pipeline::new(config, output);
    let mut last_ns = 0;
    let read = recording::read(path, |frame| {
        if let Frame::Tick { ktime_ns, .. } = frame {
            last_ns = ktime_ns;
        }
        pipeline.on_frame(frame);
        // There is nobody to answer.
        while pipeline.poll_command().is_some() {}
    });
    pipeline.finish(last_ns);
    read.map(|()| pipeline.output)
}
