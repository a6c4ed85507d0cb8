//! One node calls another over the in-memory network.
//!
//! `cargo run -p quorate-transport --example hello_transport`

use std::sync::Arc;

use async_trait::async_trait;
use quorate_core::{ClusterId, NodeId};
use quorate_transport::{
    Body, Handler, Incoming, MemoryNetwork, Message, NodeIdentity, ProtocolId, Status, Transport,
};

struct Greeter;

#[async_trait]
impl Handler for Greeter {
    async fn on_call(&self, from: NodeIdentity, call: Incoming) -> Result<Body, Status> {
        Ok(format!("hello, node {}: {} bytes came", from.node, call.body.len()).into())
    }
}

const GREET: ProtocolId = ProtocolId::USER;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let network = MemoryNetwork::new(ClusterId::new(1));
    let (one, two) = (network.join(NodeId::new(1)), network.join(NodeId::new(2)));
    let _greeting = two.register(GREET, Arc::new(Greeter))?;
    let answer = one.call(NodeId::new(2), Message::new(GREET, "hi")).await?;
    println!("{}", String::from_utf8_lossy(&answer));
    Ok(())
}
