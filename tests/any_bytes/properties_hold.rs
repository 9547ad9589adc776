//! Parsers and whole sessions keep their promises for values drawn at random.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use vpn::config::{Overrides, Settings, Source};
use vpn::session::reversed;
use vpn_proto::classic::{
    ClassicParams, ClientHandshake, ClientSession, Dialect, DialectPlan, Handshake,
    ServerHandshake, ServerSession, Telling, Timing,
};
use vpn_proto::{Choice, EnabledSuite, Group, Offer, OfferEntry, Printable, Separator};
use vpn_suite::{CipherSuite, KeySize, KeySizes, Registry};

use crate::any_bytes::checks;
use crate::any_bytes::checks::classic_session::{reply, work};

/// So many cases of each property; failures are printed whole and leave no file behind.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof!["[A-Za-z0-9+._-]{1,12}", "AES|DES3|3DES|TDES|Blowfish|DES"]
}

fn any_offer() -> impl Strategy<Value = Offer> {
    let size = prop_oneof![0u32..999_999, Just(128), Just(192), Just(256), Just(448)];
    let entry = (any_name(), prop::collection::vec(size, 0..6))
        .prop_map(|(name, sizes)| OfferEntry { name, sizes });
    prop::collection::vec(entry, 1..8).prop_map(Offer::new)
}

/// The characters of Unicode with the property `Bidi_Control`.
fn is_reordering(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Bytes that have the look of a message, and bytes that have not.
fn any_wire(head: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let like = format!("{head}[A-Za-z0-9:,\\[\\] ]{{0,80}}(\r?\n)?");
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::string::string_regex(&like).unwrap().prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..100)
            .prop_map(move |tail| [head.as_bytes(), &tail].concat()),
    ]
}

/// A basic string of TOML.
fn toml_text(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn offers_survive_the_wire(offer in any_offer()) {
        prop_assert_eq!(Offer::parse(&offer.to_wire()), Ok(offer.clone()));
        checks::proposal(offer.to_wire().as_bytes());
    }

    #[test]
    fn choices_survive_the_wire(name in any_name(), bits in 0u32..999_999) {
        let choice = Choice { name, bits };
        for separator in [Separator::Colon, Separator::Comma] {
            let wire = choice.to_wire(separator);
            prop_assert_eq!(Choice::parse(&wire), Ok((choice.clone(), separator)));
            checks::choice(wire.as_bytes());
        }
    }

    #[test]
    fn any_bytes_as_a_proposal_get_one_answer_however_they_are_cut(wire in any_wire("ProposedCiphers:")) {
        checks::proposal(&wire);
    }

    #[test]
    fn any_bytes_as_a_choice_get_one_answer_however_they_are_cut(wire in any_wire("ChosenCipher:")) {
        checks::choice(&wire);
    }

    #[test]
    fn any_text_as_a_configuration_is_read_or_refused_by_its_line(text in prop_oneof![
        ".{0,200}",
        "\\[\\[supported_cipher\\]\\]\nname = \"[A-Za-z0-9]{0,8}\"\nkeys = \\[[0-9, ]{0,20}\\]\n",
        "\\[(classic|server|limits)\\]\n[a-z_]{1,20} = ([0-9]{1,9}|\"[a-z,:-]{0,12}\")\n",
    ]) {
        checks::config(text.as_bytes());
    }

    #[test]
    fn shown_bytes_move_no_cursor(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "[\u{80}-\u{a0}\u{61c}\u{200b}-\u{206f}a-zא-ת]{0,60}".prop_map(String::into_bytes),
        any::<String>().prop_map(String::into_bytes),
    ]) {
        let shown = Printable(&bytes).to_string();
        prop_assert!(!shown.chars().any(char::is_control));
        prop_assert!(!shown.contains(is_reordering));
        // Escaping what is escaped already changes nothing.
        prop_assert_eq!(Printable(shown.as_bytes()).to_string(), shown);
    }

    #[test]
    fn key_sizes_are_whole_bytes(bits in prop_oneof![any::<u32>(), 0u32..5000]) {
        let size = KeySize::from_bits(bits);
        prop_assert_eq!(size.is_some(), bits > 0 && bits % 8 == 0 && bits <= 4096);
        if let Some(size) = size {
            prop_assert_eq!((size.bits(), size.to_string()), (bits, bits.to_string()));
            prop_assert_eq!(KeySize::from_bytes(size.bytes()), Some(size));
        }
    }

    #[test]
    fn ranges_of_key_sizes_have_every_step(
        min in prop_oneof![any::<u32>(), 0u32..600],
        max in prop_oneof![any::<u32>(), 0u32..600],
        step in prop_oneof![any::<u32>(), 0u32..100],
    ) {
        let sizes = KeySizes::Range { min, max, step };
        let found: Vec<u32> = sizes.iter().map(KeySize::bits).collect();
        let is_in = |bits: u32| {
            (min..=max).contains(&bits) && (bits - min).is_multiple_of(step.max(1))
        };
        let expected: Vec<u32> = (8..=4096).step_by(8).filter(|bits| is_in(*bits)).collect();
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(sizes.longest().map(KeySize::bits), expected.last().copied());
        for bits in [min, max, 128] {
            if let Some(size) = KeySize::from_bits(bits) {
                prop_assert_eq!(sizes.contains(size), expected.contains(&bits));
            }
        }
    }

    #[test]
    fn any_bytes_as_a_reply_are_bounded_and_do_no_harm(
        text in prop_oneof!["\\PC{0,20}", "[a-c\0\n]{0,20}"],
        data in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..1500),
            "(Server says: )?[a-c\0\r\n]{0,40}(Bad HMAC)?\0{0,16}\n?".prop_map(String::into_bytes),
        ],
        size in 1usize..200,
        is_honest in any::<bool>(),
    ) {
        reply(&text, &data, size);
        if is_honest {
            let behind = [reversed(text.as_bytes()), data].concat();
            reply(&text, &behind, size);
        }
    }

    #[test]
    fn a_configuration_means_what_it_says(
        handshake in 1u64..=86_400,
        message in 1u64..=86_400,
        idle in 1u64..=31_536_000,
        sessions in 1usize..=1_000_000,
        bytes in 16usize..=16_777_216,
        workers in 1usize..=256,
        quiet in 1u64..=60_000,
        port in any::<u16>(),
        host in "\\PC{0,30}",
        group in 14u8..=18,
        choice in prop::sample::select(&Dialect::PRESETS[..]),
    ) {
        let text = format!(
            "[[supported_cipher]]\nname = 'AES'\nkeys = [128]\n\
             [classic]\ndialect = '{}'\ngroup = {group}\nquiet_ms = {quiet}\n\
             [server]\nhost = {}\nport = {port}\n\
             [limits]\nhandshake_seconds = {handshake}\nmessage_seconds = {message}\n\
             idle_seconds = {idle}\nsessions = {sessions}\nmessage_bytes = {bytes}\n\
             dh_workers = {workers}\n",
            choice.0,
            toml_text(&host),
        );
        let registry = Registry::linked().unwrap();
        let overrides = Overrides::default();
        let settings = Settings::parse(&text, Source::BuiltIn, &registry, &overrides).unwrap();
        let mut plan = DialectPlan::fixed(choice.1);
        plan.base.group = Group::from_number(group).unwrap();
        prop_assert_eq!(format!("{:?}", settings.classic.plan), format!("{plan:?}"));
        let seconds = Duration::from_secs;
        let (timing, limits) = (settings.timing(), settings.limits.net);
        prop_assert_eq!(timing.quiet, Duration::from_millis(quiet));
        prop_assert!(timing.settled <= timing.quiet);
        prop_assert_eq!(
            (timing.message, limits.handshake, limits.idle),
            (seconds(message), seconds(handshake), seconds(idle))
        );
        prop_assert_eq!(
            (limits.sessions, limits.message, limits.dh_workers),
            (sessions, bytes, workers)
        );
        prop_assert_eq!((settings.server.host, settings.server.port), (Some(host), Some(port)));
    }

    #[test]
    fn harmless_text_is_shown_as_it_is(text in "[ -~äöüßéñ日本語한국어Ελληνικά]{0,60}") {
        prop_assert_eq!(Printable(text.as_bytes()).to_string(), text);
    }

    #[test]
    fn a_configuration_enables_what_it_lists(
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..8),
    ) {
        let registry = Registry::linked().unwrap();
        let suites: Vec<&dyn CipherSuite> = registry.iter().map(|s| s as _).collect();
        let mut listed: Vec<(&str, Vec<u32>)> = Vec::new();
        for (suite, size) in picks {
            let suite = suites[suite.index(suites.len())];
            let sizes: Vec<KeySize> = suite.key_sizes().iter().collect();
            let bits = sizes[size.index(sizes.len())].bits();
            match listed.iter_mut().find(|(name, _)| *name == suite.name()) {
                Some((_, list)) if list.contains(&bits) => {}
                Some((_, list)) => list.push(bits),
                None => listed.push((suite.name(), vec![bits])),
            }
        }
        let table = |(name, keys): &(&str, Vec<u32>)| {
            format!("[[supported_cipher]]\nname = '{name}'\nkeys = {keys:?}\n")
        };
        let text: String = listed.iter().map(table).collect();
        let overrides = Overrides::default();
        let settings = Settings::parse(&text, Source::BuiltIn, &registry, &overrides).unwrap();
        let enabled: Vec<(&str, Vec<u32>)> = settings
            .ciphers
            .enabled
            .iter()
            .map(|e| (e.suite.name(), e.sizes.iter().map(|s| s.bits()).collect()))
            .collect();
        prop_assert_eq!(enabled, listed);
    }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn any_bytes_as_a_public_value_are_a_number_or_refused(tail in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..700),
        "[ ]{0,3}[0-9]{0,700}(\r?\n)?".prop_map(String::into_bytes),
        "[0-9]{610,620}.{0,3}".prop_map(String::into_bytes),
    ]) {
        checks::dhmke(&tail);
    }

    #[test]
    fn no_alteration_of_a_stream_adds_a_text(data in prop::collection::vec(any::<u8>(), 0..500)) {
        checks::data_stream(&data);
    }

    #[test]
    fn no_bytes_as_a_hello_break_either_side(data in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(any::<u8>(), 0..300)
            .prop_map(|tail| [b"\xf5VPN\x01\x01\x00\x01\x00", &tail[..]].concat()),
    ]) {
        checks::sealed_hello(&data);
    }

    #[test]
    fn no_alteration_of_sealed_records_adds_a_record(data in prop::collection::vec(any::<u8>(), 0..500)) {
        checks::sealed_records(&data);
    }

    #[test]
    fn no_first_bytes_belong_to_both_profiles(data in prop::collection::vec(any::<u8>(), 0..40)) {
        checks::first_byte(&data);
    }

    #[test]
    fn no_fields_of_an_answer_go_beyond_the_offer(data in prop::collection::vec(any::<u8>(), 0..60)) {
        checks::sealed_answer(&data);
    }

    #[test]
    fn no_records_of_a_peer_with_the_keys_break_the_order(
        role in 0..2u8,
        records in prop::collection::vec((0x14..0x1fu8, prop::collection::vec(any::<u8>(), 0..80)), 0..8),
    ) {
        let mut data = vec![role];
        for (content, payload) in records {
            data.extend([content, u8::try_from(payload.len()).unwrap()]);
            data.extend(payload);
        }
        checks::sealed_session(&data);
    }

    #[test]
    fn a_frame_of_channels_is_written_as_it_was_read(kind in 0..9u8, payload in prop::collection::vec(any::<u8>(), 0..60)) {
        checks::channel_frame(&[&[kind], &payload[..]].concat());
    }

    #[test]
    fn no_frames_and_actions_break_the_limits_of_channels(
        flags in 0..4u8,
        steps in prop::collection::vec((0..32u8, 1..4u8, prop::collection::vec(any::<u8>(), 0..12)), 0..40),
    ) {
        let open = b"\0\x01\x08\0\0\x40\0\x01x\0\0\x0c\x01";
        let mut data = [&[flags], &open[..]].concat();
        for (what, id, bytes) in steps {
            data.extend([what, id]);
            if what < 8 {
                data.push(u8::try_from(bytes.len()).unwrap());
            }
            data.extend(bytes);
        }
        checks::channel_session(&data);
    }

    #[test]
    fn no_proof_out_of_nothing_is_accepted(content in 0x14..0x18u8, kind in 0..0x20u8, body in prop::collection::vec(any::<u8>(), 0..140)) {
        let length = u8::try_from(body.len()).unwrap();
        checks::sealed_auth(&[&[content, kind, 0, 0, length], &body[..]].concat());
    }

    #[test]
    fn no_bytes_in_any_state_of_a_session_become_a_text(data in prop::collection::vec(any::<u8>(), 0..900)) {
        checks::server_session(&data);
    }
}

/// How both directions of a connection are cut: sizes of pieces, over and over.
fn any_slicing() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1usize..20, 20usize..5000], 1..12)
}

fn cut<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    let mut pieces = Vec::new();
    while let (false, Some(size)) = (rest.is_empty(), sizes.next()) {
        let (piece, tail) = rest.split_at(*size.min(&rest.len()));
        pieces.push(piece);
        rest = tail;
    }
    pieces
}

fn any_plans() -> impl Strategy<Value = (DialectPlan, DialectPlan)> {
    let fixed = DialectPlan::fixed;
    // The client's and the server's; of the 2020 family a server has to be told.
    prop::sample::select(vec![
        (DialectPlan::AUTO, DialectPlan::AUTO),
        (DialectPlan::AUTO, fixed(Dialect::SPEC)),
        (DialectPlan::AUTO, fixed(Dialect::CAPTURE)),
        (DialectPlan::AUTO, fixed(Dialect::LINES)),
        (fixed(Dialect::SPEC), DialectPlan::AUTO),
        (fixed(Dialect::LINES), DialectPlan::AUTO),
        (fixed(Dialect::CAPTURE), fixed(Dialect::CAPTURE)),
    ])
}

/// One suite with one size, as any configuration could have it.
fn any_suite() -> impl Strategy<Value = EnabledSuite> {
    (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(suite, size)| {
        let registry = Registry::linked().unwrap();
        let suite = registry.iter().nth(suite.index(registry.len())).unwrap();
        let sizes: Vec<KeySize> = suite.key_sizes().iter().collect();
        let size = sizes[size.index(sizes.len())];
        EnabledSuite { suite, wire_name: suite.name(), sizes: vec![size] }
    })
}

/// Any text that arrives whole: without zeros at its ends, which padding cannot tell from itself.
fn any_text() -> impl Strategy<Value = String> {
    let any = prop_oneof![
        "\\PC{0,40}",
        "[a-z ]{0,3000}",
        prop::collection::vec(any::<char>(), 0..900).prop_map(|all| all.into_iter().collect()),
    ];
    any.prop_map(|text: String| text.trim_matches('\0').to_owned())
}

/// Two ends up to the key, with both directions cut; and the time then.
fn shake_hands(
    client: ClassicParams,
    server: ClassicParams,
    to_server: &[usize],
    to_client: &[usize],
) -> (ClientSession, ServerSession, Instant) {
    let mut now = Instant::now();
    let mut client = ClientHandshake::new(client, &mut rand::rng(), now);
    let mut server = ServerHandshake::new(server, &mut rand::rng());
    let (mut ours, mut theirs) = (None, None);
    for _ in 0..100 {
        let (out, back) = (work(&mut client), work(&mut server));
        for piece in cut(&out, to_server) {
            server.handle_input(piece, now).unwrap();
        }
        for piece in cut(&back, to_client) {
            client.handle_input(piece, now).unwrap();
        }
        ours = ours.or_else(|| client.take_session());
        theirs = theirs.or_else(|| server.take_session());
        match (ours.take(), theirs.take()) {
            (Some(ours), Some(theirs)) => return (ours, theirs, now),
            sessions => (ours, theirs) = sessions,
        }
        if out.is_empty() && back.is_empty() {
            let due = [client.poll_timeout(), server.poll_timeout()];
            if let Some(due) = due.into_iter().flatten().min() {
                now = due;
                client.handle_timeout(now).unwrap();
                server.handle_timeout(now).unwrap();
            }
        }
    }
    panic!("the handshake does not come to an end");
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_session_is_the_same_however_it_is_cut(
        suite in any_suite(),
        (client, server) in any_plans(),
        to_server in any_slicing(),
        to_client in any_slicing(),
        texts in prop::collection::vec(any_text(), 1..5),
        telling in prop::sample::select(vec![Telling::Nothing, Telling::Everything]),
    ) {
        let params = |mut plan: DialectPlan| {
            plan.base.group = Group::Modp2048;
            let (enabled, timing) = (vec![suite.clone()].into(), Timing::default());
            ClassicParams { enabled, plan, timing, message_limit: 4096, telling }
        };
        let handshake = shake_hands(params(client), params(server), &to_server, &to_client);
        let (mut client, mut server, mut now) = handshake;
        for text in &texts {
            let message = client.send(text, now).unwrap();
            let mut received = Vec::new();
            for piece in cut(&message, &to_server) {
                server.handle_input(piece, now);
                while let Some(text) = server.next_text(now).unwrap() {
                    received.push(text);
                }
            }
            prop_assert_eq!(&received, &[text.as_bytes().to_vec()]);
            let reply = server.reply(&reversed(text.as_bytes()));
            let mut shown = None;
            for piece in cut(&reply, &to_client) {
                client.handle_input(piece, now);
                shown = shown.or_else(|| client.next_reply(now).unwrap());
            }
            now += Timing::default().quiet;
            let shown = shown.or_else(|| client.next_reply(now).unwrap());
            prop_assert_eq!(shown, Some(reversed(text.as_bytes())));
        }
        prop_assert_eq!(server.handle_eof(), Ok(()));
    }
}
