//! What a node and its parent tell each other, a line each, over the node's standard streams.

use std::net::SocketAddr;

/// What a node tells its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It serves.
    Ready {
        /// Where other nodes reach it.
        peer: SocketAddr,
        /// Where Redis clients do.
        redis: SocketAddr,
    },
    /// It knows another leader, has taken on another role, or has the founding on its disk.
    Leader {
        /// The newest term it knows.
        term: u64,
        /// Who leads, if anyone.
        leader: Option<u64>,
        /// Whether the cluster's founding, which is the first entry of its log, is on its disk.
        founded: bool,
    },
}

/// What a parent tells its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Where another node is.
    Peer {
        /// Which.
        node: u64,
        /// Its address.
        address: SocketAddr,
    },
    /// End in order.
    Shutdown,
}

impl Report {
    /// The line, without its end.
    pub fn to_line(&self) -> String {
        match self {
            Self::Ready { peer, redis } => format!("ready {peer} {redis}"),
            Self::Leader { term, leader, founded } => {
                format!("leader {term} {} {founded}", leader.unwrap_or(0))
            }
        }
    }

    /// From a line; nothing if it is none of these.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let report = match words.next()? {
            "ready" => Self::Ready { peer: words.next()?.parse().ok()?, redis: words.next()?.parse().ok()? },
            "leader" => {
                let term = words.next()?.parse().ok()?;
                let leader = Some(words.next()?.parse().ok()?).filter(|leader| *leader != 0);
                Self::Leader { term, leader, founded: words.next()?.parse().ok()? }
            }
            _ => return None,
        };
        words.next().is_none().then_some(report)
    }
}

impl Order {
    /// The line, without its end.
    pub fn to_line(&self) -> String {
        match self {
            Self::Peer { node, address } => format!("peer {node} {address}"),
            Self::Shutdown => "shutdown".to_owned(),
        }
    }

    /// From a line; nothing if it is none of these.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let order = match words.next()? {
            "peer" => Self::Peer { node: words.next()?.parse().ok()?, address: words.next()?.parse().ok()? },
            "shutdown" => Self::Shutdown,
            _ => return None,
        };
        words.next().is_none().then_some(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        for report in [
            Report::Ready { peer: address(1), redis: address(2) },
            Report::Leader { term: 5, leader: Some(2), founded: true },
            Report::Leader { term: 5, leader: None, founded: false },
        ] {
            assert_eq!(Report::from_line(&report.to_line()), Some(report));
        }
        for order in [Order::Peer { node: 3, address: address(9) }, Order::Shutdown] {
            assert_eq!(Order::from_line(&order.to_line()), Some(order));
        }
    }

    #[test]
    fn other_lines_are_nothing() {
        for line in
            ["", "ready", "ready x y", "leader 5", "leader 5 2 maybe", "shutdown now", "peer 1 nowhere"]
        {
            assert_eq!(Report::from_line(line), None);
            assert_eq!(Order::from_line(line), None);
        }
    }
}
