//! Killing nodes again and again.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::Rng;
use tokio::time::{Instant, sleep};

use super::load::{CLIENTS, Load};
use super::verify::{catch_up, counters, verify};
use super::{Item, Report, TourError};
use crate::console::Console;
use crate::supervisor::Cluster;

/// Kills random nodes under load with SIGKILL, `count` times, on the same data; at the end reads every
/// acknowledged key through every node.
///
/// Mostly one node dies, now and then all of them at the same moment. Some are back before the next dies,
/// some are not. After each cycle the counters are read through a random node: none may be behind what was
/// acknowledged before.
///
/// # Errors
///
/// [`TourError`].
pub async fn cycles(
    cluster: &Cluster,
    items: Vec<Item>,
    count: u32,
    seed: u64,
    run: String,
    console: &Console,
) -> Result<Report, TourError> {
    let items: Arc<[Item]> = items.into();
    let mut rng = Rng::from_seed(seed);
    cluster.whole().await?;
    let load = Load::start(items.clone(), run.clone(), cluster.watch());
    for cycle in 1..=count {
        sleep(rng.duration(LIVE_MIN..LIVE_MAX)).await;
        let nodes: Vec<u64> = cluster.view().nodes.keys().copied().collect();
        let victims =
            if rng.chance(ALL_MILLIONTHS) { nodes.clone() } else { vec![nodes[rng.index(nodes.len())]] };
        let begun = Instant::now();
        let starts = |node: &u64| cluster.view().nodes.get(node).map_or(0, |view| view.starts);
        let before: Vec<(u64, u32)> = victims.iter().map(|node| (*node, starts(node))).collect();
        load.mark_kill();
        cluster.kill(victims.clone()).await?;
        let back = "the killed nodes serve again";
        cluster
            .wait(back, |view| {
                let is_back = |(node, starts): &(u64, u32)| {
                    view.nodes.get(node).is_some_and(|node| node.redis.is_some() && node.starts > *starts)
                };
                before.iter().all(is_back)
            })
            .await?;
        check(cluster, &load, &run, cycle, &mut rng).await?;
        let took = begun.elapsed().as_millis();
        let (acknowledged, killed) = (load.acknowledged(), list(&victims));
        console.line(format_args!("cycle={cycle} killed={killed} ms={took} acknowledged={acknowledged}"));
    }
    let loaded = load.finish().await;
    let nodes = cluster.whole().await?.serving();
    catch_up(&nodes).await?;
    let verdict = verify(&loaded, &items, &run, &nodes, console.progress("verify")).await?;
    // A node that dies again and again may keep some items from ever being acknowledged.
    Ok(Report::new(&loaded, verdict, 0))
}

/// Reads the counters through a random node, which may not be behind what clients had been told before.
async fn check(
    cluster: &Cluster,
    load: &Load,
    run: &str,
    cycle: u32,
    rng: &mut Rng,
) -> Result<(), TourError> {
    let acknowledged = load.increments();
    let nodes = cluster.wait("some node serves", |view| !view.serving().is_empty()).await?.serving();
    let (node, address) = nodes[rng.index(nodes.len())];
    let seen = counters(address, run, CLIENTS).await?;
    for (client, (acknowledged, seen)) in acknowledged.into_iter().zip(seen).enumerate() {
        if seen < acknowledged {
            return Err(TourError::Behind { cycle, client, acknowledged, node, seen });
        }
    }
    Ok(())
}

fn list(nodes: &[u64]) -> String {
    nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// How long nodes are left alone between kills. An election takes about half a second, so some kills come
/// during one.
const LIVE_MIN: Duration = Duration::from_millis(50);
const LIVE_MAX: Duration = Duration::from_millis(900);
/// How often all nodes are killed at once, in millionths.
const ALL_MILLIONTHS: u32 = 100_000;
