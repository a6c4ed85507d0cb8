//! The driver on tokio's paused clock: memory links, memory storage, no wall clock.

#[path = "driver/cluster.rs"]
mod cluster;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use cluster::{Cluster, POISON, command, soon};
use quorate_core::{BootId, ClusterId, NodeId, Outcome};
use quorate_raft::{
    Config, Draws, Entry, Index, Memory, MemoryHub, Node, ProposeError, ReadError, Recovered, RestoreError,
    RoleKind, Snapshot, StartError, StateMachine, StopReason, Storage, StorageError, TransportGroups, Write,
};
use quorate_transport::{MemoryNetwork, Transport};

#[tokio::test(start_paused = true)]
async fn a_single_node_elects_itself_and_answers() {
    let cluster = Cluster::of(1).await;
    let node = cluster.node(1);
    assert_eq!(soon(node.propose(command("a"))).await, Ok(1));
    assert_eq!(soon(node.propose(command("b"))).await, Ok(2));
    let seen = soon(node.read(|journal| journal.0.clone())).await;
    assert_eq!(seen, Ok(vec![command("a"), command("b")]));
    assert_eq!(node.status().role, RoleKind::Leader);
}

#[tokio::test(start_paused = true)]
async fn every_node_takes_proposals_and_reads() {
    let cluster = Cluster::of(3).await;
    for round in 0..10 {
        for id in 1..=3 {
            let done = soon(cluster.node(id).propose(command(format!("{round}-{id}")))).await;
            assert_eq!(done, Ok(round * 3 + id as usize));
            for reader in 1..=3 {
                let seen = soon(cluster.node(reader).read(|journal| journal.0.len())).await;
                assert_eq!(seen, Ok(round * 3 + id as usize), "node {reader} after a write at {id}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_proposals_share_writes_and_messages() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    soon(cluster.node(leader).propose(command("first"))).await.expect("committed");
    let (syncs, sent) = (cluster.disks[leader as usize - 1].syncs(), cluster.hub.sent());
    let node = cluster.node(leader);
    let proposals: Vec<_> = (0..1000)
        .map(|i| {
            let node = node.clone();
            tokio::spawn(async move { node.propose(command(format!("{i}"))).await })
        })
        .collect();
    for proposal in proposals {
        soon(proposal).await.expect("no panic").expect("committed");
    }
    let (syncs, sent) = (cluster.disks[leader as usize - 1].syncs() - syncs, cluster.hub.sent() - sent);
    assert!(syncs <= 20, "{syncs} syncs for a thousand proposals at once");
    assert!(sent <= 100, "{sent} messages for a thousand proposals at once");
    assert_eq!(node.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::of(3).await;
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let leader = cluster.leader().await;
        for i in 0..5 {
            let text = command(format!("{round}-{i}"));
            soon(cluster.node(leader).propose(text.clone())).await.expect("committed");
            acknowledged.push(text);
        }
        cluster.kill(leader).await;
        let next = cluster.leader().await;
        let text = command(format!("{round}-after"));
        soon(cluster.node(next).propose(text.clone())).await.expect("committed");
        acknowledged.push(text);
        cluster.start(leader).await.expect("it starts again");
        let seen = soon(cluster.node(leader).read(|journal| journal.0.clone())).await;
        assert_eq!(seen.expect("a quorum is there"), acknowledged, "at the restarted node");
    }
}

#[tokio::test(start_paused = true)]
async fn proposals_of_a_leader_that_is_cut_off_resolve() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    cluster.hub.isolate(leader);
    let lost = soon(cluster.node(leader).propose(command("lost"))).await.expect_err("no quorum");
    assert_eq!(lost.outcome(), Outcome::Unknown, "{lost}");
    let read = soon(cluster.node(leader).read(|journal| journal.0.len())).await;
    assert_eq!(read, Err(ReadError::TimedOut));
    assert_eq!(soon(cluster.node(leader).local(|journal| journal.0.len())).await, Ok(0));
    // By now it has stepped down, and knows no leader.
    let refused = soon(cluster.node(leader).propose(command("refused"))).await.expect_err("no quorum");
    assert_eq!(refused, ProposeError::NoLeader);
    assert_eq!(cluster.node(leader).waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn proposals_at_a_follower_survive_the_loss_of_the_leader_or_say_unknown() {
    let mut cluster = Cluster::of(3).await;
    let follower = cluster.follower().await;
    let leader = cluster.leader().await;
    let node = cluster.node(follower).clone();
    let proposals: Vec<_> = (0..100)
        .map(|i| {
            let node = node.clone();
            tokio::spawn(async move { node.propose(command(format!("{i}"))).await })
        })
        .collect();
    tokio::task::yield_now().await;
    cluster.kill(leader).await;
    let mut known = Vec::new();
    for (i, proposal) in proposals.into_iter().enumerate() {
        match soon(proposal).await.expect("no panic") {
            Ok(_) => known.push(command(format!("{i}"))),
            Err(error) => assert_eq!(error.outcome(), Outcome::Unknown, "{error}"),
        }
    }
    let seen = soon(node.read(|journal| journal.0.clone())).await.expect("a quorum is there");
    assert!(known.iter().all(|command| seen.contains(command)), "nothing acknowledged is lost");
    let mut unique = seen.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), seen.len(), "nothing is doubled");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_under_load_answers_everyone() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let node = cluster.node(leader).clone();
    let proposals: Vec<_> = (0..500)
        .map(|i| {
            let node = node.clone();
            tokio::spawn(async move {
                if i % 5 == 0 {
                    node.read(|journal| journal.0.len()).await.err().map(|error| error.outcome())
                } else {
                    node.propose(command(format!("{i}"))).await.err().map(|error| error.outcome())
                }
            })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(matches!(soon(node.shutdown()).await, StopReason::Shutdown));
    for proposal in proposals {
        let failed = soon(proposal).await.expect("no panic");
        assert_ne!(failed, Some(Outcome::Done));
    }
    assert_eq!(node.waiting(), 0);
    assert_eq!(soon(node.propose(command("late"))).await, Err(ProposeError::NotRunning));
    assert_eq!(soon(node.read(|_| ())).await, Err(ReadError::Stopped));
    assert!(soon(node.wait(|_| false)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn dropped_futures_leave_nothing() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let node = cluster.node(leader);
    cluster.hub.isolate(leader);
    for i in 0..100 {
        let proposal = tokio::time::timeout(Duration::from_millis(1), node.propose(command(format!("{i}"))));
        assert!(proposal.await.is_err());
        assert!(tokio::time::timeout(Duration::from_millis(1), node.read(|_| ())).await.is_err());
    }
    assert!(node.waiting() > 0);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(node.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_ends_the_node() {
    let mut cluster = Cluster::of(1).await;
    let node = cluster.nodes[0].take().expect("it runs");
    let mut status = node.watch();
    let clone = node.clone();
    drop(node);
    assert_eq!(soon(clone.propose(command("a"))).await, Ok(1));
    drop(clone);
    soon(async { while status.changed().await.is_ok() {} }).await;
    // The links are free again, and so is the storage.
    tokio::task::yield_now().await;
    soon(cluster.start(1)).await.expect("it starts again");
    assert_eq!(soon(cluster.node(1).read(|journal| journal.0.len())).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_fails_stops_the_node() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let node = cluster.node(leader);
    cluster.disks[leader as usize - 1].fail(StorageError::Full("no space is left".to_owned()));
    let error = soon(node.propose(command("a"))).await.expect_err("it can't be written");
    assert_eq!(error, ProposeError::Stopped);
    assert_eq!(error.outcome(), Outcome::Unknown);
    let reason = soon(node.stopped()).await;
    assert!(matches!(reason, StopReason::Storage(StorageError::Full(_))), "{reason}");
    let others = (1..=3).filter(|id| *id != leader);
    for id in others {
        soon(cluster.node(id).wait(|status| status.leader.is_some_and(|id| id.get() != leader)))
            .await
            .expect("the others go on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_that_panics_stops_its_node() {
    let cluster = Cluster::of(1).await;
    let node = cluster.node(1);
    let error = soon(node.propose(Bytes::from_static(POISON))).await.expect_err("it panics");
    assert_eq!(error, ProposeError::Stopped);
    let reason = soon(node.stopped()).await;
    assert!(matches!(&reason, StopReason::StateMachine(text) if text.contains("poisoned")), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_panics_does_so_at_its_caller() {
    let cluster = Cluster::of(1).await;
    let node = cluster.node(1).clone();
    let reader = node.clone();
    let read = tokio::spawn(async move { reader.read(|_| -> () { panic!("mine") }).await });
    assert!(soon(read).await.expect_err("it panics").is_panic());
    assert_eq!(soon(node.propose(command("a"))).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn limits_are_answered_with_their_names() {
    let cluster = Cluster::tuned(3, |config| {
        config.proposals_max = 4;
        config.reads_max = 2;
        config.command_bytes_max = 10;
    })
    .await;
    let leader = cluster.leader().await;
    let node = cluster.node(leader);
    let large = soon(node.propose(command("more than ten"))).await;
    assert_eq!(large, Err(ProposeError::TooLarge { len: 13, max: 10 }));
    cluster.hub.isolate(leader);
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let node = node.clone();
            tokio::spawn(async move { node.propose(command("x")).await })
        })
        .collect();
    let reads: Vec<_> = (0..2)
        .map(|_| {
            let node = node.clone();
            tokio::spawn(async move { node.read(|_| ()).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(soon(node.propose(command("x"))).await, Err(ProposeError::Overloaded("proposals_max")));
    assert_eq!(soon(node.read(|_| ())).await, Err(ReadError::Overloaded));
    for proposal in waiting {
        assert!(soon(proposal).await.expect("no panic").is_err());
    }
    for read in reads {
        assert!(soon(read).await.expect("no panic").is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_restarts_from_its_snapshot_and_a_laggard_gets_one() {
    let mut cluster = Cluster::tuned(3, |config| {
        config.snapshot_after_bytes = 2_000;
        config.snapshot_keep_entries = 5;
        config.snapshot_chunk_bytes = 100;
    })
    .await;
    let laggard = cluster.follower().await;
    cluster.kill(laggard).await;
    let leader = cluster.leader().await;
    for i in 0..200 {
        soon(cluster.node(leader).propose(command(format!("{i}")))).await.expect("committed");
    }
    assert!(cluster.node(leader).status().snapshot.index > 100, "{:?}", cluster.node(leader).status());
    cluster.start(laggard).await.expect("it starts");
    let seen = soon(cluster.node(laggard).read(|journal| journal.0.len())).await;
    assert_eq!(seen, Ok(200));
    assert!(cluster.node(laggard).status().snapshot.index > 100, "it got a snapshot");
    for id in 1..=3 {
        cluster.kill(id).await;
        cluster.start(id).await.expect("it starts from its snapshot");
        let seen = soon(cluster.node(id).read(|journal| journal.0.clone())).await;
        let all: Vec<Bytes> = (0..200).map(|i| command(format!("{i}"))).collect();
        assert_eq!(seen, Ok(all));
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_cannot_be_restored_is_a_start_error() {
    let mut cluster = Cluster::tuned(1, |config| config.snapshot_after_bytes = 100).await;
    for i in 0..20 {
        soon(cluster.node(1).propose(command(format!("{i}")))).await.expect("committed");
    }
    let status = cluster.node(1).status();
    cluster.nodes[0].take().expect("it runs").shutdown().await;
    let mut disk = cluster.disks[0].clone();
    let mut snapshot = disk.snapshot().expect("readable").expect("one was taken");
    snapshot.data = Bytes::from_static(b"bad");
    disk.write(&Write { snapshot: Some(snapshot), ..Write::default() }).expect("written");
    let error = soon(cluster.start(1)).await.expect_err("it can't be restored");
    assert!(matches!(&error, StartError::Restore(text) if text.contains("cut short")), "{error} {status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_blocks_works_beside_the_clock() {
    let hub = MemoryHub::new();
    let disk = Memory::new(1);
    let node = start_alone(&hub, Blocking(disk.clone(), Arc::default())).await;
    for i in 0..50 {
        assert_eq!(soon(node.propose(command(format!("{i}")))).await, Ok(i + 1));
    }
    assert!(disk.syncs() >= 50);
    assert!(matches!(soon(node.shutdown()).await, StopReason::Shutdown));
    let node = start_alone(&hub, Blocking(disk.clone(), Arc::default())).await;
    assert_eq!(soon(node.read(|journal| journal.0.len())).await, Ok(50));
    disk.fail(StorageError::Failed("the cable was pulled".to_owned()));
    assert_eq!(soon(node.propose(command("x"))).await, Err(ProposeError::Stopped));
    assert!(matches!(soon(node.stopped()).await, StopReason::Storage(StorageError::Failed(_))));
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_panics_stops_the_node() {
    let panics = Arc::new(AtomicBool::new(false));
    let node = start_alone(&MemoryHub::new(), Blocking(Memory::new(1), Arc::clone(&panics))).await;
    assert_eq!(soon(node.propose(command("a"))).await, Ok(1));
    panics.store(true, Ordering::Relaxed);
    assert_eq!(soon(node.propose(command("b"))).await, Err(ProposeError::Stopped));
    let reason = soon(node.stopped()).await;
    assert!(matches!(&reason, StopReason::Storage(StorageError::Failed(text)) if text.contains("broken")));
}

#[tokio::test(start_paused = true)]
async fn what_piles_up_behind_a_slow_disk_is_written_in_pieces() {
    let (disk, seen) = Slow::new(Memory::new(1));
    let mut config = Config::new(1).bootstrap([1]);
    config.disk_stall_max = Duration::from_secs(1000);
    let node = start_with(&MemoryHub::new(), disk, config).await;
    assert_eq!(soon(node.propose(command("first"))).await, Ok(1));
    let shut = seen.shut();
    let large = Bytes::from(vec![0; 1 << 20]);
    let mut proposals = Vec::new();
    for _ in 0..30 {
        let (node, large) = (node.clone(), large.clone());
        proposals.push(tokio::spawn(async move { node.propose(large).await }));
        // A turn of the core for each, and so a write.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    drop(shut);
    for proposal in proposals {
        soon(proposal).await.expect("no panic").expect("committed");
    }
    let largest = seen.largest.load(Ordering::Relaxed);
    assert!((2 << 20..=8 << 20).contains(&largest), "the largest write had {largest} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_the_storage_cannot_hold_is_refused() {
    let hub = MemoryHub::new();
    let (mut disk, _) = Slow::new(Memory::new(1));
    disk.entry_bytes_max = 100;
    let node = start_alone(&hub, disk).await;
    let refused = soon(node.propose(Bytes::from(vec![0; 101]))).await;
    assert_eq!(refused, Err(ProposeError::TooLarge { len: 101, max: 100 }));
    assert_eq!(soon(node.propose(Bytes::from(vec![0; 100]))).await, Ok(1));
    soon(node.shutdown()).await;
    let (mut disk, _) = Slow::new(Memory::new(1));
    disk.entry_bytes_max = 0;
    let links = Arc::new(hub.links(1));
    let draws = Draws { boot: BootId::new(1), seed: 1 };
    let machine = cluster::Journal::default();
    let error = Node::start_with(Config::new(1), disk, machine, links, draws).await;
    assert!(matches!(error, Err(StartError::Config(error)) if error.field == "command_bytes_max"));
}

#[cfg(feature = "wal")]
#[tokio::test(start_paused = true)]
async fn a_command_larger_than_a_record_of_the_log_stops_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = Config::new(1).bootstrap([1]);
    config.command_bytes_max = 100 << 20;
    let log = quorate_raft::Log::open(directory.path()).expect("it opens");
    let node = start_with(&MemoryHub::new(), log, config).await;
    let refused = soon(node.propose(Bytes::from(vec![0; 16 << 20]))).await;
    assert!(matches!(refused, Err(ProposeError::TooLarge { .. })), "{refused:?}");
    assert_eq!(soon(node.propose(command("a"))).await, Ok(1));
}

/// Answers with something that panics when it is dropped unseen.
struct Brittle;

struct Shard;

impl Drop for Shard {
    fn drop(&mut self) {
        panic!("a shard was dropped");
    }
}

impl StateMachine for Brittle {
    type Command = Bytes;
    type Response = Shard;

    fn apply(&mut self, batch: Vec<Bytes>) -> Vec<Shard> {
        batch.iter().map(|_| Shard).collect()
    }

    fn snapshot(&self) -> Bytes {
        Bytes::new()
    }

    fn restore(&mut self, _: Bytes) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_panics_when_it_is_dropped_stops_the_node() {
    let (disk, seen) = Slow::new(Memory::new(1));
    let links = Arc::new(MemoryHub::new().links(1));
    let draws = Draws { boot: BootId::new(1), seed: 1 };
    let config = Config::new(1).bootstrap([1]);
    let node = Node::start_with(config, disk, Brittle, links, draws).await.expect("it starts");
    soon(node.wait(|status| status.role == RoleKind::Leader)).await.expect("it leads");
    let shut = seen.shut();
    // Several, in one batch: a panic while another one unwinds would end the process.
    for _ in 0..3 {
        let given_up = tokio::time::timeout(Duration::ZERO, node.propose(command("a"))).await;
        assert!(given_up.is_err(), "the disk stands still");
    }
    drop(shut);
    let reason = soon(node.stopped()).await;
    assert!(matches!(&reason, StopReason::StateMachine(text) if text.contains("shard")), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_panics_when_it_is_dropped_stops_nobody() {
    struct Burr;
    impl Drop for Burr {
        fn drop(&mut self) {
            panic!("a burr was dropped");
        }
    }
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let node = cluster.node(leader);
    // Its closure is dropped unused when the read times out, and its result when nobody waits for it.
    cluster.hub.isolate(leader);
    let burr = Burr;
    let read = soon(node.read(move |_| std::mem::forget(burr))).await;
    assert_eq!(read, Err(ReadError::TimedOut));
    cluster.hub.heal();
    cluster.leader().await;
    assert!(tokio::time::timeout(Duration::ZERO, node.read(|_| Burr)).await.is_err());
    soon(node.propose(command("a"))).await.expect("the node goes on");
    assert_eq!(node.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn nodes_talk_over_a_transport() {
    let network = MemoryNetwork::new(ClusterId::new(9));
    let mut nodes = Vec::new();
    for id in 1..=3u64 {
        let transport: Arc<dyn Transport> = Arc::new(network.join(NodeId::new(id)));
        let config = Config::new(id).bootstrap(1..=3u64);
        let disk = Memory::new(u128::from(id));
        nodes.push(
            Node::start(config, disk, cluster::Journal::default(), transport).await.expect("it starts"),
        );
    }
    for (i, node) in nodes.iter().enumerate() {
        assert_eq!(soon(node.propose(command(format!("{i}")))).await, Ok(i + 1));
    }
    for node in &nodes {
        assert_eq!(soon(node.read(|journal| journal.0.len())).await, Ok(3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_is_free_again_after_a_shutdown() {
    let network = MemoryNetwork::new(ClusterId::new(9));
    let transport: Arc<dyn Transport> = Arc::new(network.join(NodeId::new(1)));
    let disk = Memory::new(1);
    for round in 1..4 {
        let (config, journal) = (Config::new(1).bootstrap([1]), cluster::Journal::default());
        let node = Node::start(config, disk.clone(), journal, Arc::clone(&transport)).await;
        let node = node.expect("nobody else has the protocol");
        assert_eq!(soon(node.propose(command("a"))).await, Ok(round));
        soon(node.shutdown()).await;
    }
    let error = Node::start(Config::new(2), disk, cluster::Journal::default(), transport).await;
    assert!(matches!(error, Err(StartError::Config(error)) if error.field == "node"));
}

#[cfg(feature = "wal")]
#[tokio::test(start_paused = true)]
async fn a_node_on_disk_remembers() {
    let directory = tempfile::tempdir().expect("a directory");
    let hub = MemoryHub::new();
    for round in 0..3 {
        let log = quorate_raft::Log::open(directory.path()).expect("nobody has it any more");
        let node = start_alone(&hub, log).await;
        assert_eq!(soon(node.read(|journal| journal.0.len())).await, Ok(round * 100));
        let proposals: Vec<_> = (0..100)
            .map(|i| {
                let node = node.clone();
                tokio::spawn(async move { node.propose(command(format!("{i}"))).await })
            })
            .collect();
        for proposal in proposals {
            soon(proposal).await.expect("no panic").expect("committed");
        }
        assert!(matches!(soon(node.shutdown()).await, StopReason::Shutdown));
    }
}

#[tokio::test(start_paused = true)]
async fn groups_share_a_transport() {
    let network = MemoryNetwork::new(ClusterId::new(9));
    let mut nodes = Vec::new();
    for id in 1..=3u64 {
        let transport: Arc<dyn Transport> = Arc::new(network.join(NodeId::new(id)));
        let groups = TransportGroups::new(Arc::clone(&transport)).expect("nobody else has the protocol");
        for group in 0..2 {
            let mut config = Config::new(id).bootstrap(1..=3u64);
            config.group = group;
            let (links, disk) = (Arc::new(groups.links(group)), Memory::new(u128::from(id)));
            let draws = Draws { boot: BootId::new(id), seed: id * 10 + group };
            let node = Node::start_with(config, disk, cluster::Journal::default(), links, draws).await;
            nodes.push((group, node.expect("it starts")));
        }
        let again =
            Node::start(Config::new(id), Memory::new(1), cluster::Journal::default(), transport).await;
        assert!(matches!(again, Err(StartError::Transport(_))));
    }
    for (group, node) in &nodes {
        soon(node.propose(command(format!("group {group}")))).await.expect("committed");
    }
    for (group, node) in &nodes {
        let seen = soon(node.read(|journal| journal.0.clone())).await;
        assert_eq!(seen, Ok(vec![command(format!("group {group}")); 3]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_configuration_is_named() {
    let mut cluster = Cluster::of(1).await;
    cluster.nodes[0].take().expect("it runs").shutdown().await;
    cluster.tune = |config| config.heartbeat_interval = Duration::ZERO;
    let error = cluster.start(1).await.expect_err("it can't work");
    assert!(matches!(&error, StartError::Config(error) if error.field == "heartbeat_interval"), "{error}");
}

#[tokio::test]
async fn a_runtime_that_ends_answers_everyone() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let hub = MemoryHub::new();
    let node = runtime.spawn(async move { start_alone(&hub, Memory::new(1)).await }).await.expect("started");
    assert_eq!(node.propose(command("a")).await, Ok(1));
    runtime.shutdown_background();
    assert!(matches!(node.stopped().await, StopReason::Runtime));
    assert!(matches!(
        node.propose(command("b")).await,
        Err(ProposeError::NotRunning | ProposeError::Stopped)
    ));
}

async fn start_alone(hub: &MemoryHub, storage: impl Storage) -> Node<cluster::Journal> {
    start_with(hub, storage, Config::new(1).bootstrap([1])).await
}

async fn start_with(hub: &MemoryHub, storage: impl Storage, config: Config) -> Node<cluster::Journal> {
    let draws = Draws::random().expect("randomness");
    let links = Arc::new(hub.links(1));
    Node::start_with(config, storage, cluster::Journal::default(), links, draws).await.expect("it starts")
}

/// A memory storage that asks for a thread of its own, and can be made to panic.
struct Blocking(Memory, Arc<AtomicBool>);

impl Storage for Blocking {
    fn recover(&mut self) -> Result<Recovered, StorageError> {
        self.0.recover()
    }

    fn write(&mut self, write: &Write) -> Result<(), StorageError> {
        assert!(!self.1.load(Ordering::Relaxed), "broken");
        self.0.write(write)
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.0.sync()
    }

    fn entries(&mut self, from: Index, to: Index, max_bytes: usize) -> Result<Vec<Entry>, StorageError> {
        self.0.entries(from, to, max_bytes)
    }

    fn snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        self.0.snapshot()
    }
}

/// A memory storage whose syncs can be held up.
struct Slow {
    disk: Memory,
    seen: Arc<Seen>,
    entry_bytes_max: usize,
}

/// What a slow storage saw.
#[derive(Default)]
struct Seen {
    shut: Mutex<bool>,
    opened: Condvar,
    largest: AtomicUsize,
}

impl Seen {
    /// Holds syncs up until the guard is dropped.
    fn shut(&self) -> Shut<'_> {
        *self.gate() = true;
        Shut(self)
    }

    fn gate(&self) -> MutexGuard<'_, bool> {
        self.shut.lock().expect("nobody panics with it")
    }
}

/// Opens again on drop.
struct Shut<'a>(&'a Seen);

impl Drop for Shut<'_> {
    fn drop(&mut self) {
        *self.0.gate() = false;
        self.0.opened.notify_all();
    }
}

impl Slow {
    fn new(disk: Memory) -> (Self, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        (Self { disk, seen: Arc::clone(&seen), entry_bytes_max: usize::MAX }, seen)
    }
}

impl Storage for Slow {
    fn recover(&mut self) -> Result<Recovered, StorageError> {
        self.disk.recover()
    }

    fn write(&mut self, write: &Write) -> Result<(), StorageError> {
        let bytes = write.entries.iter().map(Entry::cost).sum();
        self.seen.largest.fetch_max(bytes, Ordering::Relaxed);
        self.disk.write(write)
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        drop(self.seen.opened.wait_while(self.seen.gate(), |shut| *shut).expect("nobody panics with it"));
        self.disk.sync()
    }

    fn entries(&mut self, from: Index, to: Index, max_bytes: usize) -> Result<Vec<Entry>, StorageError> {
        self.disk.entries(from, to, max_bytes)
    }

    fn snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        self.disk.snapshot()
    }

    fn entry_bytes_max(&self) -> usize {
        self.entry_bytes_max
    }
}
