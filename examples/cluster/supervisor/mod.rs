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

    /// Ends every node in order; kills what hasn't ended after some seconds.
    pub async fn shutdown(mut self) {
        // If the task is gone already, so are the nodes.
        let _ = self.orders.send(Order::Shutdown).await;
        let _ = (&mut self.task).await;
    }
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
    use super::*;

    async fn failure(program: &str, restart_after: RestartAfter) -> String {
        let directory = Directory::open(None, Some(3)).unwrap();
        let plan = Plan { program: program.into(), restart_after, console: Console::default() };
        let cluster = Cluster::start(directory, plan);
        let error = cluster.whole().await.unwrap_err();
        cluster.shutdown().await;
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
