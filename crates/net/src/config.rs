use std::time::Duration;

use quorate_transport::BODY_MAX_LEAST;

use crate::StartError;

/// The limits and times of an [`Endpoint`](crate::Endpoint). The defaults suit a cluster in one region.
///
/// No duration may be above a day.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// The longest body in bytes, sent or received, 1 MiB to 1 GiB. 4 MiB by default. A heartbeat waits for
    /// at most one frame of another lane, so a larger limit costs latency: 4 MiB take 34 ms at 1 Gbit/s.
    /// It should be the same everywhere: calls over a peer's lower limit end as too large, and one-way
    /// messages are lost.
    pub body_max: usize,
    /// The most messages in the outgoing queue of one (peer, lane), at least 1. 4,096 by default.
    pub queue_messages: usize,
    /// The most bytes of bodies in that queue, at least [`body_max`](Self::body_max). 16 MiB by default.
    /// Three such queues a peer bound the memory that a peer which stopped reading can hold.
    pub queue_bytes: usize,
    /// The most calls to one peer that wait for their answers, at least 1. 4,096 by default. A further one
    /// is refused as full.
    pub calls_out_max: usize,
    /// The most calls of one protocol that are being answered here, at least 1. 1,024 by default. A further
    /// one is refused as overloaded.
    pub calls_in_max: usize,
    /// The most accepted connections, at least 1. 1,024 by default. A peer needs two. Further ones are
    /// closed.
    pub connections_max: usize,
    /// The most accepted connections whose handshake isn't done, at least 1. 64 by default. At the limit,
    /// the oldest is closed for the newest.
    pub handshakes_max: usize,
    /// How long dialling may take, and then the handshake. 3 s by default. Above the round-trip time of the
    /// farthest peer.
    pub handshake_timeout: Duration,
    /// The first pause after a failed attempt to dial. 50 ms by default.
    pub backoff_min: Duration,
    /// The longest pause between attempts. 2 s by default: what a returning peer may have to wait, unless it
    /// dials first.
    pub backoff_max: Duration,
    /// The pause after a refused handshake, which only people can mend. 10 s by default.
    pub refused_retry: Duration,
    /// After how long without traffic a connection is tested. 2 s by default.
    pub ping_interval: Duration,
    /// After how long without a sign of life a connection is given up, at least twice
    /// [`ping_interval`](Self::ping_interval), and above that of every peer that dials this node: an
    /// accepted connection only answers pings. 6 s by default. Calls without a deadline end then. Whatever
    /// arrives is a sign of life, and so is a link that was full and takes more.
    pub silence_max: Duration,
    /// The longest that [`shutdown`](crate::Endpoint::shutdown) takes. 2 s by default.
    pub shutdown_max: Duration,
    /// The seed of the jitter; drawn from the operating system if `None`.
    pub seed: Option<u64>,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            body_max: 4 << 20,
            queue_messages: 4096,
            queue_bytes: 16 << 20,
            calls_out_max: 4096,
            calls_in_max: 1024,
            connections_max: 1024,
            handshakes_max: 64,
            handshake_timeout: Duration::from_secs(3),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            refused_retry: Duration::from_secs(10),
            ping_interval: Duration::from_secs(2),
            silence_max: Duration::from_secs(6),
            shutdown_max: Duration::from_secs(2),
            seed: None,
        }
    }
}

impl EndpointConfig {
    /// Whether every field is in its range.
    ///
    /// # Errors
    ///
    /// [`StartError::Config`] names the first field that isn't.
    pub fn check(&self) -> Result<(), StartError> {
        let rules = [
            ("body_max", "1 MiB to 1 GiB", (BODY_MAX_LEAST..=1 << 30).contains(&self.body_max)),
            ("queue_messages", "at least 1", self.queue_messages > 0),
            ("queue_bytes", "at least body_max", self.queue_bytes >= self.body_max),
            ("calls_out_max", "1 to 2^31", (1..=1 << 31).contains(&self.calls_out_max)),
            ("calls_in_max", "at least 1", self.calls_in_max > 0),
            ("connections_max", "at least 1", self.connections_max > 0),
            ("handshakes_max", "at least 1", self.handshakes_max > 0),
            ("handshake_timeout", "above zero", !self.handshake_timeout.is_zero()),
            ("backoff_min", "above zero", !self.backoff_min.is_zero()),
            ("backoff_max", "at least backoff_min", self.backoff_max >= self.backoff_min),
            ("refused_retry", "above zero", !self.refused_retry.is_zero()),
            ("ping_interval", "above zero", !self.ping_interval.is_zero()),
            ("silence_max", "at least twice ping_interval", self.silence_max / 2 >= self.ping_interval),
            ("handshake_timeout", A_DAY, self.handshake_timeout <= DURATION_MAX),
            ("backoff_max", A_DAY, self.backoff_max <= DURATION_MAX),
            ("refused_retry", A_DAY, self.refused_retry <= DURATION_MAX),
            ("silence_max", A_DAY, self.silence_max <= DURATION_MAX),
            ("shutdown_max", A_DAY, self.shutdown_max <= DURATION_MAX),
        ];
        match rules.into_iter().find(|(_, _, holds)| !holds) {
            Some((field, range, _)) => Err(StartError::Config { field, range }),
            None => Ok(()),
        }
    }
}

/// The longest of any duration here; what is added to the present time must not overflow.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const A_DAY: &str = "at most a day";
