//! A relay between clients and a server. It keeps its port while the server is away, and cuts connections.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Both sides get a reset.
    Reset,
    /// Both sides get an end, as from a program that closes.
    End,
    /// The client gets a reset. The server hears nothing any more, as from a dead path.
    Silence,
}

#[derive(Debug)]
struct Links {
    /// The port of the server; 0 if it is away.
    to: AtomicU16,
    /// One for each connection so far. What is sent to it cuts it.
    cuts: Mutex<Vec<Option<oneshot::Sender<Cut>>>>,
}

/// A relay that works until it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) port: u16,
    links: Arc<Links>,
    runtime: Option<Runtime>,
}

impl Relay {
    /// Relays to a port of this machine.
    pub(crate) fn to(port: u16) -> Self {
        let builder = &mut tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let links = Arc::new(Links { to: AtomicU16::new(port), cuts: Mutex::default() });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(accept_all(listener, links.clone()));
        Self { port, links, runtime: Some(runtime) }
    }

    /// Relays new connections to this port. With port 0 they are reset.
    pub(crate) fn lead_to(&self, port: u16) {
        self.links.to.store(port, Ordering::SeqCst);
    }

    /// How many connections there were so far.
    pub(crate) fn count(&self) -> usize {
        self.links.cuts.lock().unwrap().len()
    }

    /// Cuts one connection; they are counted from 0.
    pub(crate) fn cut(&self, number: usize, how: Cut) {
        let cut = self.links.cuts.lock().unwrap()[number].take();
        cut.expect("it is cut once").send(how).expect("it is there");
    }

    /// Cuts all connections that are there.
    pub(crate) fn cut_all(&self, how: Cut) {
        for cut in self.links.cuts.lock().unwrap().iter_mut().filter_map(Option::take) {
            // It may have ended by itself.
            let _ = cut.send(how);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn set_reset(stream: &TcpStream, is_reset: bool) {
    let linger = is_reset.then_some(Duration::ZERO);
    socket2::SockRef::from(stream).set_linger(linger).unwrap();
}

async fn accept_all(listener: TcpListener, links: Arc<Links>) {
    while let Ok((near, _)) = listener.accept().await {
        set_reset(&near, true);
        let port = links.to.load(Ordering::SeqCst);
        if port == 0 {
            continue;
        }
        let (sender, cut) = oneshot::channel();
        links.cuts.lock().unwrap().push(Some(sender));
        tokio::spawn(link(near, port, cut));
    }
}

/// One connection. Its streams reset their peers when they are dropped.
async fn link(mut near: TcpStream, port: u16, cut: oneshot::Receiver<Cut>) -> io::Result<()> {
    let mut far = TcpStream::connect(("127.0.0.1", port)).await?;
    set_reset(&far, true);
    let is_clean = tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut near, &mut far) => copied.is_ok(),
        cut = cut => {
            if cut == Ok(Cut::Silence) {
                drop(near);
                // Until the relay is dropped.
                std::future::pending::<()>().await;
                unreachable!("nothing wakes it");
            }
            cut == Ok(Cut::End)
        }
    };
    if is_clean {
        set_reset(&near, false);
        set_reset(&far, false);
    }
    Ok(())
}
