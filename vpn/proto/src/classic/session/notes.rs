//! The notes of a session that wait for the caller.

use std::collections::VecDeque;

use crate::classic::note::{Message, Note, Reply, Telling};

/// Notes that wait for the caller, and the number of the last message.
#[derive(Debug, Default)]
pub(super) struct Notes {
    waiting: VecDeque<Note>,
    number: u64,
}

impl Notes {
    /// A queue, if all notes are wanted.
    pub(super) fn wanted(telling: Telling) -> Option<Self> {
        (telling == Telling::Everything).then(Self::default)
    }

    /// Adds the note of a message. The message gets the next number.
    pub(super) fn push_message(&mut self, message: Message) {
        self.number += 1;
        self.waiting.push_back(Note::Message(Message { number: self.number, ..message }));
    }

    /// Adds the note of a reply to the last message.
    pub(super) fn push_reply(&mut self, bytes: &[u8], text: &[u8], is_expected: bool) {
        let (number, bytes, text) = (self.number, bytes.to_vec(), text.to_vec());
        self.waiting.push_back(Note::Reply(Reply { number, bytes, text, is_expected }));
    }

    pub(super) fn push(&mut self, note: Note) {
        self.waiting.push_back(note);
    }

    pub(super) fn pop(&mut self) -> Option<Note> {
        self.waiting.pop_front()
    }
}
