//! Real processes: the example cluster, started, loaded, killed and ended.
//!
//! The nodes inherit the standard error of their parent, so the end of that stream means that every process
//! of the cluster is gone: no test has to poll for it.

#![expect(clippy::unwrap_used, reason = "what is unwrapped in a test is what it expects")]

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Starts the cluster and reads its lines.
struct Cluster {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What was said as errors so far.
    errors: Arc<Mutex<String>>,
    /// Reads the errors to their end.
    reading: JoinHandle<()>,
}

impl Cluster {
    fn start(args: &[&str], dir: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-cluster"));
        command.args(args).arg("--dir").arg(dir).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (errors, mut stderr) = (Arc::new(Mutex::new(String::new())), child.stderr.take().unwrap());
        let heard = Arc::clone(&errors);
        // All along: a process whose errors nobody reads stands still once the pipe is full.
        let reading = tokio::spawn(async move {
            let mut bytes = vec![0; 4096];
            loop {
                match stderr.read(&mut bytes).await.unwrap() {
                    0 => return,
                    len => heard.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..len])),
                }
            }
        });
        Self { child, lines, errors, reading }
    }

    /// Reads up to the line that begins with `start`, and gives all lines so far.
    async fn until(&mut self, start: &str) -> Vec<String> {
        let mut seen = Vec::new();
        let read = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                let found = line.starts_with(start);
                seen.push(line);
                if found {
                    return true;
                }
            }
            false
        };
        let found = timeout(PATIENCE, read).await;
        let errors = self.errors.lock().unwrap();
        assert_eq!(found, Ok(true), "no line begins with {start:?} in {seen:#?}, but {errors}");
        drop(errors);
        seen
    }

    async fn signal(&self, name: &str) {
        assert!(signal(name, self.child.id().unwrap()).await);
    }

    /// Waits until every process is gone; the exit code, the last lines, and what was said as errors.
    async fn end(mut self) -> (Option<i32>, Vec<String>, String) {
        let mut lines = Vec::new();
        let ended = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                lines.push(line);
            }
            (&mut self.reading).await.unwrap();
            self.child.wait().await.unwrap().code()
        };
        let ended = timeout(PATIENCE, ended).await;
        let errors = self.errors.lock().unwrap().clone();
        match ended {
            Ok(code) => (code, lines, errors),
            Err(_) => panic!("some process of the cluster doesn't end: {lines:#?}, {errors}"),
        }
    }
}

/// Whether the signal could be sent; 0 only asks whether there is such a process.
async fn signal(name: &str, pid: u32) -> bool {
    let command = format!("kill -{name} {pid} 2> /dev/null");
    Command::new("sh").args(["-c", &command]).status().await.unwrap().success()
}

/// The process of each node in `node=1 redis=127.0.0.1:40001 pid=4711`.
fn pids(lines: &[String]) -> Vec<u32> {
    lines.iter().filter_map(|line| line.split_once(" pid=")?.1.parse().ok()).collect()
}

/// The number in the last `leader=2 term=1`.
fn leader(lines: &[String]) -> usize {
    let told = lines.iter().rev().find_map(|line| line.strip_prefix("leader=")?.split_once(' '));
    told.unwrap().0.parse().unwrap()
}

/// The number behind a name in the table at the end.
fn figure(lines: &[String], name: &str) -> u64 {
    let figure = lines.iter().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    figure.unwrap_or_else(|| panic!("no figure for {name:?} in {lines:#?}"))
}

/// The port in `node=1 redis=127.0.0.1:40001 pid=4711`.
fn ports(lines: &[String]) -> Vec<u16> {
    let nodes = lines.iter().filter(|line| line.starts_with("node="));
    nodes.filter_map(|line| line.split_once("redis=127.0.0.1:")?.1.split_once(' ')?.0.parse().ok()).collect()
}

/// One request in a line, and the one-line reply to it.
async fn ask(port: u16, request: &str) -> String {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
        let mut reply = String::new();
        BufReader::new(stream).read_line(&mut reply).await.unwrap();
        reply.trim_end().to_owned()
    };
    timeout(PATIENCE, asked).await.expect("a node answers in time")
}

#[tokio::test]
async fn a_tour_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (code, lines, errors) = Cluster::start(&["--tour", "--short"], dir.path()).end().await;
    let text = lines.join("\n");
    assert_eq!(code, Some(0), "{text}\n{errors}");
    assert!(lines.iter().any(|line| line == "lost 0 doubled 0"), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("killing node ")), "{text}");
    assert_eq!(ports(&lines).len(), 4, "three nodes start and one of them again: {text}");
    assert!(figure(&lines, "writes acknowledged") > 0, "{text}");
    assert!(figure(&lines, "keys read back") > 100, "the packages of the lock file: {text}");
}

#[tokio::test]
async fn killed_nodes_come_back_with_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (code, lines, errors) = Cluster::start(&["--cycles", "3", "--seed", "7"], dir.path()).end().await;
    let text = lines.join("\n");
    assert_eq!(code, Some(0), "{text}\n{errors}");
    assert!(lines.iter().any(|line| line == "lost 0 doubled 0"), "{text}");
    assert!(figure(&lines, "writes acknowledged") > 0, "{text}");
    assert!(figure(&lines, "keys read back") > 0, "{text}");
}

#[tokio::test]
async fn an_interrupt_ends_every_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&[], dir.path());
    let pids = pids(&cluster.until("redis-cli -p ").await);
    assert_eq!(pids.len(), 3);
    for pid in &pids {
        assert!(signal("0", *pid).await, "node process {pid} runs");
    }
    cluster.signal("INT").await;
    let (code, lines, errors) = cluster.end().await;
    assert_eq!((code, &errors[..]), (Some(0), ""), "{lines:#?}");
    for pid in pids {
        assert!(!signal("0", pid).await, "node process {pid} has gone");
    }
}

#[tokio::test]
async fn a_second_interrupt_ends_what_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&[], dir.path());
    let lines = cluster.until("redis-cli -p ").await;
    let pids = pids(&lines);
    // A node that is stopped doesn't hear that it shall end.
    assert!(signal("STOP", pids[0]).await);
    cluster.signal("INT").await;
    let reply = async {
        // Not before the others have ended: the first interrupt has been taken by then.
        while signal("0", pids[1]).await || signal("0", pids[2]).await {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, reply).await.expect("the nodes that aren't stopped end");
    assert!(signal("0", pids[0]).await, "the first interrupt kills nobody yet");
    cluster.signal("INT").await;
    let (code, lines, errors) = cluster.end().await;
    assert_eq!((code, &errors[..]), (Some(130), ""), "{lines:#?}");
    assert!(!signal("0", pids[0]).await);
}

#[tokio::test]
async fn a_dead_node_that_is_never_started_again_stays_dead() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&["--restart-after", "never"], dir.path());
    let lines = cluster.until("redis-cli -p ").await;
    let (pids, victim) = (pids(&lines), leader(&lines));
    let start = format!("node={victim} ");
    let at = lines.iter().filter(|line| line.starts_with("node=")).position(|line| line.starts_with(&start));
    let at = at.unwrap();
    let mut ports = ports(&lines);
    assert!(signal("KILL", pids[at]).await);
    cluster.until(&format!("node={victim} died")).await;
    let next = leader(&cluster.until("leader=").await);
    assert_ne!(next, victim);
    ports.remove(at);
    for port in ports {
        assert_eq!(ask(port, "SET key value").await, "+OK");
    }
    cluster.signal("TERM").await;
    let (code, lines, errors) = cluster.end().await;
    assert_eq!((code, &errors[..]), (Some(0), ""), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.starts_with(&start)), "{lines:#?}");
}

#[tokio::test]
async fn a_cluster_ends_in_order_and_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&[], dir.path());
    let ports = ports(&cluster.until("redis-cli -p ").await);
    assert_eq!(ports.len(), 3);
    assert_eq!(ask(ports[0], "SET key value").await, "+OK");
    assert_eq!(ask(ports[1], "STRLEN key").await, ":5");
    cluster.signal("TERM").await;
    let (code, lines, errors) = cluster.end().await;
    assert_eq!((code, &errors[..]), (Some(0), ""), "{lines:#?}");

    let mut cluster = Cluster::start(&[], dir.path());
    let ports = self::ports(&cluster.until("redis-cli -p ").await);
    assert_eq!(ask(ports[2], "STRLEN key").await, ":5");
    // Without its parent, which can't tell them any more, every node ends as well.
    cluster.signal("KILL").await;
    cluster.end().await;
}

const PATIENCE: Duration = Duration::from_secs(60);
