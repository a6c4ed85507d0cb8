use async_trait::async_trait;
use bytes::Bytes;
use quorate_core::{BootId, ClusterId, NodeId};
use quorate_transport::Handler;
use std::sync::Arc;

use super::*;

struct Stuck;

#[async_trait]
impl Handler for Stuck {
    async fn on_call(&self, _: NodeIdentity, _: Incoming) -> Result<Body, Status> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_reuse_one_number_leave_no_deadlines_behind() {
    let identity = NodeIdentity::new(ClusterId::new(1), NodeId::new(1), BootId::new(1));
    let registry = Registry::new(10);
    registry.register(ProtocolId::USER, Arc::new(Stuck)).expect("it is the only handler").forever();
    let theirs = Hello::new(identity, NodeId::new(2), Class::Main, 1 << 20);
    let (stream, _peer) = tokio::io::duplex(64);
    let config = EndpointConfig::default();
    let mut inbound = Inbound::new(Stream::new(stream), FrameReader::new(0), &theirs, registry, &config);
    for round in 0..5000 {
        for kind in [Kind::Request, Kind::Cancel] {
            let mut header = Header::of_request(kind, 5);
            header.lane = 1;
            header.protocol = ProtocolId::USER.get();
            header.deadline_ms = u32::MAX;
            header.body_crc = crc32c::crc32c(&Bytes::new());
            inbound.reader.room().extend_from_slice(&header.encode());
        }
        tokio::time::advance(Duration::from_micros(1)).await;
        inbound.hear(Instant::now()).await.expect("the frames are valid");
        assert!(inbound.deadlines.len() <= 200, "{} deadlines in round {round}", inbound.deadlines.len());
    }
}
