//! A load balancer such as stands before nodes: it looks at `/readyz` of each, and takes each new
//! connection to one that was ready when it looked last.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::http::Client;

pub struct Proxy {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Each with what it said last.
    backends: Mutex<Vec<(SocketAddr, bool)>>,
    turn: AtomicUsize,
    end: AtomicBool,
}

impl Proxy {
    pub fn before(backends: &[SocketAddr]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            backends: Mutex::new(backends.iter().map(|addr| (*addr, true)).collect()),
            turn: AtomicUsize::new(0),
            end: AtomicBool::new(false),
        });
        let (looks, takes) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || looks.look()),
            std::thread::spawn(move || {
                for client in listener.incoming().map_while(Result::ok) {
                    if takes.end.load(Ordering::SeqCst) {
                        return;
                    }
                    let shared = Arc::clone(&takes);
                    std::thread::spawn(move || shared.pass(client));
                }
            }),
        ];
        Self { addr, shared, threads }
    }

    /// A backend listens elsewhere from now on.
    pub fn replace(&self, old: SocketAddr, new: SocketAddr) {
        let mut backends = self.shared.backends.lock().unwrap();
        let place = backends.iter_mut().find(|(addr, _)| *addr == old).unwrap();
        *place = (new, true);
    }
}

impl Shared {
    fn look(&self) {
        while !self.end.load(Ordering::SeqCst) {
            let all: Vec<_> = self.backends.lock().unwrap().iter().map(|(addr, _)| *addr).collect();
            for addr in all {
                let answer = Client::new(addr).call("GET", "/readyz", "");
                let ready = answer.is_ok_and(|answer| answer.status == 200);
                let mut backends = self.backends.lock().unwrap();
                if let Some(place) = backends.iter_mut().find(|(known, _)| *known == addr) {
                    place.1 = ready;
                }
            }
            std::thread::sleep(Duration::from_millis(20)); // The balancer's own period.
        }
    }

    fn pass(&self, client: TcpStream) {
        let ready: Vec<_> = {
            let backends = self.backends.lock().unwrap();
            backends.iter().filter(|(_, ready)| *ready).map(|(addr, _)| *addr).collect()
        };
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        // Nothing was sent yet: if one cannot be reached, another is asked.
        let tries = (0..ready.len()).map(|n| ready[(turn + n) % ready.len()]);
        let Some(server) = tries.map(TcpStream::connect).find_map(Result::ok) else { return };
        let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let there = std::thread::spawn(move || copy(client, server));
        copy(back.0, back.1);
        let _ = there.join();
    }
}

/// Until one side ends; then the other hears of it.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
