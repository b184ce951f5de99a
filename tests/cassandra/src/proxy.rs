//! A TCP proxy that makes a network bad on demand: slow, silent, deaf in one direction, or cut.
//!
//! Knows bytes and connections, no protocol. What is dropped is dropped in the pieces that came: a test that lets bytes pass again on
//! the same connection should see to it that no message is under way.

use crate::HarnessError;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A piece is what one read gives.
const PIECE_BYTES: usize = 16 << 10;
/// Of one direction, so many pieces are kept (16 MiB); then the sender is not read from any more, as a full network does.
const PIECES_MOST: usize = 1024;
/// Whoever is behind the proxy stands on loopback: it answers at once or hangs.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Who closes a connection right after a question may find it not done; so long a copy has to be answered.
const LINGER: Duration = Duration::from_secs(5);

/// What becomes of the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Flow {
    /// They arrive.
    #[default]
    Pass,
    /// They arrive that much later.
    Delay(Duration),
    /// They are kept, and arrive when the flow changes.
    Hold,
    /// They are lost.
    Drop,
}

/// A proxy of one address, with faults that are switched while it runs. Gone, with its connections, when dropped.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requests: Flow,
    answers: Flow,
    /// What becomes of the second time that everything is asked; nothing is asked twice without it.
    copies: Option<Flow>,
    is_cut: bool,
    is_over: bool,
    /// Answers, in pieces, that were held or dropped since the last switch.
    stopped_answers: usize,
    /// Bytes of the longest piece of requests that was.
    stopped_request_bytes: usize,
    /// Pieces of answers to what was asked a second time.
    copied_answers: usize,
    connections: HashMap<u64, Vec<TcpStream>>,
    next: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Requests,
    Answers,
    /// What is asked a second time.
    Copies,
}

impl FaultProxy {
    /// In front of that address, on a free port of 127.0.0.1.
    pub fn to(upstream: SocketAddr) -> Result<Self, HarnessError> {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), upstream)
    }
    /// The same, at an address of the caller's choice.
    pub fn at(address: SocketAddr, upstream: SocketAddr) -> Result<Self, HarnessError> {
        let doing = || HarnessError::io(format!("listening on {address}"));
        let listener = TcpListener::bind(address).map_err(doing())?;
        let address = listener.local_addr().map_err(doing())?;
        let shared = Arc::new(Shared { upstream, state: Mutex::default(), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.state().is_over {
                    return;
                }
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.connect(client));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// How many connections go through it now.
    pub fn connections(&self) -> usize {
        self.shared.state().connections.len()
    }

    /// Both directions as they are told; ends a cut.
    pub fn set(&self, requests: Flow, answers: Flow) {
        self.shared.switch(|state| (state.requests, state.answers, state.is_cut) = (requests, answers, false));
    }
    /// Everything arrives, also what was held.
    pub fn pass(&self) {
        self.set(Flow::Pass, Flow::Pass);
    }
    /// Everything arrives later.
    pub fn delay(&self, requests: Duration, answers: Duration) {
        self.set(Flow::Delay(requests), Flow::Delay(answers));
    }
    /// Nothing arrives until [`FaultProxy::pass`], which lets everything through.
    pub fn hold(&self) {
        self.set(Flow::Hold, Flow::Hold);
    }
    /// Requests arrive and are done; nobody hears of it.
    pub fn drop_answers(&self) {
        self.set(Flow::Pass, Flow::Drop);
    }
    /// Closes all connections, and every new one, until it is told otherwise.
    pub fn cut(&self) {
        self.shared.switch(|state| {
            state.is_cut = true;
            state.close_all();
        });
    }
    /// Whatever is asked on connections that are made from now on is asked a second time, over a connection of its own whose answers
    /// nobody hears; `copies` is what becomes of that, and may be switched with another call. A switch of [`FaultProxy::set`] does
    /// not concern it. Hold no copies of a connection's beginning where a protocol waits for answers in it: they come all at once.
    pub fn duplicate(&self, copies: Flow) {
        self.shared.switch(|state| state.copies = Some(copies));
    }
    /// No new connection is copied; what is held of the old ones arrives.
    pub fn end_duplicates(&self) {
        self.shared.switch(|state| state.copies = None);
    }
    /// Waits until something that was asked a second time has been answered. `false`: not in time.
    pub fn until_copy_answered(&self, within: Duration) -> bool {
        let state = self.shared.state();
        let waited = self.shared.changed.wait_timeout_while(state, within, |state| state.copied_answers == 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.copied_answers > 0
    }
    /// Waits until an answer was held or dropped since the last switch: the request has been done by then. `false`: not in time.
    pub fn until_answer_stopped(&self, within: Duration) -> bool {
        let state = self.shared.state();
        let waited = self.shared.changed.wait_timeout_while(state, within, |state| state.stopped_answers == 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopped_answers > 0
    }
    /// Waits until a piece of requests of so many bytes was held or dropped since the last switch. `false`: not in time.
    pub fn until_requests_stopped(&self, bytes: usize, within: Duration) -> bool {
        let state = self.shared.state();
        let waited = self.shared.changed.wait_timeout_while(state, within, |state| state.stopped_request_bytes < bytes);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopped_request_bytes >= bytes
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.switch(|state| {
            state.is_over = true;
            state.close_all();
        });
        // Wakes the thread that accepts; it sees that it is over and lets the port go.
        drop(TcpStream::connect_timeout(&self.address, CONNECT_WAIT));
    }
}

impl State {
    fn flow(&self, direction: Direction) -> Flow {
        match direction {
            Direction::Requests => self.requests,
            Direction::Answers => self.answers,
            // Those that were held when it was switched off arrive.
            Direction::Copies => self.copies.unwrap_or_default(),
        }
    }
    /// Their threads find them closed and end.
    fn close_all(&mut self) {
        for stream in self.connections.drain().flat_map(|(_, all)| all) {
            // It is closed already, then.
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn switch(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        (state.stopped_answers, state.stopped_request_bytes, state.copied_answers) = (0, 0, 0);
        change(&mut state);
        drop(state);
        self.changed.notify_all();
    }

    /// Serves one client to its end. What cannot be connected is closed: the client sees what it would see without a proxy.
    fn connect(self: Arc<Self>, client: TcpStream) {
        if self.state().is_cut {
            return;
        }
        let Ok(upstream) = TcpStream::connect_timeout(&self.upstream, CONNECT_WAIT) else { return };
        let second = match self.state().copies {
            Some(_) => match TcpStream::connect_timeout(&self.upstream, CONNECT_WAIT) {
                Ok(second) => Some(second),
                Err(_) => return,
            },
            None => None,
        };
        let Some(all) = copies([&client, &upstream].into_iter().chain(&second)) else { return };
        // Small messages must not wait for each other here: delays are what a test asks for.
        all.iter().for_each(|stream| drop(stream.set_nodelay(true)));
        let id = {
            let mut state = self.state();
            // A switch in the meantime has not seen this connection.
            if state.is_cut || state.is_over {
                return;
            }
            state.next += 1;
            let id = state.next;
            state.connections.insert(id, all);
            id
        };
        self.carry(id, &client, &upstream, second);
        self.forget(id);
    }
    /// Carries all directions of a connection to their ends.
    fn carry(self: &Arc<Self>, id: u64, client: &TcpStream, upstream: &TcpStream, second: Option<TcpStream>) {
        let both = || Some((client.try_clone().ok()?, upstream.try_clone().ok()?));
        let (Some((client_too, upstream_too)), Some((client, upstream))) = (both(), both()) else { return };
        let (copied, listener) = match second {
            Some(second) => {
                let Ok(answers) = second.try_clone() else { return };
                let (pieces, waiting) = sync_channel(PIECES_MOST);
                let (shared, too) = (Arc::clone(self), Arc::clone(self));
                let copier = thread::spawn(move || shared.deliver(id, Direction::Copies, &waiting, second));
                let listener = thread::spawn(move || too.ignore_answers(answers));
                (Some(pieces), Some((copier, listener)))
            }
            None => (None, None),
        };
        let answers = {
            let shared = Arc::clone(self);
            thread::spawn(move || shared.pump(id, Direction::Answers, upstream, client, None))
        };
        self.pump(id, Direction::Requests, client_too, upstream_too, copied);
        drop(answers.join());
        if let Some((copier, listener)) = listener {
            drop((copier.join(), listener.join()));
        }
    }
    /// Counts what is answered to what was asked a second time; nobody else hears it.
    fn ignore_answers(&self, mut from: TcpStream) {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(1..) = from.read(&mut buffer) {
            self.state().copied_answers += 1;
            self.changed.notify_all();
        }
    }
    fn forget(&self, id: u64) {
        drop(self.state().connections.remove(&id));
    }

    /// Carries one direction to its end; reading goes on while pieces wait for their time.
    fn pump(self: &Arc<Self>, id: u64, direction: Direction, from: TcpStream, to: TcpStream, copied: Option<Pieces>) {
        let (pieces, waiting) = sync_channel(PIECES_MOST);
        let reader = thread::spawn(move || read(from, &pieces, copied.as_ref()));
        self.deliver(id, direction, &waiting, to);
        drop(waiting);
        drop(reader.join());
    }

    fn deliver(&self, id: u64, direction: Direction, waiting: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
        for (came, piece) in waiting {
            match self.judge(id, direction, came, piece.len()) {
                Verdict::Deliver => {
                    if to.write_all(&piece).is_err() {
                        // Nobody takes more of it; its sender is to learn that.
                        self.close(id);
                        return;
                    }
                }
                Verdict::Lose => {}
                Verdict::Close => return,
            }
        }
        if direction == Direction::Copies {
            let state = self.state();
            let is_open = |state: &mut State| !state.is_over && state.connections.contains_key(&id);
            drop(self.changed.wait_timeout_while(state, LINGER, is_open));
        }
        // The other direction may go on.
        drop(to.shutdown(Shutdown::Write));
    }
    /// Ends a connection, and not what was copied from it: that arrives late whatever has become of who asked.
    fn close(&self, id: u64) {
        if let Some(all) = self.state().connections.get(&id) {
            all.iter().take(BOTH).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        }
    }

    /// Waits until it is known what becomes of a piece; every switch is seen at once.
    fn judge(&self, id: u64, direction: Direction, came: Instant, length: usize) -> Verdict {
        let mut state = self.state();
        let mut is_counted = false;
        loop {
            if !state.connections.contains_key(&id) {
                return Verdict::Close;
            }
            let flow = state.flow(direction);
            if matches!(flow, Flow::Hold | Flow::Drop) && !is_counted {
                is_counted = true;
                match direction {
                    Direction::Requests => state.stopped_request_bytes = state.stopped_request_bytes.max(length),
                    Direction::Answers => state.stopped_answers += 1,
                    Direction::Copies => {}
                }
                self.changed.notify_all();
            }
            let left = match flow {
                Flow::Pass => return Verdict::Deliver,
                Flow::Drop => return Verdict::Lose,
                Flow::Delay(time) => Some((came + time).saturating_duration_since(Instant::now())),
                Flow::Hold => None,
            };
            state = match left {
                Some(Duration::ZERO) => return Verdict::Deliver,
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// The client's stream and the upstream's come first among those of a connection.
const BOTH: usize = 2;

enum Verdict {
    Deliver,
    Lose,
    Close,
}

type Pieces = SyncSender<(Instant, Vec<u8>)>;

fn copies<'s>(streams: impl IntoIterator<Item = &'s TcpStream>) -> Option<Vec<TcpStream>> {
    streams.into_iter().map(|stream| stream.try_clone().ok()).collect()
}

/// Reads until the end, or until nobody delivers any more.
fn read(mut from: TcpStream, pieces: &Pieces, copied: Option<&Pieces>) {
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let piece = (Instant::now(), buffer[..length].to_vec());
        // The second connection may have ended on its own: what is asked once goes on.
        copied.into_iter().for_each(|copied| drop(copied.send(piece.clone())));
        if pieces.send(piece).is_err() {
            return;
        }
    }
}
