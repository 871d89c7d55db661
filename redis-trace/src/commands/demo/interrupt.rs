//! Ctrl-C and `kill`: the stage is struck as after any other end.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::agent::Running;

/// Ends every agent when a signal tells the demo to end: what waits for an agent then fails, and everything is taken down.
pub(super) fn end_when_told(running: Running) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context("cannot start a runtime")?;
    std::thread::spawn(move || {
        // Without handlers a signal ends the demo at once and leaves the stage to its holder.
        if let Err(error) = runtime.block_on(end_at_every_signal(&running)) {
            eprintln!("redis-trace: cannot wait for signals: {error}");
        }
    });
    Ok(())
}

/// Never returns unless signals cannot be waited for.
async fn end_at_every_signal(running: &Running) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        running.end();
    }
}
