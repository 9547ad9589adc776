//! A batch of frames of channels: they are collected, then sealed at once.

use zeroize::Zeroize;

use super::buffer::reserve;
use super::state::Session;
use crate::sealed::channels::FrameSink;
use crate::sealed::error::SealedError;

/// Collects frames. Nothing is sealed before [`FrameBatch::seal`]; without it all frames are wiped.
#[derive(Debug)]
pub struct FrameBatch<'a> {
    session: &'a mut Session,
    /// Where the batch begins in the output.
    start: usize,
    room: usize,
    count: usize,
    /// The bytes and blocks of the records.
    size: (usize, u64),
}

impl Session {
    /// Begins a batch of frames.
    ///
    /// # Errors
    ///
    /// If the session has ended, or if it has no channels.
    pub fn frames(&mut self) -> Result<FrameBatch<'_>, SealedError> {
        self.running()?;
        if !self.is_accepted || !self.has_channels {
            return Err(SealedError::Internal);
        }
        self.change_key_if_due()?;
        let (room, start) = (self.batch_room(), self.output.len());
        Ok(FrameBatch { session: self, start, room, count: 0, size: (0, 0) })
    }
}

impl FrameSink for FrameBatch<'_> {
    fn has_room(&self) -> bool {
        self.count < self.room
    }

    fn push(&mut self, kind: u8, header: &[u8], data: &[u8]) -> Result<(), SealedError> {
        let sealer = &self.session.sealer;
        let (bytes, blocks) = sealer.size(header.len() + data.len(), 1);
        // What is in the batch is not encrypted yet.
        reserve(&mut self.session.output, bytes);
        sealer.append(kind, [header, data], &mut self.session.output)?;
        self.count += 1;
        self.size = (self.size.0 + bytes, self.size.1 + blocks);
        Ok(())
    }
}

impl FrameBatch<'_> {
    /// Whether there is no frame in the batch.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Seals all frames of the batch.
    ///
    /// # Errors
    ///
    /// If a limit of the session is reached, which ends the session.
    pub fn seal(mut self) -> Result<(), SealedError> {
        let count = std::mem::take(&mut self.count);
        if count == 0 {
            return Ok(());
        }
        let (start, session) = (self.start, &mut *self.session);
        if let Err(error) = session.counted(self.size) {
            // The alert goes in the place of the frames.
            session.output[start..].zeroize();
            session.output.truncate(start);
            return session.settle(Err(error));
        }
        let sealed = session.sealer.seal_appended(count, start, &mut session.output);
        session.settle(sealed)
    }
}

impl Drop for FrameBatch<'_> {
    fn drop(&mut self) {
        if self.count > 0 {
            self.session.output[self.start..].zeroize();
            self.session.output.truncate(self.start);
        }
    }
}
