//! Newcomers of both profiles are served in every kind of flood.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use vpn::net::DhPool;
use vpn_proto::sealed::ClientConfig;

use super::attackers::{Arsenal, Attack, From, flood, newcomer};
use super::newcomers::{
    Fates, classic_message, classic_session, come, percentiles, sealed_message, sealed_session,
    talk,
};
use super::{EndOf, MEMORY_KIB, TURN, print, seconds};
use crate::support::adversary::{CLIENT_SEED, client_config, key_line};
use crate::support::{DEADLINE, Keys, SHIPPED, Server};

/// For how long each of the other floods lasts, unless VPN_FLOOD_SECONDS says otherwise.
const SCENARIO: Duration = Duration::from_millis(1200);

/// One flood.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    attacks: &'static [Attack],
    from: From,
    is_exempt: bool,
}

/// How long the answers took in the sessions that were there before, and how newcomers fared.
#[derive(Debug)]
struct Seen {
    sealed_live: Vec<Duration>,
    classic_live: Vec<Duration>,
    sealed: Fates,
    classic: Fates,
}

impl Scenario {
    /// Runs the flood; what went wrong.
    fn run(self, arsenal: &Arc<Arsenal>) -> Vec<String> {
        let keys = Keys::new();
        keys.folder.file("authorized", key_line(&CLIENT_SEED));
        let exempt = if self.is_exempt { "" } else { "\n[limits]\nexempt = []\n" };
        let server = keys.server_with(&format!("{SHIPPED}{exempt}"), &["--classic"]);
        let server_key = keys.public("server").bytes;
        let config = Arc::new(ClientConfig { server_key: Some(server_key), ..client_config() });
        let is_over = AtomicBool::new(false);
        let (ready, is_ready) = channel();
        let (address, is_over) = (server.address(), &is_over);
        let seen = std::thread::scope(|scope| {
            let _end = EndOf(is_over);
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(self.look_on(address, config, || {
                scope.spawn(move || {
                    flood(address, self.attacks, self.from, arsenal, &ready, is_over);
                });
                is_ready.recv_timeout(DEADLINE).expect("the flood begins in time");
            }))
        });
        self.judge(seen, &server)
    }

    /// Talks in sessions that were there before the flood, and comes as a newcomer during it.
    async fn look_on(
        self,
        address: SocketAddr,
        config: Arc<ClientConfig>,
        begin: impl FnOnce(),
    ) -> Seen {
        let (pool, from) = (&DhPool::new(1), self.from);
        let live_from = newcomer(From::Addresses(1));
        let mut live = sealed_session(address, live_from, config.clone(), pool).await.unwrap();
        let (mut stream, mut session) = classic_session(address, live_from, pool).await.unwrap();
        sealed_message(&mut live, "before").await.unwrap();
        classic_message(&mut stream, &mut session, "before").await.unwrap();
        begin();
        // Three quarters, so that all of them take no more than a few minutes.
        let duration = seconds().map_or(SCENARIO, |s| Duration::from_secs(s) * 3 / 4);
        let end = Instant::now() + duration;
        let (sealed_live, classic_live, sealed, classic) = tokio::join!(
            talk(end, async || sealed_message(&mut live, "a live session").await),
            talk(end, async || {
                classic_message(&mut stream, &mut session, "a live session").await
            }),
            come(end, async || {
                let config = config.clone();
                let mut session = sealed_session(address, newcomer(from), config, pool).await?;
                sealed_message(&mut session, "somebody new").await
            }),
            come(end, async || {
                let (mut stream, mut session) =
                    classic_session(address, newcomer(from), pool).await?;
                classic_message(&mut stream, &mut session, "somebody new").await
            }),
        );
        Seen { sealed_live, classic_live, sealed, classic }
    }

    /// Prints what was seen; what is wrong with it.
    fn judge(self, mut seen: Seen, server: &Server) -> Vec<String> {
        let kind = if self.is_exempt { "exempt" } else { "counted" };
        let name = format!("{:?} {:?} {kind}", self.attacks, self.from);
        let (_, sealed_p99) = percentiles(&mut seen.sealed_live);
        let (_, classic_p99) = percentiles(&mut seen.classic_live);
        let memory = server.peak_memory();
        print(&format!(
            "flood {name}: sealed {}; classic {}; live replies {} + {}, p99 {sealed_p99} + \
             {classic_p99} ms; {} MiB",
            seen.sealed.line(),
            seen.classic.line(),
            seen.sealed_live.len(),
            seen.classic_live.len(),
            memory / 1024
        ));
        let mut wrong = Vec::new();
        wrong.extend(seen.sealed.trouble().map(|t| format!("{name}: sealed: {t}")));
        wrong.extend(seen.classic.trouble().map(|t| format!("{name}: classic: {t}")));
        if memory > MEMORY_KIB {
            wrong.push(format!("{name}: {memory} KiB"));
        }
        wrong
    }
}

#[test]
fn newcomers_of_both_profiles_are_served_in_every_flood() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Attackers that wait need a descriptor each.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let arsenal = Arc::new(Arsenal::new());
    let scenarios: [(&'static [Attack], From, bool); 12] = [
        (&[Attack::Classic(100)], From::Addresses(1), false),
        (&[Attack::Classic(100)], From::Addresses(8), false),
        (&[Attack::Classic(100)], From::Addresses(30), false),
        (&[Attack::Classic(100)], From::Addresses(60), false),
        (&[Attack::Classic(100)], From::Addresses(60), true),
        (&[Attack::Classic(100)], From::Own, false),
        (&[Attack::Classic(100)], From::Own, true),
        (&[Attack::Silent(256)], From::Own, true),
        (&[Attack::Silent(500)], From::Addresses(60), false),
        (&[Attack::Sealed(200)], From::Own, false),
        (&[Attack::Halves(100)], From::Addresses(30), true),
        (&[Attack::Silent(256), Attack::Classic(50), Attack::Sealed(50)], From::Addresses(8), true),
    ];
    let wrong: Vec<String> = scenarios
        .into_iter()
        .flat_map(|(attacks, from, is_exempt)| Scenario { attacks, from, is_exempt }.run(&arsenal))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
