//! Real processes: the example cluster, started, loaded, killed and ended.
//!
//! The nodes inherit the standard error of their parent, so the end of that stream means that every process
//! of the cluster is gone: no test has to poll for it.

#![expect(clippy::unwrap_used, reason = "what is unwrapped in a test is what it expects")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Starts the cluster and reads its lines.
struct Cluster {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Cluster {
    fn start(args: &[&str], dir: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-cluster"));
        command.args(args).arg("--dir").arg(dir).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
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
        assert_eq!(found, Ok(true), "no line begins with {start:?} in {seen:#?}");
        seen
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(
            Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().await.unwrap().success()
        );
    }

    /// Waits until every process is gone; the exit code, the last lines, and what was said as errors.
    async fn end(mut self) -> (Option<i32>, Vec<String>, String) {
        let ended = async {
            let (mut lines, mut errors) = (Vec::new(), String::new());
            while let Some(line) = self.lines.next_line().await.unwrap() {
                lines.push(line);
            }
            self.child.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
            (self.child.wait().await.unwrap().code(), lines, errors)
        };
        timeout(PATIENCE, ended).await.expect("every process of the cluster ends")
    }
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
}

#[tokio::test]
async fn killed_nodes_come_back_with_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (code, lines, errors) = Cluster::start(&["--cycles", "3", "--seed", "7"], dir.path()).end().await;
    let text = lines.join("\n");
    assert_eq!(code, Some(0), "{text}\n{errors}");
    assert!(lines.iter().any(|line| line == "lost 0 doubled 0"), "{text}");
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
