//! Tells every frame of a session, for `--explain`.

use tokio::sync::mpsc;

use vpn_proto::sealed::{Frame, FrameBatch, FrameSink, SealedError};

/// Takes lines about frames. While it is full, the session waits.
pub type Explanations = mpsc::Sender<String>;

/// The lines about frames that were moved and are not told yet. Without a reader nothing is collected.
#[derive(Debug, Default)]
pub(super) struct Untold {
    reader: Option<Explanations>,
    lines: Vec<String>,
}

impl Untold {
    pub(super) fn new(reader: Option<Explanations>) -> Self {
        Self { reader, lines: Vec::new() }
    }

    /// Whether frames are told.
    pub(super) fn is_wanted(&self) -> bool {
        self.reader.is_some()
    }

    /// Collects a line about a frame of the peer.
    pub(super) fn received(&mut self, frame: impl FnOnce() -> String) {
        if self.is_wanted() {
            self.lines.push(format!("<- {}", frame()));
        }
    }

    /// Tells everything that was collected.
    ///
    /// Cancel safety: none.
    pub(super) async fn tell(&mut self) {
        let Some(reader) = &self.reader else { return };
        for line in self.lines.drain(..) {
            // Nobody may listen any more.
            let _ = reader.send(line).await;
        }
    }
}

/// A batch that collects a line about each of its frames.
pub(super) struct Told<'a, 'b> {
    pub(super) batch: &'a mut FrameBatch<'b>,
    pub(super) untold: &'a mut Untold,
}

impl FrameSink for Told<'_, '_> {
    fn has_room(&self) -> bool {
        self.batch.has_room()
    }

    fn push(&mut self, kind: u8, header: &[u8], data: &[u8]) -> Result<(), SealedError> {
        if self.untold.is_wanted() {
            let payload = zeroize::Zeroizing::new([header, data].concat());
            self.untold.lines.push(format!("-> {}", Frame::parse(kind, &payload)?));
        }
        self.batch.push(kind, header, data)
    }
}
