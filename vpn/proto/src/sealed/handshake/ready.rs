//! Ready: the message by which a server admits a client (PROTOCOL.md §4.2).
//!
//! `status 1 | fields`. The status is 0. A field is `type 2 | length 2 | data`; unknown types are
//! ignored.

use crate::sealed::error::SealedError;
use crate::sealed::wire::{Reader, frame, framed, put_long, read_fields, unframed};

const KEEPALIVE: u16 = 1;
const LARGEST_MESSAGE: u16 = 2;
const SERVICES: u16 = 3;

/// What a server tells an admitted client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// The silence in seconds after which the server expects a ping.
    pub keepalive: Option<u32>,
    /// The size in bytes of the largest message that the server accepts.
    pub largest_message: Option<u32>,
    /// The services that this client may open.
    pub services: Option<String>,
}

impl Ready {
    /// The complete frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = vec![0];
        let mut field = |kind: u16, data: &[u8]| {
            body.extend_from_slice(&kind.to_be_bytes());
            put_long(&mut body, data);
        };
        if let Some(seconds) = self.keepalive {
            field(KEEPALIVE, &seconds.to_be_bytes());
        }
        if let Some(bytes) = self.largest_message {
            field(LARGEST_MESSAGE, &bytes.to_be_bytes());
        }
        if let Some(services) = &self.services {
            field(SERVICES, services.as_bytes());
        }
        framed(frame::READY, &body)
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SealedError> {
        let number = |data: &[u8]| {
            let mut reader = Reader::new(data);
            let number = reader.u32()?;
            reader.finish()?;
            Ok::<_, SealedError>(number)
        };
        let mut reader = Reader::new(unframed(frame::READY, bytes)?);
        if reader.u8()? != 0 {
            return Err(SealedError::Malformed("status of Ready"));
        }
        let mut ready = Self::default();
        for (kind, data) in read_fields(reader.rest())? {
            match kind {
                KEEPALIVE => ready.keepalive = Some(number(data)?),
                LARGEST_MESSAGE => ready.largest_message = Some(number(data)?),
                SERVICES => {
                    let text =
                        str::from_utf8(data).map_err(|_| SealedError::Malformed("services"))?;
                    ready.services = Some(text.to_owned());
                }
                _ => {}
            }
        }
        Ok(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_is_parsed_as_it_was_written() {
        let services = Some("message pipe".to_owned());
        let all = Ready { keepalive: Some(30), largest_message: Some(0x0100_0000), services };
        for ready in [Ready::default(), all] {
            assert_eq!(Ready::parse(&ready.encode()), Ok(ready));
        }
        let encoded = Ready { keepalive: Some(30), ..Ready::default() }.encode();
        assert_eq!(encoded, [0x0d, 0, 0, 9, 0, 0, 1, 0, 4, 0, 0, 0, 30]);
    }

    #[test]
    fn mistakes_in_a_ready_are_refused_and_unknown_fields_are_not() {
        let parse = |body: &[u8]| Ready::parse(&framed(frame::READY, body));
        assert_eq!(parse(&[0, 0, 9, 0, 1, 0xff]), Ok(Ready::default()));
        assert_eq!(parse(&[1]), Err(SealedError::Malformed("status of Ready")));
        assert_eq!(parse(&[]), Err(SealedError::Malformed("a field is cut off")));
        assert_eq!(parse(&[0, 0, 1, 0, 1, 9]), Err(SealedError::Malformed("a field is cut off")));
        let long = [0, 0, 2, 0, 5, 0, 0, 0, 1, 2];
        assert_eq!(parse(&long), Err(SealedError::Malformed("trailing bytes")));
        assert_eq!(parse(&[0, 0, 3, 0, 1, 0xff]), Err(SealedError::Malformed("services")));
        let twice = [0, 0, 9, 0, 0, 0, 9, 0, 0];
        assert_eq!(parse(&twice), Err(SealedError::Malformed("a field occurs twice")));
        let other = SealedError::Unexpected { expected: frame::READY, got: frame::REJECT };
        assert_eq!(Ready::parse(&framed(frame::REJECT, &[0])), Err(other));
    }
}
