//! The parent of the nodes: it starts them, tells them where the others are, and starts again what dies.

mod child;
mod keep;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cli::RestartAfter;
use crate::console::Console;
use crate::directory::Directory;

use self::keep::Keep;

/// A running cluster. Dropping it kills every node; [`shutdown`](Cluster::shutdown) ends them in order.
#[derive(Debug)]
pub struct Cluster {
    view: watch::Receiver<View>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

/// What is known of the cluster.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The nodes.
    pub nodes: BTreeMap<u64, NodeView>,
    /// The leader and its term, unless it has died since.
    pub leader: Option<(u64, u64)>,
    /// Why the cluster can't go on, if it can't.
    pub failure: Option<String>,
}

/// What is known of a node.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// Where its Redis server is, while it serves.
    pub redis: Option<SocketAddr>,
    /// How often it was started.
    pub starts: u32,
}

impl View {
    /// The addresses of the nodes that serve.
    pub fn serving(&self) -> Vec<(u64, SocketAddr)> {
        self.nodes.iter().filter_map(|(node, view)| Some((*node, view.redis?))).collect()
    }

    /// Whether every node serves and there is a leader.
    pub fn is_whole(&self) -> bool {
        self.leader.is_some() && self.nodes.values().all(|node| node.redis.is_some())
    }
}

#[derive(Debug)]
enum Order {
    Kill(Vec<u64>, oneshot::Sender<()>),
    Start(u64),
    /// The second one is by force.
    Shutdown,
}

/// How to keep a cluster.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program to start nodes with.
    pub program: PathBuf,
    /// When a node that died is started again.
    pub restart_after: RestartAfter,
    /// Where to say what happens.
    pub console: Console,
}

impl Cluster {
    /// Starts every node of the directory.
    pub fn start(directory: Directory, plan: Plan) -> Self {
        let (sender, view) = watch::channel(View::default());
        let (orders, inbox) = mpsc::channel(16);
        let task = tokio::spawn(Keep::new(directory, plan, sender).run(inbox));
        Self { view, orders, task }
    }

    /// What is known now.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// A view that tells its changes.
    pub fn watch(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Waits until every node serves and there is a leader.
    ///
    /// # Errors
    ///
    /// [`ClusterError`]: a node can't be started, or it takes more than a minute.
    pub async fn whole(&self) -> Result<View, ClusterError> {
        self.wait("every node serves", View::is_whole).await
    }

    /// Waits for something to be true of the cluster, for a minute at most.
    ///
    /// # Errors
    ///
    /// As [`whole`](Self::whole).
    pub async fn wait(
        &self,
        what: &'static str,
        until: impl Fn(&View) -> bool,
    ) -> Result<View, ClusterError> {
        let mut view = self.view.clone();
        let found = timeout(WAIT_MAX, view.wait_for(|view| view.failure.is_some() || until(view))).await;
        let view = found.map_err(|_| ClusterError::Slow(what))?.map_err(|_| ClusterError::Gone)?.clone();
        match view.failure {
            Some(why) => Err(ClusterError::Failed(why)),
            None => Ok(view),
        }
    }

    /// Kills nodes at the same time with SIGKILL; returns when that is sent.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Gone`] if the cluster has been shut down.
    pub async fn kill(&self, nodes: Vec<u64>) -> Result<(), ClusterError> {
        let (sender, sent) = oneshot::channel();
        self.orders.send(Order::Kill(nodes, sender)).await.map_err(|_| ClusterError::Gone)?;
        sent.await.map_err(|_| ClusterError::Gone)
    }

    /// Starts a node that has died, without waiting for the time after which it would be.
    ///
    /// # Errors
    ///
    /// As [`kill`](Self::kill).
    pub async fn start_again(&self, node: u64) -> Result<(), ClusterError> {
        self.orders.send(Order::Start(node)).await.map_err(|_| ClusterError::Gone)
    }

    /// Ends every node in order; kills what hasn't ended after some seconds, or when `hurry` completes.
    pub async fn shutdown(mut self, hurry: impl Future<Output = ()>) -> Shutdown {
        // If the task is gone already, so are the nodes.
        let _ = self.orders.send(Order::Shutdown).await;
        tokio::select! {
            _ = &mut self.task => return Shutdown::InOrder,
            () = hurry => {}
        }
        let _ = self.orders.send(Order::Shutdown).await;
        let _ = (&mut self.task).await;
        Shutdown::ByForce
    }
}

/// How a cluster was shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// The nodes were given the time they have for it.
    InOrder,
    /// What was left of them was killed, because somebody was in a hurry.
    ByForce,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a cluster doesn't do what was waited for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// A node can't be started.
    #[error("{0}")]
    Failed(String),
    /// It takes too long.
    #[error("it was waited for a minute until {0}, in vain")]
    Slow(&'static str),
    /// The cluster has been shut down.
    #[error("the cluster has been shut down")]
    Gone,
    /// The operating system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
}

const WAIT_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    /// A program that says it serves, and ends by order or with its standard input.
    fn idler(directory: &Path) -> PathBuf {
        let program = directory.join("idler");
        // Through a shell: while this process writes the file itself, its children may hold it open and so
        // keep it from being started.
        let script = "#!/bin/sh\necho ready 127.0.0.1:1 127.0.0.1:2\n\
                      while read order && [ \"$order\" != shutdown ]; do :; done\n";
        let written = std::process::Command::new("sh")
            .args(["-c", "printf %s \"$1\" > \"$2\"", "sh", script])
            .arg(&program)
            .status()
            .unwrap();
        assert!(written.success());
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    #[tokio::test]
    async fn a_start_of_a_node_that_is_still_dying_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(None, Some(3)).unwrap();
        let (program, restart_after) = (idler(folder.path()), RestartAfter::Never);
        let cluster = Cluster::start(directory, Plan { program, restart_after, console: Console::default() });
        cluster.wait("all serve", |view| view.serving().len() == 3).await.unwrap();
        let starts =
            |starts| move |view: &View| view.nodes[&1].redis.is_some() && view.nodes[&1].starts == starts;
        for round in 2..5 {
            cluster.kill(vec![1]).await.unwrap();
            // Its process has hardly heard of the signal.
            cluster.start_again(1).await.unwrap();
            timeout(Duration::from_secs(20), cluster.wait("it is back", starts(round)))
                .await
                .unwrap()
                .unwrap();
        }
        // One that lives isn't started again when it dies later.
        cluster.start_again(1).await.unwrap();
        cluster.kill(vec![1]).await.unwrap();
        cluster.wait("it is dead", |view| view.nodes[&1].redis.is_none()).await.unwrap();
        assert_eq!(cluster.view().nodes[&1].starts, 4);
        assert_eq!(cluster.shutdown(pending()).await, Shutdown::InOrder);
    }

    async fn failure(program: &str, restart_after: RestartAfter) -> String {
        let directory = Directory::open(None, Some(3)).unwrap();
        let plan = Plan { program: program.into(), restart_after, console: Console::default() };
        let cluster = Cluster::start(directory, plan);
        let error = cluster.whole().await.unwrap_err();
        cluster.shutdown(pending()).await;
        error.to_string()
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told_of() {
        let text = failure("/nowhere/cluster", RestartAfter::Never).await;
        assert!(text.starts_with("node ") && text.contains(" can't be started: No such file"), "{text}");
    }

    #[tokio::test]
    async fn a_node_that_never_serves_is_given_up() {
        let text = failure("/bin/false", RestartAfter::After(Duration::from_millis(1))).await;
        assert!(text.contains("exited 5 times before it served, at last with exit status: 1"), "{text}");
        let text = failure("/bin/false", RestartAfter::Never).await;
        assert!(text.contains("exited 1 times before it served"), "{text}");
    }
}
