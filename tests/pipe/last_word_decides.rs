//! Success needs the last word of the peer, however records come together or get lost; and only one client
//! has the pipe.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::support::pipes::{BYTES, Behind, End, Sink};
use crate::support::{SHIPPED, TempDir, accept, connect, listener};

/// A stream of whole messages. Anybody on the way can cut it: the first message says its length in a
/// header of nine bytes, the records behind it in two.
struct Records {
    stream: TcpStream,
    has_begun: bool,
}

impl Records {
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut record = vec![0; if self.has_begun { 2 } else { 9 }];
        self.stream.read_exact(&mut record).ok()?;
        let length = match self.has_begun {
            true => usize::from(u16::from_be_bytes([record[0], record[1]])),
            false => {
                usize::try_from(u32::from_be_bytes([0, record[6], record[7], record[8]])).unwrap()
            }
        };
        self.has_begun = true;
        let header = record.len();
        record.resize(header + length, 0);
        self.stream.read_exact(&mut record[header..]).ok()?;
        Some(record)
    }
}

/// What happens on the way. `Together`: from this message on, so many go out in one write. `LostFrom`: the
/// last byte of this message and everything behind it is lost.
#[derive(Clone, Copy, Debug)]
enum Way {
    Together { from: usize, count: usize },
    LostFrom(usize),
    Carried,
}

/// Carries one connection to a server.
fn between(server: u16, there: Way, back: Way) -> u16 {
    let (listener, port) = listener();
    std::thread::spawn(move || {
        let client = accept(&listener);
        let server = connect(server);
        client.set_nodelay(true).unwrap();
        let backwards = carry(server.try_clone().unwrap(), client.try_clone().unwrap(), back);
        carry(client, server, there).join().unwrap();
        backwards.join().unwrap();
    });
    port
}

fn carry(from: TcpStream, mut to: TcpStream, way: Way) -> std::thread::JoinHandle<()> {
    let mut records = Records { stream: from.try_clone().unwrap(), has_begun: false };
    std::thread::spawn(move || {
        let mut held = Vec::new();
        let mut number = 0;
        while let Some(record) = records.next() {
            match way {
                Way::Together { from, count } if number >= from => {
                    held.extend_from_slice(&record);
                    if number + 1 >= from + count && to.write_all(&held).is_err() {
                        break;
                    } else if number + 1 >= from + count {
                        held.clear();
                    }
                }
                Way::LostFrom(lost) if number == lost => {
                    to.write_all(&record[..record.len() - 1]).unwrap();
                    // It may be over already.
                    let _ = to.shutdown(Shutdown::Both);
                    let _ = from.shutdown(Shutdown::Both);
                    return;
                }
                _ => {
                    if to.write_all(&record).is_err() {
                        break;
                    }
                }
            }
            number += 1;
        }
        let _ = to.shutdown(Shutdown::Write);
    })
}

/// ClientHello, ClientAuth and Open come before what a client has to say; ServerHello, ServerAuth, Ready
/// and OpenReply before what a server has.
const BEFORE_CLIENTS: usize = 3;
const BEFORE_SERVERS: usize = 4;

#[test]
#[cfg(target_os = "linux")]
fn data_and_both_ends_in_one_read_are_no_success_where_the_disk_is_full() {
    let (server, port) = End::server((0, Behind::End), (Sink::Full, 0));
    // Data, Eof, close_notify.
    let together = Way::Together { from: BEFORE_CLIENTS, count: 3 };
    let port = between(port, together, Way::Carried);
    let client = End::client(port, (1000, Behind::End), (Sink::Read, 0));
    let (client, server) = (client.finish(), server.finish());
    assert_eq!((client.0, server.0), (Some(7), Some(9)), "{} / {}", client.1, server.1);
    let words = "vpn: the server could not write to its standard output everything that we sent";
    assert_eq!(client.1, words);
    assert_eq!(
        server.1.lines().last(),
        Some("vpn: cannot write standard output: no space left on device")
    );
}

#[test]
fn data_and_both_ends_in_one_read_are_handed_over() {
    let (server, port) = End::server((0, Behind::End), (Sink::Read, 1000));
    let together = Way::Together { from: BEFORE_CLIENTS, count: 3 };
    let port = between(port, together, Way::Carried);
    let client = End::client(port, (1000, Behind::End), (Sink::Read, 0));
    let (client, server) = (client.finish(), server.finish());
    assert_eq!((client.0, server.0), (Some(0), Some(0)), "{} / {}", client.1, server.1);
    assert!(server.2 == BYTES[..1000]);
}

#[test]
fn a_side_that_does_not_hear_the_last_word_reports_a_failure() {
    // Data and Eof both ways, then the client's close_notify and the server's answer. If one of them is
    // lost, an end reports success only if it knows that everything arrived.
    for lost in 0..3 {
        for is_there in [true, false] {
            let (server, port) = End::server((5, Behind::End), (Sink::Read, 5));
            let (there, back) = match is_there {
                true => (Way::LostFrom(BEFORE_CLIENTS + lost), Way::Carried),
                false => (Way::Carried, Way::LostFrom(BEFORE_SERVERS + lost)),
            };
            let port = between(port, there, back);
            let client = End::client(port, (5, Behind::End), (Sink::Read, 5));
            let (client, server) = (client.finish(), server.finish());
            let context = format!("{lost} {is_there}: {} / {}", client.1, server.1);
            assert_eq!(client.0, Some(7), "{context}");
            // The server alone can know: its answer was the last word.
            let knows = lost == 2 && !is_there;
            assert_eq!(server.0, Some(if knows { 0 } else { 7 }), "{context}");
            if knows {
                assert!(server.2 == BYTES[..5] && client.2 == BYTES[..5], "{context}");
            }
        }
    }
}

#[test]
fn a_second_client_is_told_that_the_pipe_is_in_use_and_nothing_is_mixed() {
    let (server, port) = End::server((1000, Behind::Hold), (Sink::Read, 5000));
    let mut first = End::client(port, (5000, Behind::Hold), (Sink::Read, 1000));
    server.has_got(5000);
    first.has_got(1000);
    for _ in 0..3 {
        let second = End::client(port, (5000, Behind::End), (Sink::Read, 0));
        let (code, words, bytes) = second.finish();
        assert_eq!(code, Some(10), "{words}");
        assert_eq!(words, "vpn: the server is busy: the server's pipe is in use by another client");
        assert!(bytes.is_empty());
    }
    // The first one goes on undisturbed.
    first.held.take();
    let mut server = server;
    server.held.take();
    let (first, server) = (first.finish(), server.finish());
    assert_eq!((first.0, server.0), (Some(0), Some(0)), "{} / {}", first.1, server.1);
    assert!(first.2 == BYTES[..1000] && server.2 == BYTES[..5000]);
}

#[test]
fn many_clients_at_once_are_one_owner_and_others_that_are_turned_away() {
    let (server, port) = End::server((0, Behind::End), (Sink::Read, 200_000));
    let clients: Vec<_> =
        (0..6).map(|_| End::client(port, (200_000, Behind::End), (Sink::Read, 0))).collect();
    let ended: Vec<_> = clients.into_iter().map(End::finish).collect();
    let server = server.finish();
    let codes: Vec<_> = ended.iter().map(|ended| ended.0).collect();
    let owners = codes.iter().filter(|code| **code == Some(0)).count();
    // Who comes when it is over finds nobody, or hears that the server is about to end.
    let others = codes.iter().all(|code| matches!(code, Some(0 | 3 | 10)));
    assert!(
        owners == 1 && others,
        "{ended:?}",
        ended = ended.iter().map(|e| (e.0, &e.1)).collect::<Vec<_>>()
    );
    assert_eq!(server.0, Some(0), "{}", server.1);
    assert!(server.2 == BYTES[..200_000], "another client's bytes are in it");
}

/// How often a client has made fresh keys, by its log.
fn exchanges(log: &str) -> usize {
    log.lines().filter(|line| line.ends_with("a fresh key exchange is over")).count()
}

#[test]
fn twenty_fresh_exchanges_under_load_both_ways_lose_no_byte() {
    const ROUNDS: usize = 24;
    const PIECE: usize = 300_000;
    const SIZE: usize = ROUNDS * PIECE;
    let folder = TempDir::new();
    let config = folder.file("c.toml", format!("{SHIPPED}\n[limits]\nrekey_bytes = 100_000\n"));
    let (mut server, port) = End::server((0, Behind::Fed), (Sink::Read, SIZE));
    let more = ["-vv", "--config", config.to_str().unwrap()];
    let mut client = End::client_with(port, &more, (0, Behind::Fed), (Sink::Read, SIZE));
    let (mut there, mut back) = (client.input.take().unwrap(), server.input.take().unwrap());
    // In step, so that there are as many exchanges on a fast machine as on a slow one: what a piece makes
    // due is over before the client's next piece has gone.
    for (number, piece) in BYTES[..SIZE].chunks(PIECE).enumerate() {
        std::thread::scope(|scope| {
            scope.spawn(|| there.write_all(piece).unwrap());
            scope.spawn(|| back.write_all(piece).unwrap());
        });
        server.has_got((number + 1) * PIECE);
        client.has_got((number + 1) * PIECE);
    }
    drop((there, back));
    let (client, server) = (client.finish(), server.finish());
    assert_eq!((client.0, server.0), (Some(0), Some(0)), "{} / {}", client.1, server.1);
    assert!(client.2 == BYTES[..SIZE] && server.2 == BYTES[..SIZE]);
    let count = exchanges(&client.1);
    assert!(count >= 20, "{count} exchanges");
}

#[test]
fn fresh_keys_are_made_when_their_time_has_come() {
    let folder = TempDir::new();
    let config = folder.file("c.toml", format!("{SHIPPED}\n[limits]\nrekey_seconds = 1\n"));
    let (mut server, port) = End::server((5, Behind::Hold), (Sink::Read, 5));
    let more = ["-vv", "--config", config.to_str().unwrap()];
    let mut client = End::client_with(port, &more, (5, Behind::Hold), (Sink::Read, 5));
    for _ in 0..2 {
        client.words.until("a fresh key exchange is over");
    }
    client.held.take();
    server.held.take();
    let (client, server) = (client.finish(), server.finish());
    assert_eq!((client.0, server.0), (Some(0), Some(0)), "{} / {}", client.1, server.1);
    assert!(client.2 == BYTES[..5] && server.2 == BYTES[..5]);
}
