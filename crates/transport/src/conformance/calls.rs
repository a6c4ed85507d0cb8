//! Clauses 9 to 16: calls and handlers.

use std::time::Duration;

use quorate_core::Outcome;
use tokio::task::JoinSet;

use super::handlers::{Answerer, PROTOCOL, REJECTION, Recorder, register};
use super::{Case, Cluster, During, Running, Verdict, ensure};
use crate::{CallError, Lane, Message, ProtocolId, RegisterError, StatusCode};

pub(super) fn cases() -> Vec<Case> {
    fn case(clause: u8, name: &'static str, body: fn(&mut dyn Cluster) -> Running<'_>) -> Case {
        Case { clause, name, body }
    }
    vec![
        case(9, "answers_belong_to_their_requests", |c| Box::pin(answers_matched(c))),
        case(9, "a_slow_call_holds_up_no_other", |c| Box::pin(slow_call(c))),
        case(10, "a_status_arrives_as_it_is", |c| Box::pin(status_arrives(c))),
        case(10, "a_panic_is_a_failure_of_its_own_call", |c| Box::pin(panic_contained(c))),
        case(11, "a_call_without_a_handler_is_unsupported", |c| Box::pin(unsupported(c))),
        case(11, "a_message_without_a_handler_is_dropped", |c| Box::pin(dropped(c))),
        case(12, "a_deadline_ends_a_call", |c| Box::pin(deadline_ends(c))),
        case(12, "a_deadline_of_zero_sends_nothing", |c| Box::pin(deadline_zero(c))),
        case(13, "the_handler_is_told_the_deadline", |c| Box::pin(deadline_told(c))),
        case(14, "a_dropped_call_drops_its_handler", |c| Box::pin(cancelled(c))),
        case(14, "a_passed_deadline_drops_the_handler", |c| Box::pin(expired(c))),
        case(15, "a_call_ends_when_its_peer_is_lost", |c| Box::pin(peer_lost(c))),
        case(16, "a_protocol_has_one_handler", |c| Box::pin(one_handler(c))),
        case(16, "a_dropped_registration_makes_room", |c| Box::pin(room_made(c))),
    ]
}

async fn answers_matched(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (answerer, _answering) = Answerer::new();
    let _registered = register(&*two, answerer)?;
    let mut calls = JoinSet::new();
    for number in 0..300u32 {
        let (one, to) = (one.clone(), two.local().node);
        calls.spawn(async move {
            let message = Message::new(PROTOCOL, number.to_le_bytes().to_vec());
            let message = message.on_lane(Lane::ALL[number as usize % 3]).on_channel(u64::from(number));
            (number, one.call(to, message).await)
        });
    }
    while let Some(joined) = calls.join_next().await {
        let (number, answer) = joined.during("running a call")?;
        let answer = answer.during("calling")?;
        ensure(answer[..] == number.to_le_bytes(), || format!("call {number} got another's answer"))?;
    }
    Ok(())
}

async fn slow_call(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (answerer, mut answering) = Answerer::new();
    let _registered = register(&*two, answerer)?;
    let mut slow = one.call(two.local().node, Message::new(PROTOCOL, "stick"));
    tokio::select! {
        biased;
        ended = &mut slow => return Err(format!("the slow call ended: {ended:?}")),
        _ = answering.begun.recv() => {}
    }
    let quick = one.call(two.local().node, Message::new(PROTOCOL, "quick"));
    tokio::select! {
        biased;
        answer = quick => ensure(answer.as_ref().is_ok_and(|body| body == "quick"), || format!("got {answer:?}")),
        ended = slow => Err(format!("the slow call ended: {ended:?}")),
    }
}

async fn status_arrives(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (answerer, _answering) = Answerer::new();
    let _registered = register(&*two, answerer)?;
    match one.call(two.local().node, Message::new(PROTOCOL, "reject")).await {
        Err(CallError::Remote(status))
            if status.code() == StatusCode::Rejected && status.text() == REJECTION =>
        {
            Ok(())
        }
        other => Err(format!("got {other:?}")),
    }
}

async fn panic_contained(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (answerer, _answering) = Answerer::new();
    let _registered = register(&*two, answerer)?;
    match one.call(two.local().node, Message::new(PROTOCOL, "panic")).await {
        Err(CallError::Remote(status)) if status.code() == StatusCode::Failed => {}
        other => return Err(format!("got {other:?}")),
    }
    let after = one.call(two.local().node, Message::new(PROTOCOL, "after")).await;
    ensure(after.as_ref().is_ok_and(|body| body == "after"), || format!("the next call got {after:?}"))
}

async fn unsupported(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    match one.call(two.local().node, Message::new(NOBODYS, "")).await {
        Err(CallError::Remote(status)) if status.code() == StatusCode::Unsupported => Ok(()),
        other => Err(format!("got {other:?}")),
    }
}

async fn dropped(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (recorder, mut recording) = Recorder::new();
    let _registered = register(&*two, recorder)?;
    one.try_send(two.local().node, Message::new(NOBODYS, "lost")).during("sending")?;
    one.try_send(two.local().node, Message::new(PROTOCOL, "found")).during("sending")?;
    let (_, incoming) = recording.next().await?;
    ensure(incoming.body == "found", || "it came to a handler of another protocol".to_owned())
}

async fn deadline_ends(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (answerer, _answering) = Answerer::new();
    let _registered = register(&*two, answerer)?;
    let began = tokio::time::Instant::now();
    let ended = one.call(two.local().node, Message::new(PROTOCOL, "stick").within(SHORT)).await;
    let took = began.elapsed();
    ensure(matches!(ended, Err(CallError::DeadlineExceeded { .. })), || format!("got {ended:?}"))?;
    ensure(took >= SHORT, || format!("it ended after {took:?}"))?;
    ensure(took < SHORT + LENIENCE, || format!("it ended only after {took:?}"))
}

async fn deadline_zero(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (answerer, mut answering) = Answerer::new();
    let _registered = register(&*two, answerer)?;
    let ended = one.call(two.local().node, Message::new(PROTOCOL, "zero").within(Duration::ZERO)).await;
    let expected = Err(CallError::DeadlineExceeded { sent: false });
    ensure(ended == expected, || format!("got {ended:?}"))?;
    one.call(two.local().node, Message::new(PROTOCOL, "after")).await.during("calling")?;
    let first = answering.begun.recv().await;
    ensure(first.is_some_and(|(_, call)| call.body == "after"), || "its handler was run".to_owned())
}

async fn deadline_told(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (answerer, mut answering) = Answerer::new();
    let _registered = register(&*two, answerer)?;
    for set in [None, Some(Duration::from_millis(10_000)), Some(Duration::from_secs(3600))] {
        let mut message = Message::new(PROTOCOL, "");
        message.deadline = set;
        one.call(two.local().node, message).await.during("calling")?;
        let told = answering.begun.recv().await.and_then(|(_, call)| call.deadline);
        let holds = match (set, told) {
            (None, None) => true,
            (Some(set), Some(told)) => told <= set && told + LENIENCE > set,
            _ => false,
        };
        ensure(holds, || format!("{set:?} was set, {told:?} was told"))?;
    }
    Ok(())
}

async fn cancelled(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (answerer, mut answering) = Answerer::new();
    let _registered = register(&*two, answerer)?;
    let call = one.call(two.local().node, Message::new(PROTOCOL, "stick"));
    tokio::select! {
        biased;
        ended = call => return Err(format!("the call ended: {ended:?}")),
        _ = answering.begun.recv() => {}
    }
    answering.dropped.recv().await.ok_or("the handler is gone")?;
    Ok(())
}

async fn expired(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (answerer, mut answering) = Answerer::new();
    let _registered = register(&*two, answerer)?;
    // A lost beginning is made up for: what counts is a call that has begun and then runs out of time.
    loop {
        let ended = one.call(two.local().node, Message::new(PROTOCOL, "stick").within(SHORT)).await;
        ensure(matches!(ended, Err(CallError::DeadlineExceeded { .. })), || format!("got {ended:?}"))?;
        if answering.begun.try_recv().is_ok() {
            break;
        }
    }
    answering.dropped.recv().await.ok_or("the handler is gone")?;
    Ok(())
}

async fn peer_lost(cluster: &mut dyn Cluster) -> Verdict {
    let one = cluster.node(0);
    let two = cluster.node(1).local().node;
    let (answerer, mut answering) = Answerer::new();
    register(&*cluster.node(1), answerer)?.forever();
    let mut call = one.call(two, Message::new(PROTOCOL, "stick"));
    tokio::select! {
        biased;
        ended = &mut call => return Err(format!("the call ended: {ended:?}")),
        _ = answering.begun.recv() => {}
    }
    cluster.crash(1).await;
    // It has begun, so that nobody may say it wasn't sent.
    match call.await {
        Err(error) if error.outcome() == Outcome::Unknown => {}
        other => return Err(format!("the call in progress got {other:?}")),
    }
    for _ in 0..10 {
        let ended = one.call(two, Message::new(PROTOCOL, "to nobody")).await;
        ensure(matches!(ended, Err(CallError::NotSent(_) | CallError::Indeterminate(_))), || {
            format!("a call to the lost peer got {ended:?}")
        })?;
    }
    Ok(())
}

async fn one_handler(cluster: &mut dyn Cluster) -> Verdict {
    let one = cluster.node(0);
    let _registered = register(&*one, Recorder::new().0)?;
    let second = one.register(PROTOCOL, std::sync::Arc::new(Recorder::new().0));
    match second {
        Err(RegisterError::Taken(PROTOCOL)) => Ok(()),
        other => Err(format!("the second registration got {other:?}")),
    }
}

async fn room_made(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (answerer, _answering) = Answerer::new();
    drop(register(&*two, answerer)?);
    match one.call(two.local().node, Message::new(PROTOCOL, "")).await {
        Err(CallError::Remote(status)) if status.code() == StatusCode::Unsupported => {}
        other => return Err(format!("after unregistering, a call got {other:?}")),
    }
    let (answerer, _answering) = Answerer::new();
    let _registered = register(&*two, answerer)?;
    one.call(two.local().node, Message::new(PROTOCOL, "")).await.during("calling the next handler")?;
    Ok(())
}

/// A protocol that no case registers.
const NOBODYS: ProtocolId = ProtocolId::new(0xfffe);
const SHORT: Duration = Duration::from_millis(50);
/// How late a loaded machine may be.
const LENIENCE: Duration = Duration::from_secs(5);
