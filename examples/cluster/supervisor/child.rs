//! One process of a node, as its parent sees it.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::control::{Order, Report};

/// What happens to a process.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) node: u64,
    /// The process that it happened to, counted over all of the node's: news of an earlier one are stale.
    pub(super) start: u32,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Reported(Report),
    Exited(io::Result<ExitStatus>),
}

/// How to start a node.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) program: PathBuf,
    pub(super) node: u64,
    pub(super) cluster: String,
    pub(super) dir: PathBuf,
    pub(super) redis_port: u16,
    pub(super) bootstrap: Option<u64>,
}

/// A started process. Dropping it closes its standard input, on which it ends by itself.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    orders: mpsc::Sender<Order>,
    kill: Arc<Notify>,
}

impl Process {
    /// Passes an order on. One that has exited or doesn't read its orders won't hear of it.
    pub(super) fn tell(&self, order: Order) {
        let _ = self.orders.try_send(order);
    }

    /// SIGKILL: what the kernel does to a process when memory runs out.
    pub(super) fn kill(&self) {
        self.kill.notify_one();
    }
}

/// Starts a process, whose events go to `events` until it has exited.
pub(super) fn start(recipe: &Recipe, start: u32, events: mpsc::Sender<Event>) -> io::Result<Process> {
    let mut command = Command::new(&recipe.program);
    command.arg("node").arg("--id").arg(recipe.node.to_string());
    command.arg("--cluster").arg(&recipe.cluster).arg("--dir").arg(&recipe.dir);
    command.arg("--redis-port").arg(recipe.redis_port.to_string());
    if let Some(last) = recipe.bootstrap {
        command.arg("--bootstrap").arg(last.to_string());
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    // Out of the terminal's group: Ctrl-C is for the parent, which then ends its nodes in order.
    command.process_group(0);
    let mut child = command.spawn()?;
    let missing = || io::Error::other("the process has no pipe");
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = BufReader::new(child.stdout.take().ok_or_else(missing)?).lines();
    let pid = child.id().ok_or_else(|| io::Error::other("the process has no number"))?;
    let (sender, orders) = mpsc::channel(ORDERS_MAX);
    let kill = Arc::new(Notify::new());
    let keeper = Keeper { node: recipe.node, start, child, stdin: Some(stdin), events };
    tokio::spawn(keeper.run(stdout, orders, kill.clone()));
    Ok(Process { pid, orders: sender, kill })
}

struct Keeper {
    node: u64,
    start: u32,
    child: Child,
    stdin: Option<ChildStdin>,
    events: mpsc::Sender<Event>,
}

impl Keeper {
    async fn run(
        mut self,
        mut stdout: Lines<BufReader<ChildStdout>>,
        mut orders: mpsc::Receiver<Order>,
        kill: Arc<Notify>,
    ) {
        let mut reading = true;
        let exited = loop {
            tokio::select! {
                exited = self.child.wait() => break exited,
                line = stdout.next_line(), if reading => match line {
                    Ok(Some(line)) => {
                        if let Some(report) = Report::from_line(&line) {
                            self.send(What::Reported(report)).await;
                        }
                    }
                    Ok(None) | Err(_) => reading = false,
                },
                // It may have exited a moment ago; then the next turn learns so.
                () = kill.notified() => drop(self.child.start_kill()),
                order = orders.recv(), if self.stdin.is_some() => match order {
                    Some(order) => self.tell(&order).await,
                    // The parent has lost interest, and the process ends with its standard input.
                    None => self.stdin = None,
                },
            }
        };
        self.send(What::Exited(exited)).await;
    }

    /// A process that doesn't read its orders for a second will not be told; it is killed in the end.
    async fn tell(&mut self, order: &Order) {
        if let Some(stdin) = &mut self.stdin {
            let line = order.to_line() + "\n";
            let _ = timeout(TELL_TIMEOUT, stdin.write_all(line.as_bytes())).await;
        }
    }

    async fn send(&self, what: What) {
        // Nobody listens any more when the whole supervisor is gone.
        let _ = self.events.send(Event { node: self.node, start: self.start, what }).await;
    }
}

/// How many orders may wait for a process; more are not passed on.
const ORDERS_MAX: usize = 64;
const TELL_TIMEOUT: Duration = Duration::from_secs(1);
