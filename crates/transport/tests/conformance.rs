//! The kit, run over the in-memory network.

use std::sync::Arc;

use quorate_core::{ClusterId, NodeId};
use quorate_transport::{MemoryNetwork, Transport, conformance};

struct Memory {
    network: MemoryNetwork,
    nodes: Vec<Option<Arc<dyn Transport>>>,
}

impl Memory {
    fn start(count: usize) -> Self {
        let network = MemoryNetwork::new(ClusterId::new(1));
        let mut memory = Self { network, nodes: vec![None; count] };
        for index in 0..count {
            memory.join(index);
        }
        memory
    }

    fn join(&mut self, index: usize) {
        self.nodes[index] = Some(Arc::new(self.network.join(NodeId::new(index as u64 + 1))));
    }
}

#[async_trait::async_trait]
impl conformance::Cluster for Memory {
    fn node(&self, index: usize) -> Arc<dyn Transport> {
        self.nodes[index].clone().expect("the kit doesn't ask for a crashed node")
    }

    async fn crash(&mut self, index: usize) {
        self.nodes[index] = None;
    }

    async fn restart(&mut self, index: usize) {
        self.join(index);
    }
}

#[tokio::test(start_paused = true)]
async fn memory_keeps_the_contract() {
    let report = conformance::run(|count| async move { Memory::start(count) }).await;
    println!("{report}");
    report.assert_kept();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract_on_threads() {
    conformance::run(|count| async move { Memory::start(count) }).await.assert_kept();
}
