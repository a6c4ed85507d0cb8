//! What INFO and CONFIG GET tell.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::backend::Report;
use super::parser::BULK_BYTES_MAX;
use super::server::CLIENTS_MAX;
use crate::store::STORE_BYTES_MAX;

/// The sections that were asked for; all of them if none were.
pub(super) fn text(wanted: &[Bytes], report: &Report, statistics: (Duration, u64, u64, u64)) -> String {
    let every = [&b"all"[..], b"default", b"everything"];
    let all =
        wanted.is_empty() || wanted.iter().any(|name| every.iter().any(|one| name.eq_ignore_ascii_case(one)));
    let mut text = String::new();
    for (name, lines) in sections(report, statistics) {
        if !all && !wanted.iter().any(|one| one.eq_ignore_ascii_case(name.as_bytes())) {
            continue;
        }
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        // Writing to a string can't fail.
        let _ = write!(text, "# {name}\r\n");
        for (key, value) in lines {
            let _ = write!(text, "{key}:{value}\r\n");
        }
    }
    text
}

type Section = (&'static str, Vec<(&'static str, String)>);

fn sections(
    report: &Report,
    (uptime, clients, connections, commands): (Duration, u64, u64, u64),
) -> Vec<Section> {
    let number = |number: u64| number.to_string();
    let mut keyspace = Vec::new();
    if report.keys > 0 {
        keyspace.push(("db0", format!("keys={},expires=0,avg_ttl=0", report.keys)));
    }
    vec![
        (
            "Server",
            vec![
                ("redis_version", REDIS_VERSION.into()),
                ("redis_mode", "standalone".into()),
                ("server_name", "quorate".into()),
                ("quorate_version", env!("CARGO_PKG_VERSION").into()),
                ("process_id", number(std::process::id().into())),
                ("uptime_in_seconds", number(uptime.as_secs())),
            ],
        ),
        ("Clients", vec![("connected_clients", number(clients)), ("maxclients", number(CLIENTS_MAX as u64))]),
        (
            "Memory",
            vec![
                ("used_memory", number(report.bytes)),
                ("maxmemory", number(STORE_BYTES_MAX)),
                ("maxmemory_policy", "noeviction".into()),
            ],
        ),
        ("Persistence", vec![("loading", "0".into()), ("aof_enabled", "1".into())]),
        (
            "Stats",
            vec![
                ("total_connections_received", number(connections)),
                ("total_commands_processed", number(commands)),
            ],
        ),
        ("Replication", vec![("role", "master".into()), ("connected_slaves", "0".into())]),
        (
            "Raft",
            vec![
                ("raft_node", number(report.node)),
                ("raft_role", report.role.into()),
                ("raft_term", number(report.term)),
                ("raft_leader", number(report.leader.unwrap_or(0))),
                ("raft_commit", number(report.commit)),
                ("raft_applied", number(report.applied)),
                ("raft_first", number(report.first)),
                ("raft_last", number(report.last)),
            ],
        ),
        ("Keyspace", keyspace),
    ]
}

/// What clients and tools ask for, in Redis's names.
pub(super) fn settings() -> [(&'static str, String); 11] {
    [
        ("save", String::new()),
        ("appendonly", "yes".into()),
        ("appendfsync", "always".into()),
        ("databases", "1".into()),
        ("maxclients", CLIENTS_MAX.to_string()),
        ("maxmemory", STORE_BYTES_MAX.to_string()),
        ("maxmemory-policy", "noeviction".into()),
        ("proto-max-bulk-len", BULK_BYTES_MAX.to_string()),
        ("tcp-keepalive", "300".into()),
        ("timeout", "0".into()),
        ("cluster-enabled", "no".into()),
    ]
}

/// The version whose behaviour clients can count on for the commands that are here.
pub(super) const REDIS_VERSION: &str = "7.2.0";
