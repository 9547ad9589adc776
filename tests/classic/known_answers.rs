//! The classic protocol gives the known answers of data/classic.json: published unit tests, a published
//! packet capture, and independent implementations.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use num_bigint::BigUint;
use serde_json::Value;
use vpn_proto::classic::{
    Chaining, ClassicParams, ClientHandshake, Dialect, DialectPlan, Event, Handshake, MacRule,
    Opener, ReplyForm, Sealer, ServerHandshake, SessionKeys, SharedKey, Strip, Telling, Timing,
};
use vpn_proto::{
    Choice, DhTask, EnabledSuite, ExponentSeed, Group, Offer, OfferEntry, PublicValue, Separator,
    SessionError, SharedSecret, SuiteId, select,
};
use vpn_suite::{KeySize, Registry};
use zeroize::Zeroizing;

use crate::any_bytes::checks::classic_session::work as settle;

static DATA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../data/classic.json")).unwrap());

/// A section of the file; a test over nothing would prove nothing.
fn section(name: &str) -> &'static [Value] {
    let list = DATA[name].as_array().unwrap();
    assert!(!list.is_empty(), "no vectors in {name}");
    list
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    let text = if text.len() % 2 == 1 { format!("0{text}") } else { text.to_owned() };
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn offer(value: &Value) -> Offer {
    Offer::new(value.as_array().unwrap().iter().map(|entry| OfferEntry {
        name: text(&entry[0]).to_owned(),
        sizes: entry[1].as_array().unwrap().iter().map(bits).collect(),
    }))
}

fn bits(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

/// The suites of a list; `None` if one of them is not linked.
fn enabled(value: &Value) -> Option<Vec<EnabledSuite>> {
    let registry = Registry::linked().unwrap();
    let entry = |entry: &OfferEntry| {
        let suite = registry.find(&entry.name)?;
        let sizes = entry.sizes.iter().map(|b| KeySize::from_bits(*b));
        Some(EnabledSuite { suite, wire_name: suite.name(), sizes: sizes.collect::<Option<_>>()? })
    };
    offer(value).entries().iter().map(entry).collect()
}

fn suite(vector: &Value) -> Option<SuiteId> {
    let suite = Registry::linked().unwrap().find(text(&vector["cipher"]))?;
    let size = KeySize::from_bits(bits(&vector["size"]))?;
    suite.key_sizes().contains(size).then_some(SuiteId { suite, size })
}

fn keys(vector: &Value) -> SessionKeys {
    let iv = Zeroizing::new(hex(&vector["iv_hex"]));
    SessionKeys { key: Zeroizing::new(unpadded_key(vector)), iv }
}

/// The key as it is cut; some vectors show it with the zero byte that the cipher's suite adds.
fn unpadded_key(vector: &Value) -> Vec<u8> {
    let mut key = hex(&vector["key_hex"]);
    let added = key.split_off(bits(&vector["size"]) as usize / 8);
    assert!(added.is_empty() || added == [0], "{vector}");
    key
}

/// A message from the line that a recorder saw: without its line end.
fn line(wire: &[u8]) -> &[u8] {
    let wire = wire.strip_suffix(b"\n").unwrap_or(wire);
    wire.strip_suffix(b"\r").unwrap_or(wire)
}

/// Our dialect for one of the file's.
fn dialect(name: &str) -> Option<Dialect> {
    let capture = Dialect::CAPTURE;
    Some(match name {
        "capture" => capture,
        "field2020" => Dialect { reply: ReplyForm::Prefixed, ..capture },
        "field2025" => Dialect::LINES,
        "restart-permsg" => Dialect {
            reply: ReplyForm::Prefixed,
            chaining: Chaining::Restart,
            mac: MacRule::PerMessage,
            ..capture
        },
        "text" => Dialect { separator: Separator::Colon, ..capture },
        _ => return None,
    })
}

fn params(enabled: Vec<EnabledSuite>, plan: DialectPlan) -> ClassicParams {
    let (timing, telling) = (Timing::default(), Telling::Nothing);
    ClassicParams { enabled: enabled.into(), plan, timing, message_limit: 64 * 1024, telling }
}

#[test]
fn proposals_are_built() {
    let mut tested = 0;
    for vector in section("proposal_build") {
        if dialect(text(&vector["dialect"])).is_none() {
            continue;
        }
        let wire = offer(&vector["offer"]).to_wire();
        assert_eq!(wire.as_bytes(), line(text(&vector["wire"]).as_bytes()));
        tested += 1;
    }
    assert_eq!(tested, 5);
}

#[test]
fn proposals_are_parsed_or_refused() {
    for vector in section("proposal_parse") {
        let wire = hex(&vector["wire_hex"]);
        let parsed = str::from_utf8(line(&wire)).ok().and_then(|t| Offer::parse(t).ok());
        let expected = vector["expect"].get("ok").map(offer);
        assert_eq!(parsed, expected, "{}", vector["name"]);
    }
}

#[test]
fn the_longest_key_is_selected() {
    let mut tested = 0;
    for vector in section("select") {
        let Some(enabled) = enabled(&vector["supported"]) else { continue };
        let choice = select(&enabled, &offer(&vector["proposed"])).map(|s| s.choice);
        let expected = vector["expect"].as_array();
        let expected = expected.map(|e| Choice { name: text(&e[0]).to_owned(), bits: bits(&e[1]) });
        assert_eq!(choice, expected, "{vector}");
        tested += 1;
    }
    assert_eq!(tested, section("select").len(), "every suite of the vectors is linked");
}

#[test]
fn choices_are_built() {
    for vector in section("chosen_build") {
        let name = text(&vector["cipher"]).to_owned();
        let choice = Choice { name, bits: bits(&vector["size"]) };
        let dialect = dialect(text(&vector["dialect"])).unwrap();
        assert_eq!(choice.to_wire(dialect.separator), text(&vector["wire"]));
    }
}

#[test]
fn choices_are_parsed_or_refused() {
    for vector in section("chosen_parse") {
        let wire = line(text(&vector["wire"]).as_bytes());
        let parsed = Choice::parse(str::from_utf8(wire).unwrap()).ok();
        let parsed = parsed.map(|(choice, _)| (choice.name, choice.bits));
        let expected = vector["expect"].get("ok");
        let expected = expected.map(|e| (text(&e[0]).to_owned(), bits(&e[1])));
        assert_eq!(parsed, expected, "{vector}");
    }
}

/// What a server makes of a DHMKE message: the number it wants to check.
fn number_read(wire: &[u8]) -> Option<BigUint> {
    let aes = serde_json::json!([["AES", [128]]]);
    let params = params(enabled(&aes).unwrap(), DialectPlan::fixed(Dialect::SPEC));
    let mut server = ServerHandshake::new(params, &mut rand::rng());
    let now = Instant::now();
    server.handle_input(b"ProposedCiphers:AES:[128]", now).unwrap();
    while server.poll_event().is_some() {}
    server.handle_input(wire, now).ok()?;
    if let Some(due) = server.poll_timeout() {
        server.handle_timeout(due).ok()?;
    }
    match server.poll_event()? {
        Event::Compute(DhTask::Check(_, value)) => Some(value),
        _ => None,
    }
}

#[test]
fn public_values_are_parsed_or_refused() {
    let mut tested = 0;
    for vector in section("dh_parse") {
        // One form was drawn in a diagram and never sent; its vector leaves refusing free.
        if vector["note"].as_str().is_some_and(|note| note.ends_with("or refuse")) {
            assert_eq!(number_read(text(&vector["wire"]).as_bytes()), None);
            continue;
        }
        let expected = &vector["expect"];
        let expected = expected.get("ok").map(|n| text(n).parse::<BigUint>().unwrap());
        assert_eq!(number_read(text(&vector["wire"]).as_bytes()), expected, "{vector}");
        tested += 1;
    }
    assert!(tested >= 20, "{tested}");
}

#[test]
fn public_values_are_checked() {
    for vector in section("dh_check") {
        let value = match vector.get("number") {
            Some(number) => text(number).parse().unwrap(),
            None => BigUint::from_bytes_be(&hex(&vector["number_hex"])),
        };
        let result = PublicValue::check(Group::Modp8192, value);
        assert_eq!(result.is_ok(), vector["accept"].as_bool().unwrap(), "{}", vector["name"]);
    }
}

#[test]
fn exchanges_end_in_the_same_shared_key() {
    for vector in section("dh_exchange") {
        for (own, peer) in [("client", "server"), ("server", "client")] {
            let exponent = hex(&vector[format!("{own}_private_hex")]);
            let seed = ExponentSeed::danger_from_exponent(Group::Modp8192, &exponent);
            let pair = vpn_proto::KeyPair::generate(&seed);
            let wire = text(&vector[format!("{own}_wire")]);
            assert_eq!(format!("DHMKE:{}", pair.public_text()), wire);
            let number = text(&vector[format!("{peer}_wire")]).strip_prefix("DHMKE:").unwrap();
            let value = PublicValue::check(Group::Modp8192, number.parse().unwrap()).unwrap();
            let secret = pair.agree(&value);
            let expected = BigUint::from_bytes_be(&hex(&vector["secret_hex"]));
            assert_eq!(BigUint::from_bytes_be(secret.as_bytes()), expected);
            assert_shared_key(&secret, vector);
        }
    }
}

/// The shared key shows in what is cut from it: 512 bits of key are all of it.
fn assert_shared_key(secret: &SharedSecret, vector: &Value) {
    let blowfish = Registry::linked().unwrap().find("Blowfish").unwrap();
    let size = KeySize::from_bits(448).unwrap();
    let cut = SharedKey::derive(secret).cut(SuiteId { suite: blowfish, size }).unwrap();
    let expected = text(&vector["shared_key"]).as_bytes();
    assert_eq!([&cut.key[..], &cut.iv[..]].concat(), expected);
}

#[test]
fn secrets_are_encoded_with_their_leading_zero() {
    for vector in section("shared_key_encoding") {
        assert_shared_key(&SharedSecret::new(hex(&vector["secret_hex"])), vector);
        // As many leading zeros as a prime's size may bring do not matter.
        let mut padded = vec![0; 64];
        padded.extend(hex(&vector["secret_hex"]));
        assert_shared_key(&SharedSecret::new(padded), vector);
    }
}

#[test]
fn key_and_iv_are_cut() {
    let mut tested = 0;
    for vector in section("key_iv") {
        let Some(id) = suite(vector) else { continue };
        let Ok(shared) = text(&vector["shared_key"]).as_bytes().try_into() else { continue };
        let cut = SharedKey::from_text(shared).cut(id).unwrap();
        assert_eq!(*cut.key, unpadded_key(vector), "{vector}");
        assert_eq!(*cut.iv, hex(&vector["iv_hex"]), "{vector}");
        let is_usable = vector["usable"].as_bool() != Some(false);
        assert_eq!(id.suite.encryptor(&cut.key).is_ok(), is_usable, "{vector}");
        tested += 1;
    }
    assert!(tested >= 20, "{tested}");
}

#[test]
fn texts_are_padded_to_sixteen() {
    let id = suite(&serde_json::json!({"cipher": "AES", "size": 128})).unwrap();
    let keys = SessionKeys { key: Zeroizing::new(vec![1; 16]), iv: Zeroizing::new(vec![2; 16]) };
    for vector in section("padding") {
        let mut sealer = Sealer::new(id, &keys, MacRule::PerMessage, Chaining::Chain).unwrap();
        let message = sealer.seal(text(&vector["text"]).as_bytes()).unwrap();
        let (ciphertext, _) = message.split_at(message.len() - 64);
        let mut padded = ciphertext.to_vec();
        let cipher = id.suite.decryptor(&keys.key).unwrap();
        cipher.decrypt(&mut keys.iv.clone(), &mut padded).unwrap();
        assert_eq!(padded, hex(&vector["padded_hex"]), "{vector}");
    }
}

/// The wire form of a vector's message.
fn frame(vector: &Value) -> Vec<u8> {
    let mut frame = hex(&vector["ciphertext_hex"]);
    frame.extend_from_slice(text(&vector["hmac"]).as_bytes());
    frame
}

#[test]
fn messages_are_sealed_and_opened() {
    let mut tested = 0;
    for vector in section("message") {
        let Some(id) = suite(vector) else { continue };
        let keys = keys(vector);
        let (mac, chaining) = (MacRule::PerMessage, Chaining::Chain);
        let mut sealer = Sealer::new(id, &keys, mac, chaining).unwrap();
        assert_eq!(sealer.seal(text(&vector["text"]).as_bytes()).unwrap(), frame(vector));
        let mut opener = Opener::new(id, &keys, &[mac], chaining, Strip::Both, 4096).unwrap();
        opener.push(&frame(vector));
        let opened = opener.next_message().unwrap().unwrap();
        assert_eq!(opened, text(&vector["opened"]).as_bytes(), "{}", vector["label"]);
        assert_eq!(opener.pending(), 0);
        tested += 1;
    }
    assert_eq!(tested, section("message").len());
}

#[test]
fn sequences_are_sealed_and_opened_byte_by_byte() {
    let mut tested = 0;
    for vector in section("sequence") {
        let Some(id) = suite(vector) else { continue };
        let keys = keys(vector);
        let mac = match text(&vector["mac"]) {
            "cumulative" => MacRule::Cumulative,
            _ => MacRule::PerMessage,
        };
        let chaining = match text(&vector["cbc"]) {
            "restart" => Chaining::Restart,
            _ => Chaining::Chain,
        };
        let mut sealer = Sealer::new(id, &keys, mac, chaining).unwrap();
        // A server does not know the rule beforehand.
        let rules = [MacRule::PerMessage, MacRule::Cumulative];
        let mut opener = Opener::new(id, &keys, &rules, chaining, Strip::Both, 4096).unwrap();
        for message in vector["messages"].as_array().unwrap() {
            let wire = frame(message);
            assert_eq!(sealer.seal(text(&message["text"]).as_bytes()).unwrap(), wire);
            let mut opened = None;
            for byte in wire {
                assert_eq!(opened, None, "a message opened before its end");
                opener.push(&[byte]);
                opened = opener.next_message().unwrap();
            }
            assert_eq!(opened.unwrap(), text(&message["opened"]).as_bytes());
        }
        let first = &vector["messages"][0]["text"];
        if first != "" {
            assert_eq!(opener.mac_rule(), Some(mac), "{vector}");
        }
        tested += 1;
    }
    assert_eq!(tested, section("sequence").len());
}

/// What a server makes of frames with silence, then the end, behind each: the texts, and the error.
fn served(
    vector: &Value,
    frames: &[Vec<u8>],
    mac: MacRule,
) -> (Vec<Vec<u8>>, Option<SessionError>) {
    let dialect = Dialect { mac, ..Dialect::SPEC };
    let keys = keys(vector);
    let id = suite(vector).unwrap();
    let params = params(Vec::new(), DialectPlan::fixed(dialect));
    let mut session =
        vpn_proto::classic::ServerSession::resume(id, &keys, dialect, &params).unwrap();
    let mut now = Instant::now();
    let mut texts = Vec::new();
    for frame in frames {
        session.handle_input(frame, now);
        loop {
            match session.next_text(now) {
                Ok(Some(text)) => texts.push(text),
                Ok(None) => break,
                Err(error) => return (texts, Some(error)),
            }
        }
        now += Duration::from_millis(500);
        if let Err(error) = session.handle_timeout(now) {
            return (texts, Some(error));
        }
    }
    (texts, session.handle_eof().err())
}

#[test]
fn bad_messages_are_told_from_good_ones() {
    for vector in section("hmac_error") {
        let label = vector["label"].as_str().unwrap_or("intact");
        if let Some(frames) = vector.get("frames_hex") {
            let frames: Vec<_> = frames.as_array().unwrap().iter().map(hex).collect();
            let (texts, error) = served(vector, &frames, MacRule::Cumulative);
            assert!(texts.len() == 1 && matches!(error, Some(SessionError::BadHmac { .. })));
            let (texts, error) = served(vector, &frames, MacRule::PerMessage);
            assert!(texts.len() == 2 && texts[0] != texts[1] && error.is_none());
            continue;
        }
        let (texts, error) = served(vector, &[hex(&vector["frame_hex"])], MacRule::PerMessage);
        let expected = vector["expect"].get("error").map(text);
        match (label, expected) {
            // The message is whole; the byte behind it is the beginning of another.
            ("one byte more", _) => {
                assert_eq!((texts.len(), error), (1, Some(SessionError::Truncated { pending: 1 })));
            }
            (_, None) => {
                assert_eq!(texts, [text(&vector["expect"]["ok"]).as_bytes()]);
                assert_eq!(error, None);
            }
            (_, Some("Bad HMAC")) => {
                assert!(matches!(error, Some(SessionError::BadHmac { .. })), "{label}: {error:?}");
                assert!(texts.is_empty());
            }
            (_, Some(_)) => {
                let error = error.unwrap();
                assert!(!matches!(error, SessionError::BadHmac { .. }), "{label}: {error:?}");
                assert!(texts.is_empty());
            }
        }
    }
}

#[test]
fn replies_have_the_form_of_their_dialect() {
    let id = suite(&serde_json::json!({"cipher": "AES", "size": 128})).unwrap();
    let keys = SessionKeys { key: Zeroizing::new(vec![1; 16]), iv: Zeroizing::new(vec![2; 16]) };
    for vector in section("reply") {
        for name in ["capture", "field2020", "field2025"] {
            let dialect = dialect(name).unwrap();
            let params = params(Vec::new(), DialectPlan::fixed(dialect));
            let mut session =
                vpn_proto::classic::ServerSession::resume(id, &keys, dialect, &params).unwrap();
            let mut sealer = Sealer::new(id, &keys, dialect.mac, dialect.chaining).unwrap();
            let now = Instant::now();
            session.handle_input(&sealer.seal(text(&vector["text"]).as_bytes()).unwrap(), now);
            let received = session.next_text(now).unwrap().unwrap();
            let reply = session.reply(&vpn::session::reversed(&received));
            assert_eq!(reply, hex(&vector[format!("{name}_hex")]), "{name} {vector}");
        }
    }
}

#[test]
fn conversations_are_replayed_byte_by_byte_in_both_roles() {
    let mut tested = 0;
    for vector in section("conversation") {
        let Some(supported) = enabled(&vector["server_supports"]) else { continue };
        let dialect = dialect(text(&vector["dialect"])).unwrap();
        replay_server(vector, params(supported, DialectPlan::fixed(dialect)));
        if let Some(offered) = enabled(&vector["client_offers"]) {
            replay_client(vector, params(offered, DialectPlan::fixed(dialect)));
        }
        tested += 1;
    }
    assert_eq!(tested, section("conversation").len());
}

fn wire(vector: &Value) -> Vec<(&str, Vec<u8>)> {
    let frames = vector["wire"].as_array().unwrap();
    frames.iter().map(|f| (text(&f["from"]), hex(&f["hex"]))).collect()
}

/// Feeds a handshake message, then silence if there is something that silence would end.
fn feed(handshake: &mut impl Handshake, bytes: &[u8], now: &mut Instant) {
    handshake.handle_input(bytes, *now).unwrap();
    if let Some(due) = handshake.poll_timeout() {
        *now = due;
        handshake.handle_timeout(due).unwrap();
    }
}

fn replay_server(vector: &Value, params: ClassicParams) {
    let exponent = hex(&vector["server_private_hex"]);
    let seed = ExponentSeed::danger_from_exponent(Group::Modp8192, &exponent);
    let mut server = ServerHandshake::with_seed(params, seed);
    let mut now = Instant::now();
    let wire = wire(vector);
    let (handshake, messages) = wire.split_at(4);
    for pair in handshake.chunks(2) {
        assert_eq!((pair[0].0, pair[1].0), ("client", "server"));
        feed(&mut server, &pair[0].1, &mut now);
        assert_eq!(settle(&mut server), pair[1].1);
    }
    let mut session = server.take_session().unwrap();
    let mut replies = messages.iter().filter(|(from, _)| *from == "server");
    for (_, bytes) in messages.iter().filter(|(from, _)| *from == "client") {
        session.handle_input(bytes, now);
        let text = session.next_text(now).unwrap().unwrap();
        let reply = session.reply(&vpn::session::reversed(&text));
        // Nothing is sent for an empty text in some dialects, and then nothing is recorded.
        let expected = if reply.is_empty() { &Vec::new() } else { &replies.next().unwrap().1 };
        assert_eq!(&reply, expected);
    }
    assert!(replies.next().is_none());
}

fn replay_client(vector: &Value, params: ClassicParams) {
    let exponent = hex(&vector["client_private_hex"]);
    let seed = ExponentSeed::danger_from_exponent(Group::Modp8192, &exponent);
    let mut now = Instant::now();
    let mut client = ClientHandshake::with_seed(params, seed, now);
    let wire = wire(vector);
    assert_eq!(settle(&mut client), wire[0].1);
    feed(&mut client, &wire[1].1, &mut now);
    assert_eq!(settle(&mut client), wire[2].1);
    feed(&mut client, &wire[3].1, &mut now);
    assert_eq!(settle(&mut client), b"");
    let mut session = client.take_session().unwrap();
    let mut messages = wire[4..].iter();
    for sent in vector["texts"].as_array().unwrap() {
        let message = session.send(text(sent), now).unwrap();
        assert_eq!(message, messages.next().unwrap().1);
        let reply = &messages.next().unwrap().1;
        session.handle_input(reply, now);
        now += Timing::default().quiet;
        let shown = session.next_reply(now).unwrap().unwrap();
        assert_eq!(shown, vpn::session::reversed(text(sent).as_bytes()));
    }
}

#[test]
fn the_recorded_capture_is_read() {
    let frames = DATA["capture"]["frames"].as_array().unwrap();
    let texts: Vec<&str> = frames.iter().filter_map(|f| f["text"].as_str()).collect();
    let offer = Offer::parse(texts[0]).unwrap();
    assert_eq!(offer.entries().len(), 3);
    let (choice, separator) = Choice::parse(texts[1]).unwrap();
    assert_eq!((choice.to_string().as_str(), separator), ("AES256", Separator::Comma));
    // Of the two public values the recording has the form only: so many digits.
    for frame in frames.iter().filter(|f| f.get("form").is_some()) {
        assert_eq!(frame["form"], "DHMKE: and 2466 digits");
        let share = format!("DHMKE:{}", "3".repeat(2466));
        assert_eq!(frame["bytes"], share.len());
        assert_eq!(number_read(share.as_bytes()).unwrap().to_string(), share[6..]);
    }
    let data: Vec<_> = frames
        .iter()
        .filter(|f| f["from"] == "client" && f.get("hex").is_some())
        .map(|f| hex(&f["hex"]))
        .collect();
    assert_eq!(data.len(), 2);
    for message in data {
        let (ciphertext, tag) = message.split_at(message.len() - 64);
        assert_eq!(ciphertext.len() % 16, 0);
        assert!(tag.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    }
}

#[test]
fn replies_are_read_as_a_client_shows_them() {
    let id = suite(&serde_json::json!({"cipher": "AES", "size": 128})).unwrap();
    let keys = SessionKeys { key: Zeroizing::new(vec![1; 16]), iv: Zeroizing::new(vec![2; 16]) };
    let dialect = Dialect::CAPTURE;
    let params = params(Vec::new(), DialectPlan::fixed(dialect));
    for vector in section("reply_read") {
        let mut session =
            vpn_proto::classic::ClientSession::resume(id, &keys, dialect, &params).unwrap();
        let shown = text(&vector["shown"]);
        let now = Instant::now();
        // The text that this is the reply to.
        let sent: String = shown.chars().rev().collect();
        session.send(&sent, now).unwrap();
        session.handle_input(&hex(&vector["wire_hex"]), now);
        let reply = session.next_reply(now + Timing::default().quiet).unwrap().unwrap();
        assert_eq!(reply, shown.as_bytes(), "{vector}");
    }
}
