//! In the place of `collector.rs` in a program that was built without the feature `otlp`: there never is one.

use std::sync::Arc;

use crate::cli::WatchArgs;
use crate::sink::Sink;
use crate::sink::metrics::Delivery;

/// Nobody.
pub enum Collector {}

/// Nobody's end.
pub enum Ending {}

impl Collector {
    /// Nobody is delivered to.
    pub fn start(_: &WatchArgs) -> anyhow::Result<Option<Self>> {
        Ok(None)
    }

    /// Takes refusals for nobody.
    pub fn sink(&self) -> Box<dyn Sink> {
        match *self {}
    }

    /// What nobody was delivered.
    pub fn delivery(&self) -> Arc<Delivery> {
        match *self {}
    }

    /// Nobody ends.
    #[must_use]
    pub fn end(self) -> Ending {
        match self {}
    }
}

impl Ending {
    /// Nobody is waited for.
    pub fn undelivered(self) -> u64 {
        match self {}
    }
}
