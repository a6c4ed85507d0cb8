//! Runs scripts: see the parent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::{BootId, Core, NodeId, Time};
use quorate_raft::{
    Committed, Config, Entry, EntryPayload, Event, Input, Memory, Message, Output, Payload, ProposalId, Raft,
    ReadId, Snapshot, Storage, Write, WriteId,
};

/// Runs a script and compares.
pub(crate) fn run(name: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(format!("{name}.txt"));
    let expected =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let actual = replay(&expected);
    if std::env::var_os("QUORATE_ACCEPT").is_some() {
        std::fs::write(&path, actual).expect("a script can be written");
        return;
    }
    for (number, (is, was)) in actual.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, was, "{}:{}", path.display(), number + 1);
    }
    assert_eq!(actual.lines().count(), expected.lines().count(), "{}", path.display());
}

/// The script with what comes of each command now.
fn replay(script: &str) -> String {
    let mut cluster = Cluster::default();
    let mut text = String::new();
    let mut in_output = false;
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            text.push_str(line);
            text.push('\n');
            cluster.log.clear();
            match command.strip_prefix("quiet ") {
                Some(command) => {
                    cluster.command(command);
                    cluster.log.clear();
                    cluster.status();
                }
                None => cluster.command(command),
            }
            text.push_str(if cluster.log.is_empty() { "nothing\n" } else { &cluster.log });
            in_output = true;
        } else if line.is_empty() {
            text.push('\n');
            in_output = false;
        } else if !in_output {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[derive(Default)]
struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    mail: VecDeque<(NodeId, NodeId, Message)>,
    now: Time,
    boots: u64,
    asked: u64,
    options: BTreeMap<String, String>,
    /// Patterns of links that lose everything.
    cuts: BTreeSet<String>,
    /// Heartbeats are not worth a line while time passes.
    hides_heartbeats: bool,
    log: String,
}

struct Node {
    raft: Option<Raft>,
    storage: Memory,
    newest: Option<WriteId>,
    machine: Vec<u8>,
}

impl Cluster {
    fn command(&mut self, command: &str) {
        let mut words = command.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        let node = || NodeId::new(rest.first().expect("a node").parse().expect("a node's number"));
        match verb {
            "cluster" => self.found(&rest),
            "timeout" => {
                let deadline = self.nodes[&node()].raft.as_ref().and_then(Core::deadline);
                self.now = self.now.max(deadline.expect("the node has a deadline"));
                self.input(node(), Input::Deadline);
            }
            "run" => self.run(Duration::from_millis(rest[0].parse().expect("milliseconds"))),
            "cut" => {
                self.cuts.extend(rest.iter().map(|pattern| (*pattern).to_owned()));
            }
            "mend" => self.cuts.clear(),
            "deliver" => {
                for (from, to, message) in self.take(rest.first()) {
                    self.deliver(from, to, message);
                }
            }
            "drop" => {
                for (from, to, message) in self.take(rest.first()) {
                    let _ = writeln!(self.log, "n{from} -> n{to} lost: {}", describe(&message));
                }
            }
            "double" => {
                let taken = self.take(rest.first());
                self.mail.extend(taken.iter().cloned());
                self.mail.extend(taken);
            }
            "persisted" => self.persisted(node()),
            "settle" => self.settle(&rest),
            "propose" => {
                self.asked += 1;
                let command = Bytes::copy_from_slice(rest[1].as_bytes());
                self.input(node(), Input::Propose { id: ProposalId(self.asked), command });
            }
            "read" => {
                self.asked += 1;
                self.input(node(), Input::Read { id: ReadId(self.asked) });
            }
            "crash" => {
                let node = self.nodes.get_mut(&node()).expect("a node");
                node.raft = None;
                node.newest = None;
                node.machine.clear();
                node.storage = node.storage.crash();
            }
            "restart" => self.start(node(), false),
            "status" => self.status(),
            other => panic!("no such command: {other}"),
        }
    }

    fn found(&mut self, rest: &[&str]) {
        let count: u64 = rest[0].parse().expect("how many nodes");
        let options = rest[1..].iter().map(|pair| pair.split_once('=').expect("key=value"));
        self.options = options.map(|(key, value)| (key.into(), value.into())).collect();
        for id in 1..=count {
            let storage = Memory::new(u128::from(id));
            let node = Node { raft: None, storage, newest: None, machine: Vec::new() };
            self.nodes.insert(NodeId::new(id), node);
        }
        for id in 1..=count {
            self.start(NodeId::new(id), true);
        }
    }

    fn start(&mut self, id: NodeId, founds: bool) {
        let mut config = options(id, &self.options);
        if founds {
            config = config.bootstrap(self.nodes.keys().copied());
        }
        self.boots += 1;
        let boot = BootId::new(self.boots);
        let node = self.nodes.get_mut(&id).expect("a node");
        let recovered = node.storage.recover().expect("a memory recovers");
        node.raft = Some(Raft::new(config, recovered, boot, id.get(), self.now).expect("valid options"));
        self.drain(id);
    }

    fn run(&mut self, lasting: Duration) {
        let end = self.now + lasting;
        self.hides_heartbeats = true;
        loop {
            self.settle(&[]);
            let deadlines =
                self.nodes.iter().filter_map(|(id, node)| Some((node.raft.as_ref()?.deadline()?, *id)));
            let Some((at, id)) = deadlines.min().filter(|(at, _)| *at <= end) else { break };
            self.now = self.now.max(at);
            self.input(id, Input::Deadline);
        }
        self.now = end;
        self.hides_heartbeats = false;
    }

    /// Takes the messages that a pattern names: `1>2`, `1>`, `>2`, or all.
    fn take(&mut self, pattern: Option<&&str>) -> Vec<(NodeId, NodeId, Message)> {
        let pattern = pattern.copied().unwrap_or(">");
        let (taken, left): (Vec<_>, Vec<_>) =
            self.mail.drain(..).partition(|(from, to, _)| matches_link(pattern, *from, *to));
        self.mail = left.into();
        taken
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, message: Message) {
        if self.cuts.iter().any(|pattern| matches_link(pattern, from, to)) {
            if !self.hides(&message) {
                let _ = writeln!(self.log, "n{from} -> n{to} lost: {}", describe(&message));
            }
        } else if self.nodes[&to].raft.is_some() {
            if !self.hides(&message) {
                let _ = writeln!(self.log, "n{from} -> n{to}: {}", describe(&message));
            }
            self.input(to, Input::Message { from, message });
        } else {
            let _ = writeln!(self.log, "n{from} -> n{to} is down: {}", describe(&message));
        }
    }

    fn hides(&self, message: &Message) -> bool {
        let is_heartbeat =
            matches!(message.payload, Payload::Heartbeat { .. } | Payload::HeartbeatReply { .. });
        self.hides_heartbeats && is_heartbeat
    }

    fn persisted(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("a node");
        node.storage.sync().expect("a memory syncs");
        if let Some(newest) = node.newest.take() {
            let _ = writeln!(self.log, "n{id} has synced");
            self.input(id, Input::Persisted(newest));
        }
    }

    fn settle(&mut self, among: &[&str]) {
        let is_among = |id: &NodeId| among.is_empty() || among.contains(&id.to_string().as_str());
        loop {
            let unsynced = self.nodes.iter().find(|(id, node)| is_among(id) && node.newest.is_some());
            if let Some(id) = unsynced.map(|(id, _)| *id) {
                self.persisted(id);
                continue;
            }
            let next = self.mail.iter().position(|(from, to, _)| is_among(from) && is_among(to));
            let Some((from, to, message)) = next.and_then(|place| self.mail.remove(place)) else { return };
            self.deliver(from, to, message);
        }
    }

    fn input(&mut self, id: NodeId, input: Input) {
        if let Some(raft) = self.nodes.get_mut(&id).and_then(|node| node.raft.as_mut()) {
            raft.handle(self.now, input);
        }
        self.drain(id);
    }

    fn drain(&mut self, id: NodeId) {
        let poll = |cluster: &mut Self| cluster.nodes.get_mut(&id)?.raft.as_mut()?.poll();
        while let Some(output) = poll(self) {
            if let Some(answer) = self.output(id, output) {
                self.input(id, answer);
            }
        }
    }

    fn output(&mut self, id: NodeId, output: Output) -> Option<Input> {
        let hides = matches!(&output, Output::Send { message, .. } if self.hides(message));
        let node = self.nodes.get_mut(&id).expect("a node");
        let log = &mut self.log;
        let mut say = |text: String| {
            let _ = writeln!(log, "n{id} {text}");
        };
        match output {
            Output::Send { to, message } => {
                if !hides {
                    say(format!("sends n{to}: {}", describe(&message)));
                }
                self.mail.push_back((id, to, message));
            }
            Output::Persist(write) => {
                say(format!("writes {}", outline(&write)));
                node.storage.write(&write).expect("a memory takes writes");
                node.newest = Some(write.id);
            }
            Output::Load(request) => {
                let entries = node.storage.entries(request.from, request.to, request.max_bytes);
                say(format!("loads {}..{}", request.from, request.to));
                return Some(Input::Loaded { request, entries: entries.expect("a memory is read") });
            }
            Output::LoadSnapshot { to, offset, max_bytes } => {
                say(format!("loads the snapshot for n{to} from byte {offset}"));
                let Snapshot { meta, data } = node.storage.snapshot().expect("a memory is read")?;
                let (start, total) = ((offset as usize).min(data.len()), data.len() as u64);
                let data = data.slice(start..data.len().min(start + max_bytes));
                return Some(Input::SnapshotLoaded { to, meta, total, offset, data });
            }
            Output::Apply(batch) => {
                for committed in &batch {
                    say(apply(&mut node.machine, committed));
                }
                return batch.last().map(|committed| Input::Applied(committed.id.index));
            }
            Output::Restore(_) => {
                let snapshot =
                    node.storage.snapshot().expect("a memory is read").expect("a snapshot is there");
                node.machine = snapshot.data.to_vec();
                say(format!("restores {:?} as of {}", text(&snapshot.data), snapshot.meta.last));
                return Some(Input::Applied(snapshot.meta.last.index));
            }
            Output::TakeSnapshot { last } => {
                let data = Bytes::from(node.machine.clone());
                say(format!("takes a snapshot of {:?} as of {last}", text(&data)));
                return Some(Input::SnapshotTaken { last, data });
            }
            Output::ProposalFailed { id, error } => say(format!("fails proposal #{}: {error}", id.0)),
            Output::ReadReady { id } => say(format!("answers read #{} with {:?}", id.0, text(&node.machine))),
            Output::ReadFailed { id, error } => say(format!("fails read #{}: {error}", id.0)),
            Output::Event(event) => say(tell(&event)),
        }
        None
    }

    fn status(&mut self) {
        for (id, node) in &self.nodes {
            let Some(raft) = &node.raft else {
                let _ = writeln!(self.log, "n{id} is down");
                continue;
            };
            let status = raft.status();
            let leader = status.leader.map_or("none".into(), |leader| format!("n{leader}"));
            let _ = writeln!(
                self.log,
                "n{id} {:?} term {} leader {leader} log {}..{} commit {} applied {} state {:?}",
                status.role,
                status.term,
                status.first,
                status.last,
                status.commit,
                status.applied,
                text(&node.machine)
            );
        }
    }
}

/// Whether a pattern names the link: `1>2`, `1>`, `>2`, or `>` for all.
fn matches_link(pattern: &str, from: NodeId, to: NodeId) -> bool {
    let (sender, receiver) = pattern.split_once('>').expect("from>to");
    let named = |name: &str, id: NodeId| name.is_empty() || name == id.to_string();
    named(sender, from) && named(receiver, to)
}

/// The configuration that a script's options make.
fn options(id: NodeId, options: &BTreeMap<String, String>) -> Config {
    let mut config = Config::new(id);
    // Node 1 runs first, then 2, then 3, so that a script can say who leads.
    config.election_timeout_min = Duration::from_millis(200 + 100 * id.get());
    config.election_timeout_max = config.election_timeout_min + Duration::from_millis(1);
    for (key, value) in options {
        let number = || value.parse::<u64>().expect("a number");
        match key.as_str() {
            "pre_vote" => config.pre_vote = value == "yes",
            "check_quorum" => config.check_quorum = value == "yes",
            "read_timeout" => config.read_timeout = Duration::from_millis(number()),
            "append_bytes" => config.append_bytes_max = number() as usize,
            "inflight" => config.inflight_messages_max = number() as usize,
            "tail_bytes" => config.tail_bytes_max = number() as usize,
            "snapshot_after" => config.snapshot_after_bytes = number(),
            "snapshot_keep" => config.snapshot_keep_entries = number(),
            "snapshot_chunk" => config.snapshot_chunk_bytes = number() as usize,
            other => panic!("no such option: {other}"),
        }
    }
    config
}

fn apply(machine: &mut Vec<u8>, committed: &Committed) -> String {
    if let EntryPayload::Command(command) = &committed.payload {
        machine.extend_from_slice(command);
    }
    let answers =
        committed.proposal.map(|id| format!(", which answers proposal #{}", id.0)).unwrap_or_default();
    format!("applies {} {}{answers}", committed.id, payload(&committed.payload))
}

fn tell(event: &Event) -> String {
    match event {
        Event::RoleChanged { term, role } => format!("becomes {role:?} in term {term}"),
        Event::LeaderChanged { term, leader: Some(leader) } => format!("follows n{leader} in term {term}"),
        Event::LeaderChanged { term, leader: None } => format!("knows no leader in term {term}"),
        Event::Committed { index } => format!("commits {index}"),
        other => format!("tells {other:?}"),
    }
}

fn outline(write: &Write) -> String {
    let mut parts = Vec::new();
    if let Some(hard) = &write.hard_state {
        let vote = hard.vote.map_or("nobody".into(), |vote| format!("n{vote}"));
        let known: Vec<_> = hard.stores.keys().map(|node| format!("n{node}")).collect();
        parts.push(format!("term {} vote {vote} knowing [{}]", hard.term, known.join(" ")));
    }
    parts.extend(write.snapshot.as_ref().map(|snapshot| format!("snapshot {}", snapshot.meta.last)));
    parts.extend(write.restart_after.map(|after| format!("restart after {after}")));
    parts.extend(write.discard_before.map(|first| format!("discard before {first}")));
    parts.extend(write.truncate_from.map(|from| format!("truncate from {from}")));
    parts.extend(write.entries.iter().map(entry));
    parts.join(", ")
}

fn describe(message: &Message) -> String {
    let body = match &message.payload {
        Payload::Append { previous, commit, entries } => {
            let entries: Vec<_> = entries.iter().map(entry).collect();
            format!("Append after {previous} [{}] commit {commit}", entries.join(", "))
        }
        Payload::AppendRejected { previous, hint } => format!("AppendRejected at {previous}, try {hint}"),
        Payload::Snapshot { meta, total, offset, data } => {
            format!("Snapshot {} bytes {offset}+{} of {total}", meta.last, data.len())
        }
        Payload::SnapshotReply { last, progress } => format!("SnapshotReply {last} {progress:?}"),
        Payload::Forward { sequence, commands, .. } => {
            let commands: Vec<_> = commands.iter().map(|command| text(command)).collect();
            format!("Forward #{sequence} [{}]", commands.join(", "))
        }
        other => format!("{other:?}"),
    };
    format!("t{} {body}", message.term)
}

fn entry(entry: &Entry) -> String {
    format!("{} {}", entry.id, payload(&entry.payload))
}

fn payload(payload: &EntryPayload) -> String {
    match payload {
        EntryPayload::Blank => "blank".into(),
        EntryPayload::Command(command) => text(command),
        EntryPayload::Membership(membership) => {
            let voters: Vec<_> = membership.voters.keys().map(|voter| format!("n{voter}")).collect();
            format!("voters {}", voters.join(" "))
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
