//! Clauses 1 to 8: identity and one-way messages.

use std::time::Duration;

use bytes::Bytes;
use quorate_core::NodeId;

use super::handlers::{Answerer, PROTOCOL, Recorder, Recording, call_until_answered, register};
use super::{Case, Cluster, During, Running, Verdict, ensure};
use crate::{Body, CallError, Lane, Message, Reason, SendError, Transport};

pub(super) fn cases() -> Vec<Case> {
    fn case(clause: u8, name: &'static str, body: fn(&mut dyn Cluster) -> Running<'_>) -> Case {
        Case { clause, name, body }
    }
    vec![
        case(1, "the_sender_is_named_truly", |c| Box::pin(sender_named(c))),
        case(2, "a_node_is_not_its_own_peer", |c| Box::pin(unknown(c, false))),
        case(2, "a_node_without_an_address_is_refused", |c| Box::pin(unknown(c, true))),
        case(3, "one_way_bodies_arrive_whole", |c| Box::pin(bodies_whole(c))),
        case(3, "called_bodies_arrive_whole", |c| Box::pin(called_bodies_whole(c))),
        case(3, "channels_and_lanes_arrive", |c| Box::pin(labels_arrive(c))),
        case(4, "a_message_arrives_once", |c| Box::pin(arrives_once(c))),
        case(5, "each_lane_keeps_its_order", |c| Box::pin(order_kept(c))),
        case(6, "a_later_boot_gets_nothing_of_an_earlier_one", |c| Box::pin(boots_apart(c))),
        case(7, "a_full_queue_hands_the_message_back", |c| Box::pin(full_hands_back(c))),
        case(8, "an_oversized_message_is_handed_back", |c| Box::pin(oversized_message(c))),
        case(8, "an_oversized_call_is_refused", |c| Box::pin(oversized_call(c))),
    ]
}

async fn sender_named(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two, three) = (cluster.node(0), cluster.node(1), cluster.node(2));
    let (recorder, mut recording) = Recorder::new();
    let _registered = register(&*one, recorder)?;
    for node in [&two, &three] {
        node.try_send(one.local().node, Message::new(PROTOCOL, "")).during("sending")?;
        let (from, _) = recording.next().await?;
        ensure(from == *node.local(), || format!("{} appears as {from}", node.local()))?;
    }
    ensure(one.local().cluster == two.local().cluster, || "two clusters".to_owned())
}

async fn unknown(cluster: &mut dyn Cluster, stranger: bool) -> Verdict {
    let one = cluster.node(0);
    let to = if stranger { NodeId::new(u64::MAX - 7) } else { one.local().node };
    let message = Message::new(PROTOCOL, "to nobody").on_channel(9);
    let sent = one.try_send(to, message.clone());
    ensure(sent == Err(SendError::UnknownPeer(message.clone())), || format!("try_send said {sent:?}"))?;
    let called = one.call(to, message).await;
    ensure(called == Err(CallError::NotSent(Reason::UnknownPeer)), || format!("call said {called:?}"))
}

/// Bodies of telling lengths, with telling bytes, in one chunk and in several.
fn bodies(max: usize) -> Vec<Body> {
    let pattern = |len: usize| (0..len).map(|at| (at * 31 + at / 251) as u8).collect::<Vec<u8>>();
    let mut bodies: Vec<Body> =
        [0, 1, 31, 32, 33, 4095, 4096, 4097, 65_536, 100_000, max].map(|len| Body::from(pattern(len))).into();
    let slice = Bytes::from(pattern(9000));
    bodies
        .push(Body::with_slices(pattern(7), [slice.clone(), Bytes::new(), slice.slice(..1), slice.clone()]));
    bodies.push(Body::with_slices(Bytes::new(), (0..100).map(|at| slice.slice(at * 10..at * 10 + at))));
    bodies
}

async fn bodies_whole(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (recorder, mut recording) = Recorder::new();
    let _registered = register(&*two, recorder)?;
    for body in bodies(one.body_max().min(LONG)) {
        for lane in Lane::ALL {
            let message = Message::new(PROTOCOL, body.clone()).on_lane(lane);
            one.try_send(two.local().node, message).during("sending")?;
            let (_, incoming) = recording.next().await?;
            ensure(body.to_bytes() == incoming.body, || format!("{body:?} arrived differently"))?;
        }
    }
    Ok(())
}

async fn called_bodies_whole(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (answerer, _answering) = Answerer::new();
    let _registered = register(&*two, answerer)?;
    for body in bodies(one.body_max().min(LONG)) {
        for lane in Lane::ALL {
            let message = Message::new(PROTOCOL, body.clone()).on_lane(lane);
            let answer = one.call(two.local().node, message).await.during("calling")?;
            ensure(body.to_bytes() == answer, || format!("{body:?} came back differently"))?;
        }
    }
    Ok(())
}

async fn labels_arrive(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (recorder, mut recording) = Recorder::new();
    let _registered = register(&*two, recorder)?;
    for channel in [0, 1, u64::from(u32::MAX) + 1, u64::MAX] {
        for lane in Lane::ALL {
            let message = Message::new(PROTOCOL, "").on_channel(channel).on_lane(lane);
            one.try_send(two.local().node, message).during("sending")?;
            let (_, incoming) = recording.next().await?;
            ensure(incoming.protocol == PROTOCOL, || format!("it came to {}", incoming.protocol))?;
            ensure(incoming.channel == channel, || {
                format!("channel {channel} came as {}", incoming.channel)
            })?;
            ensure(incoming.lane == lane, || format!("{lane:?} came as {:?}", incoming.lane))?;
        }
    }
    Ok(())
}

fn numbered(number: u32, lane: Lane) -> Message {
    Message::new(PROTOCOL, number.to_le_bytes().to_vec()).on_lane(lane)
}

async fn next_number(recording: &mut Recording) -> Result<(Lane, u32), String> {
    let (_, incoming) = recording.next().await?;
    let number = incoming.body[..].try_into().map(u32::from_le_bytes).during("reading a number")?;
    Ok((incoming.lane, number))
}

async fn arrives_once(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (recorder, mut recording) = Recorder::new();
    let _registered = register(&*two, recorder)?;
    let mut seen = [false; 1000];
    for number in 0..1000 {
        one.try_send(two.local().node, numbered(number, Lane::Normal)).during("sending")?;
        if number % 100 == 99 {
            for _ in 0..100 {
                let (_, number) = next_number(&mut recording).await?;
                let before = seen.get_mut(number as usize).map(|seen| std::mem::replace(seen, true));
                ensure(before == Some(false), || format!("message {number} came twice, or was never sent"))?;
            }
        }
    }
    call_is_quiet(&*one, two.local().node).await;
    ensure(recording.messages.try_recv().is_err(), || "a message came that was never sent".to_owned())
}

/// A round trip, after which what was sent before on the lane has arrived.
async fn call_is_quiet(node: &dyn Transport, to: NodeId) {
    // The recorder takes no calls; its refusal is as good an answer as any.
    let _ = node.call(to, Message::new(PROTOCOL, "")).await;
}

async fn order_kept(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let (recorder, mut recording) = Recorder::new();
    let _registered = register(&*two, recorder)?;
    let mut expected = [0; 3];
    for burst in 0..10 {
        for number in burst * 100..(burst + 1) * 100 {
            for lane in Lane::ALL {
                one.try_send(two.local().node, numbered(number, lane)).during("sending")?;
            }
        }
        for _ in 0..300 {
            let (lane, number) = next_number(&mut recording).await?;
            let next = &mut expected[lane.index()];
            ensure(number == *next, || format!("{number} came on {lane:?} where {next} was due"))?;
            *next += 1;
        }
    }
    ensure(!recording.overlapped(), || "the handler was called twice at a time for one lane".to_owned())
}

async fn boots_apart(cluster: &mut dyn Cluster) -> Verdict {
    let one = cluster.node(0);
    let two = cluster.node(1).local().node;
    let (answerer, _answering) = Answerer::new();
    register(&*cluster.node(1), answerer)?.forever();
    call_until_answered(&*one, two).await;
    for number in 0..200 {
        // Refusals are fine; what matters is what the next boot gets.
        let _ = one.try_send(two, numbered(number, Lane::ALL[number as usize % 3]));
    }
    cluster.crash(1).await;
    cluster.restart(1).await;
    let reborn = cluster.node(1);
    let (recorder, mut recording) = Recorder::new();
    let _registered = register(&*reborn, recorder)?;
    let mut reached = [false; 3];
    while reached != [true; 3] {
        for lane in Lane::ALL {
            let _ = one.try_send(two, numbered(NEW, lane));
        }
        tokio::time::sleep(PAUSE).await;
        while let Ok((_, incoming)) = recording.messages.try_recv() {
            let number = incoming.body[..].try_into().map(u32::from_le_bytes).during("reading a number")?;
            ensure(number == NEW, || format!("message {number} was sent to the boot before"))?;
            reached[incoming.lane.index()] = true;
        }
    }
    Ok(())
}

async fn full_hands_back(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let slice = Bytes::from(vec![5; 256 << 10]);
    for lane in Lane::ALL {
        // Not a single await: whatever empties the queue must be faster than this loop to escape it.
        let refused = (0..1_000_000).find_map(|channel| {
            let message = Message::new(PROTOCOL, slice.clone()).on_lane(lane).on_channel(channel);
            one.try_send(two.local().node, message.clone()).err().map(|error| (message, error))
        });
        let Some((message, error)) = refused else {
            return Err(format!("the queue of {lane:?} has no bound below 256 GB"));
        };
        ensure(error == SendError::Full(message), || format!("not full, or another message: {error}"))?;
    }
    Ok(())
}

fn oversized(one: &dyn Transport) -> Option<(Message, usize)> {
    let max = one.body_max();
    (max < OVERSIZED_MAX).then(|| (Message::new(PROTOCOL, vec![1; max + 1]), max))
}

async fn oversized_message(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let Some((message, max)) = oversized(&*one) else { return Ok(()) };
    let (recorder, mut recording) = Recorder::new();
    let _registered = register(&*two, recorder)?;
    let sent = one.try_send(two.local().node, message.clone());
    ensure(sent == Err(SendError::TooLarge { message, max }), || format!("it was not refused: {sent:?}"))?;
    one.try_send(two.local().node, numbered(NEW, Lane::Normal)).during("sending a short one")?;
    let (_, number) = next_number(&mut recording).await?;
    ensure(number == NEW, || "another message came".to_owned())
}

async fn oversized_call(cluster: &mut dyn Cluster) -> Verdict {
    let (one, two) = (cluster.node(0), cluster.node(1));
    let Some((message, max)) = oversized(&*one) else { return Ok(()) };
    let (answerer, _answering) = Answerer::new();
    let _registered = register(&*two, answerer)?;
    let called = one.call(two.local().node, message).await;
    let len = max + 1;
    ensure(called == Err(CallError::TooLarge { len, max }), || format!("it was not refused: {called:?}"))?;
    let answer = one.call(two.local().node, Message::new(PROTOCOL, "short")).await.during("calling")?;
    ensure(answer == "short", || "another answer came".to_owned())
}

/// Between two attempts to reach a peer that has just come back.
const PAUSE: Duration = Duration::from_millis(5);
/// Marks messages that are meant for a new boot.
const NEW: u32 = u32::MAX;
/// Longer bodies aren't tried, to keep the kit quick.
const LONG: usize = 4 << 20;
/// Above this limit, no oversized body is made.
const OVERSIZED_MAX: usize = 256 << 20;
