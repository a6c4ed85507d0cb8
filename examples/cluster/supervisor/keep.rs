//! Keeping the nodes alive.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::child::{self, Event, Process, Recipe, What};
use super::{Order, Plan, View};
use crate::cli::RestartAfter;
use crate::control::{Order as NodeOrder, Report};
use crate::directory::Directory;

/// The task that owns the processes.
pub(super) struct Keep {
    directory: Directory,
    plan: Plan,
    view: watch::Sender<View>,
    nodes: BTreeMap<u64, Slot>,
    events: mpsc::Receiver<Event>,
    // Handed to each process; never the last sender, so the channel stays open.
    sender: mpsc::Sender<Event>,
    // The highest term whose leader was told.
    told_term: u64,
}

/// A node and its process, if it has one.
#[derive(Default)]
struct Slot {
    process: Option<Process>,
    // How often a process was started, by which late events of earlier ones are told apart.
    starts: u32,
    // How often in a row a process exited before it served.
    failures: u32,
    peer: Option<SocketAddr>,
    redis_port: u16,
    founded: bool,
    // The process was told to die, and has not been buried yet.
    killed: bool,
    // Somebody wants another process as soon as it is.
    wanted: bool,
    // When to start it, if it has no process; when to give it up, if it has one that doesn't serve yet.
    due: Option<Instant>,
}

impl Keep {
    pub(super) fn new(directory: Directory, plan: Plan, view: watch::Sender<View>) -> Self {
        let (sender, events) = mpsc::channel(256);
        let due = Some(Instant::now());
        let nodes = (1..=directory.nodes()).map(|node| (node, Slot { due, ..Slot::default() })).collect();
        view.send_modify(|view| {
            view.nodes = (1..=directory.nodes()).map(|node| (node, Default::default())).collect()
        });
        Self { directory, plan, view, nodes, events, sender, told_term: 0 }
    }

    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            self.see_to_due();
            let due = self.nodes.values().filter_map(|slot| slot.due).min();
            let wake = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(event) = self.events.recv() => self.take(event),
                order = orders.recv() => match order {
                    Some(Order::Kill(nodes, sent)) => {
                        self.kill(&nodes);
                        // Whoever asked may not wait for the answer.
                        let _ = sent.send(());
                    }
                    Some(Order::Start(node)) => {
                        if let Some(slot) = self.nodes.get_mut(&node) {
                            match slot.process {
                                Some(_) => slot.wanted = slot.killed,
                                None => slot.due = Some(Instant::now()),
                            }
                        }
                    }
                    Some(Order::Shutdown) | None => break,
                },
                () = wake => {}
            }
        }
        self.end(orders).await;
    }

    /// Starts what is to be started, and kills what has not come up in time.
    fn see_to_due(&mut self) {
        let now = Instant::now();
        let due: Vec<u64> = self
            .nodes
            .iter()
            .filter(|(_, slot)| slot.due <= Some(now) && slot.due.is_some())
            .map(|(node, _)| *node)
            .collect();
        for node in due {
            let Some(slot) = self.nodes.get_mut(&node) else { continue };
            slot.due = None;
            if slot.process.is_some() {
                self.plan.console.line(format_args!("node={node} does not come up, and is killed"));
                self.kill(&[node]);
            } else {
                self.start(node);
            }
        }
    }

    fn start(&mut self, node: u64) {
        let Some(slot) = self.nodes.get_mut(&node) else { return };
        let recipe = Recipe {
            program: self.plan.program.clone(),
            node,
            cluster: self.directory.cluster().to_string(),
            dir: self.directory.node(node),
            redis_port: slot.redis_port,
            bootstrap: (!self.directory.is_founded()).then(|| self.directory.nodes()),
        };
        slot.starts += 1;
        match child::start(&recipe, slot.starts, self.sender.clone()) {
            Ok(process) => {
                slot.process = Some(process);
                slot.due = Some(Instant::now() + START_TIMEOUT);
            }
            Err(error) => {
                let why = format!("node {node} can't be started: {error}");
                self.view.send_modify(|view| view.failure = Some(why));
            }
        }
    }

    fn take(&mut self, event: Event) {
        let Event { node, start, what } = event;
        let Some(slot) = self.nodes.get_mut(&node).filter(|slot| slot.starts == start) else { return };
        match what {
            What::Reported(Report::Ready { peer, redis }) => {
                slot.failures = 0;
                slot.due = None;
                slot.peer = Some(peer);
                slot.redis_port = redis.port();
                let pid = slot.process.as_ref().map_or(0, |process| process.pid);
                self.introduce(node, peer);
                self.plan.console.line(format_args!("node={node} redis={redis} pid={pid}"));
                self.view.send_modify(|view| {
                    let node = view.nodes.entry(node).or_default();
                    (node.redis, node.starts) = (Some(redis), start);
                });
            }
            What::Reported(Report::Leader { term, leader, founded }) => {
                slot.founded |= founded;
                if !self.directory.is_founded() && self.nodes.values().all(|slot| slot.founded) {
                    if let Err(error) = self.directory.set_founded() {
                        self.plan.console.line(format_args!("the founding can't be remembered: {error}"));
                    }
                }
                let Some(leader) = leader.filter(|_| term > self.told_term) else { return };
                self.told_term = term;
                self.plan.console.line(format_args!("leader={leader} term={term}"));
                self.view.send_modify(|view| view.leader = Some((leader, term)));
            }
            What::Exited(status) => {
                let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                self.plan.console.line(format_args!("node={node} died ({how})"));
                self.bury(node, &how);
            }
        }
    }

    /// Tells a new process where the others are, and the others where it is.
    fn introduce(&self, node: u64, address: SocketAddr) {
        for (other, slot) in self.nodes.iter().filter(|(other, _)| **other != node) {
            let (Some(process), Some(peer)) = (&slot.process, slot.peer) else { continue };
            process.tell(NodeOrder::Peer { node, address });
            if let Some(process) = self.nodes.get(&node).and_then(|slot| slot.process.as_ref()) {
                process.tell(NodeOrder::Peer { node: *other, address: peer });
            }
        }
    }

    /// Takes note that a node's process is gone, and when there shall be another.
    fn bury(&mut self, node: u64, how: &str) {
        let Some(slot) = self.nodes.get_mut(&node) else { return };
        slot.process = None;
        // Without an address it had never served.
        slot.failures = if slot.peer.take().is_none() { slot.failures + 1 } else { 0 };
        slot.killed = false;
        slot.due = match self.plan.restart_after {
            _ if std::mem::take(&mut slot.wanted) => Some(Instant::now()),
            RestartAfter::After(time) => Some(Instant::now() + time),
            RestartAfter::Never => None,
        };
        let failures = slot.failures;
        if failures >= FAILURES_MAX || (failures > 0 && slot.due.is_none()) {
            slot.due = None;
            let why = format!("node {node} exited {failures} times before it served, at last with {how}");
            self.view.send_modify(|view| view.failure = Some(why));
        }
        self.view.send_modify(|view| {
            view.nodes.entry(node).or_default().redis = None;
            view.leader = view.leader.filter(|(leader, _)| *leader != node);
        });
    }

    fn kill(&mut self, nodes: &[u64]) {
        for node in nodes {
            let Some(slot) = self.nodes.get_mut(node) else { continue };
            if let Some(process) = &slot.process {
                process.kill();
                slot.killed = true;
            }
        }
    }

    /// Ends every process: by an order, and by force when that has no effect or another order comes.
    async fn end(mut self, mut orders: mpsc::Receiver<Order>) {
        let alive = |keep: &Self| keep.nodes.values().any(|slot| slot.process.is_some());
        for slot in self.nodes.values() {
            if let Some(process) = &slot.process {
                process.tell(NodeOrder::Shutdown);
            }
        }
        for pause in [SHUTDOWN_TIMEOUT, KILL_TIMEOUT] {
            let ended = async {
                while alive(&self) {
                    let Some(event) = self.events.recv().await else { return };
                    let slot = self.nodes.get_mut(&event.node).filter(|slot| slot.starts == event.start);
                    if let (Some(slot), What::Exited(_)) = (slot, event.what) {
                        slot.process = None;
                    }
                }
            };
            tokio::select! {
                ended = timeout(pause, ended) => if ended.is_ok() {
                    return;
                },
                Some(Order::Shutdown) = orders.recv() => {}
            }
            let nodes: Vec<u64> = self.nodes.keys().copied().collect();
            self.kill(&nodes);
        }
    }
}

/// How long a process may take until it serves: its log may be long.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a node may exit in a row without having served.
const FAILURES_MAX: u32 = 5;
/// How long a node may take for an orderly end: longer than its node and endpoint give themselves.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(15);
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
