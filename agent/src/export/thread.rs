//! The thread all export runs on.
//!
//! In: futures to run. Out: their effects. Always holds: one thread named `suture-export` with a single-threaded tokio
//! runtime. Refuses: to run when the kernel gives no thread.

use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::ExportError;

/// A running export thread. Ends when dropped.
pub struct ExportThread {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ExportThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The kernel gives no thread, timer or epoll instance.
    pub fn start() -> Result<Self, ExportError> {
        let failed = |error: std::io::Error| ExportError::Thread(error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2) // name look-ups and compression
            .build()
            .map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("suture-export".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let _ = stopped.await; // a dropped sender means the same
                });
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Spawns onto the thread.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `make` inside the runtime's context, on the calling thread.
    pub fn enter<T>(&self, make: impl FnOnce() -> T) -> T {
        let _context = self.handle.enter();
        make()
    }
}

impl Drop for ExportThread {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(()); // the thread may have ended
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there has been reported by its own hook
        }
    }
}
