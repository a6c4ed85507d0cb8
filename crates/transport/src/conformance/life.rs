//! Clauses 17 and 18: peers that go and come back.

use std::time::Duration;

use tokio::time::timeout;

use super::handlers::{Answerer, call_until_answered, register};
use super::{Case, Cluster, Verdict, ensure};
use crate::PeerEvent;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { clause: 17, name: "a_peer_that_comes_back_is_reached", body: |c| Box::pin(reached_again(c)) },
        Case { clause: 17, name: "a_peer_that_comes_back_reaches_others", body: |c| Box::pin(reaches(c)) },
        Case { clause: 18, name: "events_tell_down_and_up_with_boots", body: |c| Box::pin(events_told(c)) },
    ]
}

async fn reached_again(cluster: &mut dyn Cluster) -> Verdict {
    let one = cluster.node(0);
    for _ in 0..3 {
        let before = *cluster.node(1).local();
        cluster.crash(1).await;
        cluster.restart(1).await;
        let two = cluster.node(1);
        ensure(two.local().node == before.node, || "the node has another name".to_owned())?;
        ensure(two.local().boot != before.boot, || "the restart has the same boot".to_owned())?;
        let (answerer, _answering) = Answerer::new();
        let _registered = register(&*two, answerer)?;
        call_until_answered(&*one, two.local().node).await;
    }
    Ok(())
}

async fn reaches(cluster: &mut dyn Cluster) -> Verdict {
    let one = cluster.node(0);
    let (answerer, mut answering) = Answerer::new();
    let _registered = register(&*one, answerer)?;
    call_until_answered(&*cluster.node(1), one.local().node).await;
    cluster.crash(1).await;
    cluster.restart(1).await;
    while answering.begun.try_recv().is_ok() {}
    let two = cluster.node(1);
    call_until_answered(&*two, one.local().node).await;
    let from = answering.begun.recv().await.map(|(from, _)| from);
    ensure(from == Some(*two.local()), || format!("{} appears as {from:?}", two.local()))
}

async fn events_told(cluster: &mut dyn Cluster) -> Verdict {
    let one = cluster.node(0);
    let before = *cluster.node(1).local();
    let mut events = one.events();
    if let Ok(None) = timeout(Duration::ZERO, events.next()).await {
        // Events are an extra; this transport tells none.
        return Ok(());
    }
    let mut events = one.events();
    let (answerer, _answering) = Answerer::new();
    register(&*cluster.node(1), answerer)?.forever();
    call_until_answered(&*one, before.node).await;
    cluster.crash(1).await;
    loop {
        match events.next().await {
            Some(PeerEvent::Down { peer, .. }) if peer == before => break,
            Some(PeerEvent::Up { peer }) if peer.node != before.node || peer == before => {}
            Some(PeerEvent::Down { peer, .. }) if peer.node != before.node => {}
            other => return Err(format!("{other:?} came before the loss was told")),
        }
    }
    cluster.restart(1).await;
    let after = *cluster.node(1).local();
    loop {
        match events.next().await {
            Some(PeerEvent::Up { peer }) if peer == after => return Ok(()),
            Some(PeerEvent::Up { peer } | PeerEvent::Down { peer, .. }) if peer.node != before.node => {}
            other => return Err(format!("{other:?} came before the return was told")),
        }
    }
}
