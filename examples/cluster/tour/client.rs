//! A connection of the Redis client library, without retries: what became of a request is told as it is.

use std::net::SocketAddr;
use std::time::Duration;

use quorate_core::Outcome;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult};

/// Connects, with the third version of the protocol if `resp3`.
///
/// # Errors
///
/// Nobody listens there, or no answer to the greeting comes in time.
pub(super) async fn connect(address: SocketAddr, resp3: bool) -> RedisResult<MultiplexedConnection> {
    let protocol = if resp3 { "?protocol=resp3" } else { "" };
    let client = Client::open(format!("redis://{address}/{protocol}"))?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// What a failed write tells of its outcome: an error reply says so by its code, anything else that went
/// wrong leaves it open.
pub(super) fn outcome(error: &RedisError) -> Outcome {
    match error.kind() {
        ErrorKind::Server(_) | ErrorKind::Extension if error.code() != Some("UNKNOWN") => Outcome::NotDone,
        _ => Outcome::Unknown,
    }
}

/// Whether the connection is of no more use: the server did not answer, as opposed to answering with an
/// error.
pub(super) fn is_broken(error: &RedisError) -> bool {
    !matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than a node takes to give up a proposal, so that it is the node that says what became of it.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn error_replies_tell_the_outcome() {
        assert_eq!(outcome(&reply("UNKNOWN the write may have been applied")), Outcome::Unknown);
        for text in ["TRYAGAIN not applied", "CLUSTERDOWN not applied", "ERR syntax error", "OOM no"] {
            assert_eq!(outcome(&reply(text)), Outcome::NotDone, "{text}");
            assert!(!is_broken(&reply(text)));
        }
    }

    #[test]
    fn a_lost_connection_leaves_the_outcome_open() {
        let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert_eq!(outcome(&lost), Outcome::Unknown);
        assert!(is_broken(&lost));
    }
}
