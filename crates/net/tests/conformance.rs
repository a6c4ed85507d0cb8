//! The transport kit, run over endpoints on loopback TCP.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::{BootId, ClusterId, NodeId};
use quorate_net::{Endpoint, EndpointConfig};
use quorate_transport::{NodeIdentity, Transport, conformance};

struct Endpoints {
    nodes: Vec<Option<Arc<Endpoint>>>,
    addresses: Vec<String>,
    boots: u64,
}

impl Endpoints {
    async fn start(count: usize) -> Self {
        let mut cluster = Self { nodes: Vec::new(), addresses: Vec::new(), boots: 0 };
        for index in 0..count {
            let endpoint = cluster.bind(index).await;
            cluster.addresses.push(endpoint.local_addr().to_owned());
            cluster.nodes.push(Some(endpoint));
        }
        for index in 0..count {
            cluster.introduce(index);
        }
        cluster
    }

    async fn bind(&mut self, index: usize) -> Arc<Endpoint> {
        self.boots += 1;
        let identity = NodeIdentity::new(ClusterId::new(1), node(index), BootId::new(self.boots));
        let mut config = EndpointConfig::default();
        config.backoff_min = Duration::from_millis(1);
        config.backoff_max = Duration::from_millis(20);
        config.seed = Some(self.boots);
        Arc::new(
            Endpoint::builder(identity).config(config).bind("127.0.0.1:0").await.expect("loopback is free"),
        )
    }

    /// Tells a node of all others.
    fn introduce(&self, index: usize) {
        let Some(endpoint) = &self.nodes[index] else { return };
        for (other, address) in self.addresses.iter().enumerate().filter(|(other, _)| *other != index) {
            endpoint.set_peer(node(other), address);
        }
    }
}

fn node(index: usize) -> NodeId {
    NodeId::new(index as u64 + 1)
}

#[async_trait::async_trait]
impl conformance::Cluster for Endpoints {
    fn node(&self, index: usize) -> Arc<dyn Transport> {
        self.nodes[index].clone().expect("the kit doesn't ask for a crashed node")
    }

    async fn crash(&mut self, index: usize) {
        self.nodes[index] = None;
    }

    async fn restart(&mut self, index: usize) {
        let endpoint = self.bind(index).await;
        self.addresses[index] = endpoint.local_addr().to_owned();
        self.nodes[index] = Some(endpoint);
        for index in 0..self.nodes.len() {
            self.introduce(index);
        }
    }
}

#[tokio::test]
async fn tcp_keeps_the_contract() {
    let report = conformance::run(Endpoints::start).await;
    println!("{report}");
    report.assert_kept();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_keeps_the_contract_on_threads() {
    conformance::run(Endpoints::start).await.assert_kept();
}
