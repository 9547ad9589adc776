//! `vpn speed`: measures this machine, with the code that sessions use.

use std::time::{Duration, Instant};

use serde::Serialize;
use vpn_suite::{CipherSuite, KeySize, Registry};

use super::args::SpeedArgs;
use super::failure::{Exit, Failure};
use super::print;
use crate::term::{Counted, Progress};
use vpn_proto::sealed::{Kex, KexKeyPair, RecordOpener, RecordSealer, SealedError, TrafficSecret};
use vpn_proto::{DhOutcome, DhTask, ExponentSeed, Group, SuiteId};

/// The records in a batch, the same number as in a session.
const BATCH: usize = 16;
/// The default sizes of payloads, in bytes.
const SIZES: [usize; 3] = [64, 1024, 16384];
/// The name of the classic profile's key exchange.
const CLASSIC: &str = "modp8192";
/// The type of record measured: data.
const DATA: u8 = 0x17;

/// One line of the result.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Row {
    Records {
        suite: &'static str,
        bits: u32,
        op: &'static str,
        /// Bytes of payload in a record.
        size: usize,
        /// Records in a batch.
        batch: usize,
        /// Payload in 10^6 bytes per second.
        mb_per_s: f64,
        kernel: String,
    },
    Exchange {
        kex: String,
        op: &'static str,
        per_s: f64,
    },
}

pub(super) fn run(args: &SpeedArgs, registry: &Registry) -> Result<(), Failure> {
    if args.portable {
        vpn_suite::force_portable(true);
    } else {
        vpn_suite::force_kernels(&kernels(&args.kernel, registry)?);
    }
    let wanted = wanted(&args.suite, registry)?;
    let time = Duration::from_millis(args.time);
    let sizes: Vec<usize> = match args.size.is_empty() {
        true => SIZES.to_vec(),
        false => args.size.iter().copied().map(usize::from).collect(),
    };
    let exchanges: &[Kex] = if args.no_kex { &[] } else { &Kex::ALL };
    // The classic profile's group is one more.
    let steps = wanted.len() + exchanges.len() + usize::from(!args.no_kex);
    let mut progress = match args.no_progress {
        true => Progress::none(),
        false => Progress::start(Counted::Steps, Some(steps as u64)),
    };
    let mut rows = Vec::new();
    for id in wanted {
        progress.step(&format!("{}:{}", id.suite.name(), id.size.bits()));
        for &size in &sizes {
            for batch in [1, BATCH] {
                rows.extend(records(id, size, batch, time).map_err(failed)?);
            }
        }
    }
    for &kex in exchanges {
        progress.step(kex.name());
        rows.extend(exchange(kex, time).map_err(failed)?);
    }
    if !args.no_kex {
        progress.step(CLASSIC);
        rows.extend(classic(time));
    }
    progress.stop();
    if args.json {
        let json = serde_json::to_string_pretty(&rows).map_err(failed)?;
        return print(&format!("{json}\n"));
    }
    print(&table(&rows))
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Local, format_args!("cannot measure: {error}"))
}

/// The suites to measure. A suite without a named size has all its sizes if they are few, else the
/// longest one.
fn wanted(names: &[String], registry: &Registry) -> Result<Vec<SuiteId>, Failure> {
    let usage = |problem: String| Failure::new(Exit::Usage, problem);
    if names.is_empty() {
        return Ok(registry.iter().flat_map(sizes_of).collect());
    }
    let mut wanted = Vec::new();
    for text in names {
        let (name, bits) = match text.split_once(':') {
            Some((name, bits)) => (name, Some(bits)),
            None => (text.as_str(), None),
        };
        let suite = registry.find_ignoring_case(name).ok_or_else(|| {
            let linked = registry.names().collect::<Vec<_>>().join(", ");
            usage(format!("--suite: unknown cipher '{name}' (linked: {linked})"))
        })?;
        match bits {
            None => wanted.extend(sizes_of(suite)),
            Some(bits) => {
                let size = bits.parse().ok().and_then(KeySize::from_bits);
                let size = size.filter(|s| suite.key_sizes().contains(*s)).ok_or_else(|| {
                    let (name, possible) = (suite.name(), suite.key_sizes());
                    usage(format!("--suite: {name} has no key of {bits} bits ({possible})"))
                })?;
                wanted.push(SuiteId { suite, size });
            }
        }
    }
    Ok(wanted)
}

/// The kernels to use, at most one for each kind of work.
fn kernels(names: &[String], registry: &Registry) -> Result<Vec<&'static str>, Failure> {
    let usage = |problem: String| Failure::new(Exit::Usage, problem);
    // What the kernels of a list do is the same work.
    let lists: Vec<Vec<&'static str>> =
        registry.iter().map(CipherSuite::kernels).chain(vpn_proto::kernel_names()).collect();
    let mut wanted: Vec<&'static str> = Vec::new();
    for text in names {
        let name = lists.iter().flatten().find(|name| *name == text).ok_or_else(|| {
            let mut possible: Vec<String> = Vec::new();
            for name in lists.iter().flatten().map(|name| format!("'{name}'")) {
                if !possible.contains(&name) {
                    possible.push(name);
                }
            }
            let possible = possible.join(", ");
            usage(format!("--kernel: this processor has no kernel '{text}' (it has: {possible})"))
        })?;
        for list in lists.iter().filter(|list| list.contains(name)) {
            if let Some(other) = wanted.iter().find(|other| *other != name && list.contains(other))
            {
                return Err(usage(format!(
                    "--kernel: '{other}' and '{name}' do the same work; choose one"
                )));
            }
        }
        wanted.push(name);
    }
    Ok(wanted)
}

fn sizes_of(suite: &'static dyn CipherSuite) -> Vec<SuiteId> {
    /// More sizes than this would only repeat the same speed.
    const FEW: usize = 3;
    let mut sizes: Vec<KeySize> = suite.key_sizes().iter().collect();
    if sizes.len() > FEW {
        sizes.drain(..sizes.len() - 1);
    }
    sizes.into_iter().map(|size| SuiteId { suite, size }).collect()
}

/// Measures how fast records are sealed and opened.
fn records(
    id: SuiteId,
    size: usize,
    batch: usize,
    time: Duration,
) -> Result<[Row; 2], SealedError> {
    /// Enough bytes that reading the clock does not count, and few enough for the caches.
    const BYTES: usize = 256 * 1024;
    let secret = TrafficSecret::danger_from_bytes([0x5a; 32]);
    let (keys, others) = (secret.record_keys(id)?, secret.record_keys(id)?);
    let kernel = keys.kernel();
    let (mut sealer, mut opener) = (RecordSealer::new(keys), RecordOpener::new(others));
    let rounds = (BYTES / (size * batch)).max(1);
    let data = vec![0x61; size * batch];
    let (mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO);
    let mut bytes = 0;
    let mut out = Vec::new();
    while sealing < time || opening < time {
        out.clear();
        let start = Instant::now();
        for _ in 0..rounds {
            sealer.seal_batch(DATA, &data, size, &mut out)?;
        }
        sealing += start.elapsed();
        let length = out.len() / (rounds * batch);
        let start = Instant::now();
        for records in out.chunks_mut(length * batch) {
            let mut list = [&[][..]; BATCH];
            for (slot, record) in list.iter_mut().zip(records.chunks(length)) {
                *slot = record;
            }
            if opener.verify(&list[..batch])? != batch {
                return Err(SealedError::BadRecord);
            }
            for record in records.chunks_mut(length) {
                std::hint::black_box(opener.open_verified(record)?);
            }
        }
        opening += start.elapsed();
        bytes += rounds * data.len();
    }
    let row = |op, took: Duration| Row::Records {
        suite: id.suite.name(),
        bits: id.size.bits(),
        op,
        size,
        batch,
        mb_per_s: round(bytes as f64 / took.as_secs_f64() / 1e6),
        kernel: kernel.clone(),
    };
    Ok([row("seal", sealing), row("open", opening)])
}

/// Measures each step of a key exchange of the sealed profile, in runs per second.
fn exchange(kex: Kex, time: Duration) -> Result<[Row; 3], SealedError> {
    let rng = &mut rand::rng();
    let share = KexKeyPair::generate(kex, rng).share().to_vec();
    let generate = per_second(time, || drop(KexKeyPair::generate(kex, rng)));
    let mut result = Ok(());
    let rng = &mut rand::rng();
    let respond = per_second(time, || {
        if let Err(error) = kex.respond(&share, rng) {
            result = Err(error);
        }
    });
    result?;
    let mut took = Duration::ZERO;
    let mut count = 0u32;
    while took < time {
        let pair = KexKeyPair::generate(kex, rng);
        let (answer, _) = kex.respond(pair.share(), rng)?;
        let start = Instant::now();
        std::hint::black_box(pair.finish(&answer)?);
        took += start.elapsed();
        count += 1;
    }
    let finish = f64::from(count) / took.as_secs_f64();
    let row = |op, per_s| Row::Exchange { kex: kex.name().to_owned(), op, per_s: round(per_s) };
    Ok([row("generate", generate), row("respond", respond), row("finish", finish)])
}

/// The same for the classic profile's group.
fn classic(time: Duration) -> Vec<Row> {
    let group = Group::Modp8192;
    let rng = &mut rand::rng();
    let generate = || DhTask::Generate(ExponentSeed::draw(group, &mut rand::rng())).run();
    let rate = per_second(time, || drop(generate()));
    let row = |op, per_s| Row::Exchange { kex: CLASSIC.to_owned(), op, per_s: round(per_s) };
    let mut rows = vec![row("generate", rate)];
    let (mut checking, mut agreeing, mut count) = (Duration::ZERO, Duration::ZERO, 0u32);
    while agreeing < time {
        let DhOutcome::Generated(theirs) = generate() else { break };
        let seed = ExponentSeed::draw(group, rng);
        let DhOutcome::Generated(ours) = DhTask::Generate(seed).run() else { break };
        let Ok(value) = theirs.public_text().parse() else { break };
        let start = Instant::now();
        let DhOutcome::Checked(Ok(value)) = DhTask::Check(group, value).run() else { break };
        checking += start.elapsed();
        let start = Instant::now();
        std::hint::black_box(DhTask::Agree(ours, value).run());
        agreeing += start.elapsed();
        count += 1;
    }
    let rate = |took: Duration| f64::from(count) / took.as_secs_f64().max(f64::MIN_POSITIVE);
    rows.extend([row("check", rate(checking)), row("agree", rate(agreeing))]);
    rows
}

fn per_second(time: Duration, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut count = 0u32;
    while start.elapsed() < time {
        work();
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

/// Rounds to about three digits, because further digits change with each run.
fn round(number: f64) -> f64 {
    if number < 100.0 { (number * 10.0).round() / 10.0 } else { number.round() }
}

fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut is_first = [true; 2];
    for row in rows {
        match row {
            Row::Records { suite, bits, op, size, batch, mb_per_s, kernel } => {
                if std::mem::take(&mut is_first[0]) {
                    text.push_str("SUITE            OP    BYTES  BATCH      MB/S  KERNEL\n");
                }
                let suite = format!("{suite}:{bits}");
                text.push_str(&format!(
                    "{suite:16} {op:5} {size:5}  {batch:5}  {mb_per_s:8}  {kernel}\n"
                ));
            }
            Row::Exchange { kex, op, per_s } => {
                if std::mem::take(&mut is_first[1]) {
                    text.push_str("\nKEY EXCHANGE     OP          PER SECOND\n");
                }
                text.push_str(&format!("{kex:16} {op:10}  {per_s:10}\n"));
            }
        }
    }
    text
}
