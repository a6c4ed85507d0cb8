use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quorate_transport::ProtocolId;

use super::*;

/// A body whose destructor needs the link, as one that sends something would.
struct Owner(Arc<Link>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        b"four"
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        assert!(self.0.state.try_lock().is_ok(), "the link is locked while a body is dropped");
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_are_dropped_without_the_lock() {
    let link = Arc::new(Link::new(&EndpointConfig::default()));
    let dropped = Arc::new(AtomicUsize::new(0));
    let message = || Message::new(ProtocolId::USER, Bytes::from_owner(Owner(link.clone(), dropped.clone())));
    let take = |peer_max| link.take(Instant::now(), 1 << 20, peer_max, &mut Batch::default());
    let seen = || dropped.swap(0, Ordering::Relaxed);

    link.send(message().within(Duration::from_millis(1))).expect("there is room");
    tokio::time::advance(Duration::from_millis(2)).await;
    take(100);
    assert_eq!(seen(), 1, "the deadline has passed");

    link.send(message()).expect("there is room");
    let too_long = link.call(message()).expect("there is room");
    take(3);
    assert_eq!(seen(), 2, "the peer takes no body of four bytes");
    assert!(matches!(too_long.await, Err(CallError::TooLarge { len: 4, max: 3 })));

    drop(link.call(message()).expect("there is room"));
    take(100);
    assert_eq!(seen(), 1, "the call was given up");

    link.send(message()).expect("there is room");
    link.connected(BootId::new(1));
    link.connected(BootId::new(2));
    assert_eq!(seen(), 1, "it was meant for another boot");

    link.send(message()).expect("there is room");
    link.end();
    assert_eq!(seen(), 1, "the link has ended");
    assert!(link.call(message()).is_err());
    assert_eq!(seen(), 1, "nothing is taken any more");
}
