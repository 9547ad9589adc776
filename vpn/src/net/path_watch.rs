//! Watches for events after which an open connection may be dead although no error has come: the machine
//! was suspended, or it has lost the connection's own address.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;
use std::{fmt, io};

use tokio::time::{Instant, sleep_until};

/// The time between two looks. An event is noticed within this time and one more look.
const TICK: Duration = Duration::from_secs(1);
/// A clock that stood still for longer than this means that the machine was suspended.
const JUMP: Duration = Duration::from_secs(2);

/// What may have broken a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// The machine was suspended for about this time.
    Suspended(Duration),
    /// The machine no longer has the connection's local address.
    AddressGone,
}

/// Watches the path of one connection.
#[derive(Debug)]
pub struct PathWatch {
    machine: Box<dyn Machine>,
    /// The connection's local address, with port 0.
    local: SocketAddr,
    tick: Duration,
    /// The time of the next look.
    next: Instant,
    /// The total time of suspensions at the last look.
    suspended: Duration,
}

impl PathWatch {
    /// Watches the path of a connection with this local address. A suspension counts from now on.
    pub fn new(local: SocketAddr) -> Self {
        Self::of(Box::new(ThisMachine::new()), local, TICK)
    }

    fn of(machine: Box<dyn Machine>, mut local: SocketAddr, tick: Duration) -> Self {
        local.set_port(0);
        if let IpAddr::V4(mapped) = local.ip().to_canonical() {
            local.set_ip(mapped.into());
        }
        let suspended = machine.suspended();
        Self { machine, local, tick, next: Instant::now() + tick, suspended }
    }

    /// Waits until something may have broken the connection. A loss of the address is reported again by
    /// the next call, as long as the address is gone.
    ///
    /// Cancel safety: nothing is lost if the future is dropped, and the time of the next look stays. A
    /// suspension between two calls is reported by the second one.
    pub async fn disturbed(&mut self) -> Disturbance {
        loop {
            sleep_until(self.next).await;
            self.next = Instant::now() + self.tick;
            let suspended = self.machine.suspended();
            let jump = suspended.saturating_sub(self.suspended);
            self.suspended = suspended;
            if jump > JUMP {
                return Disturbance::Suspended(jump);
            }
            if !is_always_there(self.local.ip()) && !self.machine.has(self.local) {
                return Disturbance::AddressGone;
            }
        }
    }
}

/// Whether a machine cannot lose the address.
fn is_always_there(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified()
}

/// What the watch has to know about the machine.
trait Machine: fmt::Debug + Send + Sync {
    /// How long the machine was suspended in all. Only differences have a meaning.
    fn suspended(&self) -> Duration;

    /// Whether the machine has this address. The port is 0.
    fn has(&self, address: SocketAddr) -> bool;
}

/// The machine that this program runs on.
#[derive(Debug)]
struct ThisMachine {
    #[cfg(not(target_os = "linux"))]
    start: (std::time::SystemTime, std::time::Instant),
}

impl ThisMachine {
    fn new() -> Self {
        Self {
            #[cfg(not(target_os = "linux"))]
            start: (std::time::SystemTime::now(), std::time::Instant::now()),
        }
    }
}

impl Machine for ThisMachine {
    /// CLOCK_BOOTTIME goes on during a suspension, and CLOCK_MONOTONIC does not (clock_gettime(2)).
    #[cfg(target_os = "linux")]
    fn suspended(&self) -> Duration {
        use rustix::time::{ClockId, clock_gettime};
        // If the program is paused for seconds between these two lines, it takes that for a suspension.
        let boot = Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default();
        let running = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
        boot.saturating_sub(running)
    }

    /// The time of day goes on during a suspension. It also jumps if somebody sets the clock; that is
    /// taken for a suspension too.
    #[cfg(not(target_os = "linux"))]
    fn suspended(&self) -> Duration {
        let (time, instant) = self.start;
        let passed = std::time::SystemTime::now().duration_since(time).unwrap_or_default();
        passed.saturating_sub(instant.elapsed())
    }

    /// A socket can be bound to the addresses of this machine only. Other errors say nothing about the
    /// address.
    fn has(&self, address: SocketAddr) -> bool {
        match UdpSocket::bind(address) {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::time::timeout;

    const DEADLINE: Duration = Duration::from_secs(30);
    const LOCAL: &str = "192.0.2.7:4600";

    /// A machine whose states are known: for each look, the time of suspensions in seconds and whether
    /// the address is there. The last state stays.
    #[derive(Clone, Debug)]
    struct Script(Arc<Mutex<Looks>>);

    #[derive(Debug)]
    struct Looks {
        states: Vec<(u64, bool)>,
        /// The addresses that were asked for.
        asked: Vec<SocketAddr>,
    }

    impl Script {
        fn new(states: &[(u64, bool)]) -> Self {
            Self(Arc::new(Mutex::new(Looks { states: states.to_vec(), asked: Vec::new() })))
        }
    }

    impl Machine for Script {
        fn suspended(&self) -> Duration {
            let states = &mut self.0.lock().unwrap().states;
            Duration::from_secs(if states.len() > 1 { states.remove(0).0 } else { states[0].0 })
        }
        // Each look asks for the time first, so the state of the look is the one that it has left.
        fn has(&self, address: SocketAddr) -> bool {
            let mut looks = self.0.lock().unwrap();
            looks.asked.push(address);
            looks.states[0].1
        }
    }

    fn watch(local: &str, script: &Script) -> PathWatch {
        PathWatch::of(Box::new(script.clone()), local.parse().unwrap(), Duration::from_millis(1))
    }

    async fn disturbed(watch: &mut PathWatch) -> Disturbance {
        timeout(DEADLINE, watch.disturbed()).await.unwrap()
    }

    #[tokio::test]
    async fn a_suspension_of_more_than_two_seconds_is_reported_once() {
        // Short ones are not added up: 10, 12, 14 are small steps, and then it sleeps for a minute.
        let states = [(10, true), (12, true), (14, true), (74, true), (76, true), (79, true)];
        let script = Script::new(&states);
        let mut watch = watch(LOCAL, &script);
        assert_eq!(disturbed(&mut watch).await, Disturbance::Suspended(Duration::from_secs(60)));
        assert_eq!(disturbed(&mut watch).await, Disturbance::Suspended(Duration::from_secs(3)));
        assert!(timeout(Duration::from_millis(50), watch.disturbed()).await.is_err());
    }

    #[tokio::test]
    async fn a_suspension_between_two_calls_is_not_lost() {
        let script = Script::new(&[(0, true)]);
        let mut watch = watch(LOCAL, &script);
        assert!(timeout(Duration::from_millis(20), watch.disturbed()).await.is_err());
        script.0.lock().unwrap().states = vec![(100, true)];
        assert_eq!(disturbed(&mut watch).await, Disturbance::Suspended(Duration::from_secs(100)));
    }

    // Such calls come from a loop that has other work, too.
    #[tokio::test]
    async fn calls_that_are_shorter_than_a_tick_look_all_the_same() {
        let script = Script::new(&[(0, true), (60, true)]);
        let local = LOCAL.parse().unwrap();
        let tick = Duration::from_millis(100);
        let mut watch = PathWatch::of(Box::new(script), local, tick);
        let calls = async {
            loop {
                if let Ok(noticed) = timeout(tick / 10, watch.disturbed()).await {
                    return noticed;
                }
            }
        };
        let noticed = timeout(DEADLINE, calls).await.unwrap();
        assert_eq!(noticed, Disturbance::Suspended(Duration::from_secs(60)));
    }

    #[tokio::test]
    async fn a_lost_address_is_reported_until_it_is_back() {
        let script = Script::new(&[(0, true), (0, true), (0, false)]);
        let mut watch = watch(LOCAL, &script);
        for _ in 0..2 {
            assert_eq!(disturbed(&mut watch).await, Disturbance::AddressGone);
        }
        script.0.lock().unwrap().states = vec![(0, true)];
        assert!(timeout(Duration::from_millis(50), watch.disturbed()).await.is_err());
        // The port is left to the system: the connection itself may have it.
        let asked = &script.0.lock().unwrap().asked;
        assert!(asked.iter().all(|address| *address == "192.0.2.7:0".parse().unwrap()));
    }

    #[tokio::test]
    async fn loopback_is_never_checked() {
        for local in ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "0.0.0.0:1"]
        {
            let script = Script::new(&[(0, false)]);
            let mut watch = watch(local, &script);
            assert!(timeout(Duration::from_millis(20), watch.disturbed()).await.is_err());
            assert_eq!(script.0.lock().unwrap().asked, [], "{local}");
        }
    }

    #[tokio::test]
    async fn this_machine_is_asked_every_second() {
        let machine = ThisMachine::new();
        assert!(machine.has("127.0.0.1:0".parse().unwrap()));
        // TEST-NET-1 (RFC 5737) is nobody's address.
        assert!(!machine.has("192.0.2.7:0".parse().unwrap()));
        // Nothing suspends the machine between these two lines.
        let before = machine.suspended();
        assert!(machine.suspended().saturating_sub(before) < Duration::from_secs(1));
        let mut watch = PathWatch::new(LOCAL.parse().unwrap());
        let noticed = timeout(2 * TICK + DEADLINE, watch.disturbed()).await.unwrap();
        assert_eq!(noticed, Disturbance::AddressGone);
    }
}
