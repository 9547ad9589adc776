//! Many sessions at once.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Peer;
use crate::channel::{Channel, Dialler};
use crate::rtt::percentiles;

/// Sessions that are started at the same time, below the limits of all peers.
const AT_ONCE: usize = 16;

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

async fn dial(dialler: &Dialler, count: usize) -> io::Result<Vec<Channel>> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut dialling = JoinSet::new();
    for _ in 0..count {
        let (dialler, places) = (dialler.clone(), places.clone());
        dialling.spawn(async move {
            let _place = places.acquire().await.map_err(io::Error::other)?;
            tokio::time::timeout(crate::DEADLINE, dialler.dial()).await?
        });
    }
    let mut channels = Vec::with_capacity(count);
    while let Some(dialled) = dialling.join_next().await {
        channels.push(dialled.map_err(io::Error::other)??);
    }
    Ok(channels)
}

/// Holds idle sessions. Each has sent one message.
pub(crate) fn hold(peer: &Peer, steps: &[usize]) -> io::Result<String> {
    runtime()?.block_on(async {
        let dialler = Dialler::new(peer)?;
        let mut held = JoinSet::new();
        for &step in steps {
            for mut channel in dial(&dialler, step.saturating_sub(held.len())).await? {
                held.spawn(async move { channel.idle().await });
            }
            println!("held {}", held.len());
            let line = tokio::task::spawn_blocking(|| io::stdin().read_line(&mut String::new()));
            tokio::select! {
                read = line => { read.map_err(io::Error::other)??; }
                Some(lost) = held.join_next() => return Err(lost.map_err(io::Error::other)?),
            }
        }
        Ok(format!(r#"{{"held":{}}}"#, held.len()))
    })
}

/// Keeps sessions busy for some seconds, each with one message on its way.
pub(crate) fn busy(peer: &Peer, sessions: usize, seconds: f64) -> io::Result<String> {
    runtime()?.block_on(async {
        let channels = dial(&Dialler::new(peer)?, sessions).await?;
        let start = Instant::now();
        let end = start + Duration::from_secs_f64(seconds);
        let mut working = JoinSet::new();
        for mut channel in channels {
            working.spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < end {
                    let start = Instant::now();
                    channel.round_trip().await?;
                    times.push(start.elapsed());
                }
                Ok::<_, io::Error>(times)
            });
        }
        let mut times = Vec::new();
        while let Some(worked) = working.join_next().await {
            times.extend(worked.map_err(io::Error::other)??);
        }
        let per_second = times.len() as f64 / start.elapsed().as_secs_f64();
        let (p50, p99) = percentiles(&mut times);
        Ok(format!(
            r#"{{"sessions":{sessions},"count":{},"per_second":{per_second:.1},"p50":{p50:.2},"p99":{p99:.2}}}"#,
            times.len()
        ))
    })
}
