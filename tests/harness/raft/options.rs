use std::ops::Range;
use std::time::Duration;

use quorate_core::NodeId;
use quorate_raft::Config;
use quorate_sim::{Coup, Faults, Swarm};

/// What a run of the raft simulation is made of, drawn from its seed.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes found the cluster.
    pub nodes: u64,
    /// Timeouts and limits, for all nodes.
    pub config: Config,
    /// How long after it is asked to the storage begins to write.
    pub write_delay: Range<Duration>,
    /// How long a sync takes.
    pub sync_delay: Range<Duration>,
    /// How long the state machine takes for a batch, a snapshot or a restore.
    pub apply_delay: Range<Duration>,
    /// How long inputs wait for the driver to wake up; it then takes all of them together.
    pub wake_delay: Duration,
    /// How likely the disk fails at a write, in millionths.
    pub disk_failures: u32,
    /// The size of a log segment, in bytes.
    pub segment_bytes: u32,
    /// Bytes added to each snapshot.
    pub snapshot_padding: usize,
    /// The largest padding of a command, in bytes.
    pub command_padding: u64,
    /// Whether each message passes through its layout in bytes.
    pub wire: bool,
    /// How long the faults last.
    pub chaos: Duration,
    /// Between the operations of clients.
    pub client_interval: Duration,
    /// The most operations at once.
    pub burst_max: u64,
    /// A node whose disk is lost with its first crash after this time.
    pub wipe: Option<(NodeId, Duration)>,
    /// What goes wrong.
    pub faults: Faults,
}

impl Options {
    /// Drawn by the swarm.
    pub fn draw(swarm: &mut Swarm) -> Self {
        let ms = Duration::from_millis;
        let nodes = swarm.pick("nodes", &[3, 3, 3, 5, 5, 1]);
        let mut config = config(swarm);
        let sync_max = swarm.pick("sync_max_ms", &[1, 5, 20, 60]);
        let sync_delay = Duration::from_micros(100)..ms(sync_max);
        let write_delay = Duration::ZERO..Duration::from_micros(swarm.pick("write_max_us", &[1, 100, 5_000]));
        let apply_max = swarm.pick("apply_max_ms", &[1, 1, 10, 80]);
        let wake_delay = Duration::from_micros(swarm.pick("wake_us", &[0, 0, 50, 2_000]));
        let wipes = nodes > 1 && swarm.chance("wipe", 120_000);
        let wipe =
            wipes.then(|| (NodeId::new(swarm.rng().range(1..nodes + 1)), ms(swarm.rng().range(0..3_000))));
        let chaos = Duration::from_secs(swarm.pick("chaos_s", &[4, 10, 25]));
        let operations = swarm.pick("operations", &[30, 200, 800]);
        let burst_max = swarm.pick("burst_max", &[1, 4, 25]);
        let mut faults = Faults::draw(swarm);
        if swarm.chance("short_reigns", 350_000) {
            shorten_reigns(swarm, &mut config, &mut faults);
        }
        Self {
            nodes,
            config,
            write_delay,
            sync_delay,
            apply_delay: Duration::from_micros(10)..ms(apply_max),
            wake_delay,
            disk_failures: swarm.pick("disk_failures_ppm", &[0, 0, 1_000, 20_000]),
            segment_bytes: swarm.pick("segment_bytes", &[4_096, 16_384, 65_536]),
            snapshot_padding: swarm.pick("snapshot_padding", &[0, 300, 3_000]),
            command_padding: swarm.pick("command_padding", &[0, 30, 300]),
            wire: swarm.chance("wire", 250_000),
            chaos,
            client_interval: chaos * burst_max as u32 / operations / 2,
            burst_max,
            wipe,
            faults,
        }
    }
}

/// Reigns that end while what earlier ones left is still being replicated, an entry at a time: figure 8 of the
/// Raft paper lies there, and chance alone seldom comes by.
fn shorten_reigns(swarm: &mut Swarm, config: &mut Config, faults: &mut Faults) {
    let ms = Duration::from_millis;
    config.append_bytes_max = 1;
    config.inflight_messages_max = 1;
    config.snapshot_after_bytes = 1 << 20;
    config.uncommitted_bytes_max = 1 << 20;
    faults.coups = Some(Coup {
        chance: 800_000,
        after: Duration::ZERO..ms(swarm.pick("reign_ms", &[10, 40, 150])),
        lasting: ms(1)..config.election_timeout_max * swarm.pick("absence_elections", &[1, 3]),
    });
}

fn config(swarm: &mut Swarm) -> Config {
    let ms = Duration::from_millis;
    let mut config = Config::new(1);
    let election = swarm.pick("election_ms", &[100, 150, 300, 600]);
    config.election_timeout_min = ms(election);
    config.election_timeout_max = ms(election * 2);
    config.heartbeat_interval = ms(election / 5);
    config.pre_vote = !swarm.chance("no_pre_vote", 200_000);
    config.check_quorum = !swarm.chance("no_check_quorum", 200_000);
    config.proposal_timeout = ms(swarm.pick("proposal_timeout_ms", &[600, 2_000, 5_000]));
    config.read_timeout = ms(swarm.pick("read_timeout_ms", &[600, 2_000, 5_000]));
    if swarm.chance("tiny_appends", 500_000) {
        config.append_bytes_max = swarm.pick("append_bytes", &[1, 1, 100, 500]);
    }
    if swarm.chance("tiny_inflight", 300_000) {
        config.inflight_messages_max = swarm.pick("inflight_messages", &[1, 2, 4]);
        config.inflight_bytes_max = swarm.pick("inflight_bytes", &[1, 500, 10_000]);
    }
    if swarm.chance("tiny_tail", 400_000) {
        config.tail_bytes_max = swarm.pick("tail_bytes", &[0, 100, 1_000]);
    }
    if swarm.chance("tiny_apply", 300_000) {
        config.apply_bytes_max = swarm.pick("apply_bytes", &[1, 100, 500]);
    }
    if swarm.chance("tiny_uncommitted", 150_000) {
        config.uncommitted_bytes_max = 2_000;
    }
    if swarm.chance("few_waiting", 150_000) {
        config.proposals_max = 8;
        config.reads_max = 8;
    }
    if swarm.chance("snapshots", 500_000) {
        config.snapshot_after_bytes = swarm.pick("snapshot_after", &[200, 1_000, 5_000]);
        config.snapshot_keep_entries = swarm.pick("snapshot_keep", &[0, 3, 50]);
        config.snapshot_chunk_bytes = swarm.pick("snapshot_chunk", &[50, 1_000, 100_000]);
    }
    config
}
