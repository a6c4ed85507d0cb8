//! Two nodes on loopback: one calls, the other answers.
//!
//! `cargo run -p quorate-net --example hello_net`

use std::sync::Arc;

use quorate_core::{ClusterId, NodeId};
use quorate_net::{Endpoint, new_boot};
use quorate_transport::{Body, Handler, Incoming, Message, NodeIdentity, ProtocolId, Status, Transport};

struct Greeter;

#[async_trait::async_trait]
impl Handler for Greeter {
    async fn on_call(&self, from: NodeIdentity, call: Incoming) -> Result<Body, Status> {
        Ok(format!("hello, node {}: {} bytes came", from.node, call.body.len()).into())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (cluster, greet) = (ClusterId::new(1), ProtocolId::USER);
    let identity = |node| Ok::<_, quorate_net::StartError>(NodeIdentity::new(cluster, node, new_boot()?));
    let two = Endpoint::builder(identity(NodeId::new(2))?).bind("127.0.0.1:0").await?;
    let _greeting = two.register(greet, Arc::new(Greeter))?;
    let one = Endpoint::builder(identity(NodeId::new(1))?).peer(NodeId::new(2), two.local_addr());
    let one = one.bind("127.0.0.1:0").await?;
    println!("{}", String::from_utf8_lossy(&one.call(NodeId::new(2), Message::new(greet, "hi")).await?));
    Ok(())
}
