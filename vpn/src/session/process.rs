//! A process that a server runs for a client, with all the processes that it starts.
//!
//! The first process leads a process group of its own. Signals go to the whole group. The number of a
//! group may be given out again after the group has ended, and then a signal would hit strangers. So the
//! first process is reaped (wait(2)) only after the last signal: until then, the system keeps its number.

#[cfg(all(unix, not(target_os = "openbsd")))]
pub use group::Process;
#[cfg(not(all(unix, not(target_os = "openbsd"))))]
pub use nowhere::Process;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself with this exit code.
    Code(u8),
    /// This signal ended it. The number is the system's.
    Signal(i32),
}

#[cfg(all(unix, not(target_os = "openbsd")))]
mod group {
    use std::io;
    use std::process::Stdio;
    use std::time::Duration;

    use rustix::process::{
        Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid,
    };
    use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
    use tokio::runtime::Handle;
    use tokio::signal::unix::{SignalKind, signal};
    use tokio::time::sleep;

    use super::Exit;
    use crate::session::exec::ExecCommand;

    /// Where a command finds other programs.
    const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    /// The time between the request to end and SIGKILL.
    const GRACE: Duration = Duration::from_secs(2);

    /// A running command. When it is dropped, its whole process group gets SIGHUP and SIGTERM, and two
    /// seconds later SIGKILL.
    #[derive(Debug)]
    pub struct Process {
        /// Its standard input.
        pub stdin: Option<ChildStdin>,
        /// Its standard output.
        pub stdout: Option<ChildStdout>,
        /// Its standard error.
        pub stderr: Option<ChildStderr>,
        /// `None` only while it is dropped.
        group: Option<Group>,
        grace: Duration,
    }

    impl Process {
        /// Starts a command. Its environment has only `PATH` and `VPN_CLIENT`, which is `client`: the
        /// fingerprint of the client's key, or `psk`. `turn` is dropped when the last process is gone.
        ///
        /// It must be called within a tokio runtime that has its drivers for I/O and time.
        ///
        /// # Errors
        ///
        /// The system cannot start the program: it does not exist, it may not be run, its folder does
        /// not exist, and so on.
        pub fn start(
            command: &ExecCommand,
            client: &str,
            turn: impl Send + 'static,
        ) -> io::Result<Self> {
            let mut builder = Command::new(&command.program);
            builder.args(&command.arguments).env_clear().env("PATH", PATH);
            builder.env("VPN_CLIENT", client).process_group(0);
            builder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            if let Some(folder) = &command.folder {
                builder.current_dir(folder);
            }
            let mut child = builder.spawn()?;
            let (stdin, stdout, stderr) =
                (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            let leader = leader.ok_or_else(|| io::Error::other("the process has no number"))?;
            let group = Some(Group { child, leader, _turn: Box::new(turn) });
            Ok(Self { stdin, stdout, stderr, group, grace: GRACE })
        }

        /// Waits until the first process of the command ends. Processes that it started may go on.
        ///
        /// Cancel safety: nothing is lost if the future is dropped. After the end, every call returns
        /// the same.
        ///
        /// # Errors
        ///
        /// The system cannot say how the process ended.
        pub async fn wait(&mut self) -> io::Result<Exit> {
            let gone = || io::Error::other("the process is being ended");
            let leader = self.group.as_ref().ok_or_else(gone)?.leader;
            // The signal is awaited before the process is looked at, so that no end is missed.
            let mut ends = signal(SignalKind::child())?;
            loop {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
                match waitid(WaitId::Pid(leader), options) {
                    Ok(Some(status)) => return exit(&status),
                    Ok(None) => {}
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                }
                ends.recv().await;
            }
        }

        /// Ends the whole process group, as dropping does.
        pub fn kill(self) {}

        #[cfg(test)]
        pub(super) fn set_grace(&mut self, grace: Duration) {
            self.grace = grace;
        }
    }

    fn exit(status: &WaitIdStatus) -> io::Result<Exit> {
        let code = status.exit_status().and_then(|code| u8::try_from(code).ok()).map(Exit::Code);
        code.or_else(|| status.terminating_signal().map(Exit::Signal))
            .ok_or_else(|| io::Error::other("the system does not say how the process ended"))
    }

    impl Drop for Process {
        fn drop(&mut self) {
            let Some(group) = self.group.take() else { return };
            // A stopped process acts on a signal only after SIGCONT.
            for signal in [Signal::HUP, Signal::TERM, Signal::CONT] {
                group.signal(signal);
            }
            // Without a runtime there is nobody who could wait, so SIGKILL comes at once.
            if let Ok(runtime) = Handle::try_current() {
                let grace = self.grace;
                runtime.spawn(async move {
                    sleep(grace).await;
                    drop(group);
                });
            }
        }
    }

    /// A process group. When it is dropped, it gets SIGKILL, and its leader is reaped.
    struct Group {
        /// It is reaped when it is dropped: at once if it has ended, or else by the runtime.
        child: Child,
        /// The process number of the leader, which is the number of the group too.
        leader: Pid,
        _turn: Box<dyn Send>,
    }

    impl std::fmt::Debug for Group {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "Group({:?})", self.leader)
        }
    }

    impl Group {
        fn signal(&self, signal: Signal) {
            if let Err(error) = kill_process_group(self.leader, signal) {
                log::debug!("{signal:?} for the processes of a command: {error}");
            }
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            self.signal(Signal::KILL);
            // The standard library reaps nothing by itself.
            let _ = self.child.try_wait();
        }
    }
}

/// The same type for systems where a process group cannot be ended safely.
#[cfg(not(all(unix, not(target_os = "openbsd"))))]
mod nowhere {
    use std::convert::Infallible;
    use std::io;

    use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

    use super::Exit;
    use crate::session::exec::ExecCommand;

    /// A running command. On this system there is none.
    #[derive(Debug)]
    pub struct Process {
        /// Its standard input.
        pub stdin: Option<ChildStdin>,
        /// Its standard output.
        pub stdout: Option<ChildStdout>,
        /// Its standard error.
        pub stderr: Option<ChildStderr>,
        never: Infallible,
    }

    impl Process {
        /// Refuses to start a command.
        ///
        /// # Errors
        ///
        /// Always: this system cannot do it.
        pub fn start(_: &ExecCommand, _: &str, _: impl Send + 'static) -> io::Result<Self> {
            let message = "this system cannot run commands for clients";
            Err(io::Error::new(io::ErrorKind::Unsupported, message))
        }

        /// Waits until the first process of the command ends.
        ///
        /// # Errors
        ///
        /// The system cannot say how the process ended.
        pub async fn wait(&mut self) -> io::Result<Exit> {
            match self.never {}
        }

        /// Ends the whole process group.
        pub fn kill(self) {}
    }
}

#[cfg(test)]
#[cfg(all(unix, not(target_os = "openbsd")))]
mod tests {
    use super::*;
    use crate::session::exec::ExecCommand;
    use std::io;
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, kill_process, test_kill_process};
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::time::{sleep, timeout};

    const DEADLINE: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> ExecCommand {
        ExecCommand {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            folder: None,
        }
    }

    fn start(script: &str) -> Process {
        Process::start(&shell(script), "SHA256:abc", ()).unwrap()
    }

    async fn exit(process: &mut Process) -> Exit {
        timeout(DEADLINE, process.wait()).await.unwrap().unwrap()
    }

    /// Everything that a command writes: standard output, standard error, and how it ends.
    async fn run(mut process: Process) -> (String, String, Exit) {
        drop(process.stdin.take());
        let (mut out, mut err) = (String::new(), String::new());
        let (mut stdout, mut stderr) =
            (process.stdout.take().unwrap(), process.stderr.take().unwrap());
        let read = async {
            tokio::try_join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err))
        };
        timeout(DEADLINE, read).await.unwrap().unwrap();
        let exit = exit(&mut process).await;
        (out, err, exit)
    }

    /// The next line of a command's output, as a process number.
    async fn number(lines: &mut (impl AsyncBufReadExt + Unpin)) -> Pid {
        let mut line = String::new();
        timeout(DEADLINE, lines.read_line(&mut line)).await.unwrap().unwrap();
        Pid::from_raw(line.trim().parse().unwrap()).unwrap()
    }

    /// Whether a process runs. A container may have nobody who reaps orphans, so zombies do not count
    /// where the system shows them.
    fn is_running(process: Pid) -> bool {
        match std::fs::read_to_string(format!("/proc/{process}/stat")) {
            Ok(stat) => !stat.rsplit(") ").next().unwrap().starts_with(['Z', 'X']),
            Err(_) => test_kill_process(process).is_ok(),
        }
    }

    /// Waits until a process has ended.
    async fn ended(process: Pid) {
        let start = Instant::now();
        while is_running(process) {
            assert!(start.elapsed() < DEADLINE, "{process} does not end");
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn both_outputs_and_the_exit_code_arrive() {
        let ended = run(start("echo out; echo err >&2; exit 7")).await;
        assert_eq!(ended, ("out\n".to_owned(), "err\n".to_owned(), Exit::Code(7)));
        let ended = run(start("exit 255")).await;
        assert_eq!(ended, (String::new(), String::new(), Exit::Code(255)));
        let ended = run(start("kill -9 $$")).await;
        assert_eq!(ended.2, Exit::Signal(9));
    }

    #[tokio::test]
    async fn input_reaches_the_command_and_every_wait_returns_the_same() {
        let mut process = start("cat");
        let mut stdin = process.stdin.take().unwrap();
        stdin.write_all(b"some bytes").await.unwrap();
        drop(stdin);
        let mut out = Vec::new();
        let mut stdout = process.stdout.take().unwrap();
        timeout(DEADLINE, stdout.read_to_end(&mut out)).await.unwrap().unwrap();
        assert_eq!(out, b"some bytes");
        for _ in 0..3 {
            assert_eq!(exit(&mut process).await, Exit::Code(0));
        }
    }

    #[tokio::test]
    async fn no_shell_reads_the_arguments() {
        let command = ExecCommand {
            program: "/bin/echo".into(),
            arguments: vec!["$PATH; a  b".to_owned(), "*".to_owned()],
            folder: None,
        };
        let ended = run(Process::start(&command, "psk", ()).unwrap()).await;
        assert_eq!(ended, ("$PATH; a  b *\n".to_owned(), String::new(), Exit::Code(0)));
    }

    #[tokio::test]
    async fn the_environment_has_two_variables_and_the_folder_is_the_configured_one() {
        let env = ExecCommand { program: "/usr/bin/env".into(), arguments: vec![], folder: None };
        let (out, ..) = run(Process::start(&env, "SHA256:abc", ()).unwrap()).await;
        let mut lines: Vec<&str> = out.lines().collect();
        lines.sort_unstable();
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        assert_eq!(lines, [path, "VPN_CLIENT=SHA256:abc"]);
        let command = ExecCommand { folder: Some("/".into()), ..shell("pwd") };
        assert_eq!(run(Process::start(&command, "psk", ()).unwrap()).await.0, "/\n");
    }

    #[tokio::test]
    async fn a_command_that_cannot_start_is_an_error() {
        let command = ExecCommand { program: "/no/such/program".into(), ..shell("") };
        let error = Process::start(&command, "psk", ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let command = ExecCommand { folder: Some("/no/such/folder".into()), ..shell("true") };
        let error = Process::start(&command, "psk", ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    /// A command with a child and a grandchild, which print their numbers. All of them sleep.
    const FAMILY: &str =
        "echo $$; sh -c 'echo $$; sh -c \"echo \\$\\$; exec sleep 600\" & wait' & wait";

    #[tokio::test]
    async fn the_whole_group_ends_when_the_process_is_dropped() {
        let mut process = start(FAMILY);
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let mut family = Vec::new();
        for _ in 0..3 {
            family.push(number(&mut lines).await);
        }
        assert!(family.iter().all(|&process| is_running(process)));
        // The request is enough for them.
        process.set_grace(2 * DEADLINE);
        process.kill();
        for process in family {
            ended(process).await;
        }
    }

    #[tokio::test]
    async fn processes_that_ignore_the_request_get_sigkill_after_the_grace() {
        let mut process = start(
            "trap '' HUP TERM; sh -c 'echo $$; while :; do sleep 600; done' & echo $$; \
             while :; do sleep 600; done",
        );
        process.set_grace(Duration::from_millis(300));
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let family = [number(&mut lines).await, number(&mut lines).await];
        let dropped = Instant::now();
        drop(process);
        for process in family {
            ended(process).await;
        }
        assert!(dropped.elapsed() >= Duration::from_millis(300));
    }

    #[tokio::test]
    async fn children_that_outlive_the_command_end_with_it() {
        let mut process = start("sleep 600 >/dev/null 2>&1 & echo $!");
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let child = number(&mut lines).await;
        assert_eq!(exit(&mut process).await, Exit::Code(0));
        assert!(is_running(child));
        drop(process);
        ended(child).await;
    }

    #[tokio::test]
    async fn a_stopped_command_ends_too() {
        let mut process = start("echo $$; kill -STOP $$; sleep 600");
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let leader = number(&mut lines).await;
        drop(process);
        ended(leader).await;
    }

    #[tokio::test]
    async fn the_leader_is_reaped() {
        let mut process = start("echo $$");
        process.set_grace(Duration::from_millis(1));
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let leader = number(&mut lines).await;
        assert_eq!(exit(&mut process).await, Exit::Code(0));
        // Its number is still its own.
        assert!(test_kill_process(leader).is_ok());
        drop(process);
        let start = Instant::now();
        while test_kill_process(leader).is_ok() {
            assert!(start.elapsed() < DEADLINE, "{leader} is still a zombie");
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn a_runtime_that_ends_leaves_nobody_behind() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let leader = runtime.block_on(async {
            let mut process = start("trap '' HUP TERM; echo $$; while :; do sleep 600; done");
            let mut lines = BufReader::new(process.stdout.take().unwrap());
            let leader = number(&mut lines).await;
            drop(process);
            leader
        });
        assert!(is_running(leader));
        drop(runtime);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ended(leader));
    }

    #[tokio::test]
    async fn the_signal_that_ends_a_command_is_told() {
        let mut process = start("echo $$; exec sleep 600");
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        kill_process(number(&mut lines).await, Signal::TERM).unwrap();
        assert_eq!(exit(&mut process).await, Exit::Signal(15));
    }
}
