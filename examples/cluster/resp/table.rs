//! Which commands there are.

use std::borrow::Cow;

use bytes::Bytes;

use super::backend::Query;
use super::command as parse;
use crate::store::Op;

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// A change of the store.
    Write(Op),
    /// A question to the store.
    Read(Query),
    /// Something that the connection answers by itself.
    Admin(Admin, Vec<Bytes>),
}

/// What the connection answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admin {
    Ping,
    Echo,
    Hello,
    Auth,
    Client,
    Command,
    Config,
    Info,
    Select,
    Reset,
    Quit,
}

/// The text of an error reply, from its code on.
pub(super) type ErrorText = Cow<'static, str>;

/// One command, as COMMAND tells it.
pub(super) struct Spec {
    pub(super) name: &'static str,
    /// The number of arguments with the name; the least number, negated, where more are allowed.
    pub(super) arity: i64,
    pub(super) flags: &'static [&'static str],
    /// First and last key and the step between keys; zeros without keys.
    pub(super) keys: [i64; 3],
    pub(super) group: &'static str,
    pub(super) since: &'static str,
    pub(super) summary: &'static str,
    parse: fn(Vec<Bytes>) -> Result<Request, ErrorText>,
}

/// Makes a request of the arguments, of which the first names the command.
pub(super) fn request(args: Vec<Bytes>) -> Result<Request, ErrorText> {
    let Some(spec) = args.first().and_then(|name| find(name)) else { return Err(unknown(&args)) };
    let count = args.len() as i64;
    if count != spec.arity && (spec.arity > 0 || count < -spec.arity) {
        return Err(wrong_arity(spec.name));
    }
    (spec.parse)(args)
}

pub(super) fn find(name: &[u8]) -> Option<&'static Spec> {
    COMMANDS.iter().find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name))
}

pub(super) fn wrong_arity(name: &str) -> ErrorText {
    format!("ERR wrong number of arguments for '{name}' command").into()
}

// Redis shows at most 128 bytes of the name, and of the arguments together about as many.
fn unknown(args: &[Bytes]) -> ErrorText {
    let shown =
        |bytes: &[u8], max: usize| String::from_utf8_lossy(&bytes[..bytes.len().min(max)]).into_owned();
    let name = args.first().map(|name| shown(name, 128)).unwrap_or_default();
    let mut list = String::new();
    for arg in args.iter().skip(1) {
        if list.len() >= 128 {
            break;
        }
        list.push_str(&format!("'{}' ", shown(arg, 128 - list.len())));
    }
    format!("ERR unknown command '{name}', with args beginning with: {list}").into()
}

const fn spec(
    name: &'static str,
    arity: i64,
    kind: (&'static str, &'static [&'static str]),
    keys: [i64; 3],
    (since, summary): (&'static str, &'static str),
    parse: fn(Vec<Bytes>) -> Result<Request, ErrorText>,
) -> Spec {
    Spec { name, arity, flags: kind.1, keys, group: kind.0, since, summary, parse }
}

const WRITE: (&str, &[&str]) = ("string", &["write", "denyoom"]);
const COUNT: (&str, &[&str]) = ("string", &["write", "denyoom", "fast"]);
const READ: (&str, &[&str]) = ("string", &["readonly", "fast"]);
const REMOVE: (&str, &[&str]) = ("generic", &["write"]);
const KEYS: (&str, &[&str]) = ("generic", &["readonly"]);
const CONNECTION: (&str, &[&str]) = ("connection", &["noscript", "loading", "stale", "fast"]);
const SERVER: (&str, &[&str]) = ("server", &["loading", "stale"]);
const CLEAR: (&str, &[&str]) = ("server", &["write"]);
const SIZE: (&str, &[&str]) = ("server", &["readonly", "fast"]);

const NONE: [i64; 3] = [0, 0, 0];
const ONE: [i64; 3] = [1, 1, 1];
const ALL: [i64; 3] = [1, -1, 1];
const PAIRS: [i64; 3] = [1, -1, 2];

/// All commands, the frequent ones first, because they are looked for in this order.
pub(super) const COMMANDS: &[Spec] = &[
    spec("get", 2, READ, ONE, ("1.0.0", "Returns the value of a key."), parse::get),
    spec("set", -3, WRITE, ONE, ("1.0.0", "Sets the value of a key."), parse::set),
    spec("incr", 2, COUNT, ONE, ("1.0.0", "Adds one to a number."), parse::incr),
    spec("mget", -2, READ, ALL, ("1.0.0", "Returns the values of several keys."), parse::mget),
    spec("mset", -3, WRITE, PAIRS, ("1.0.1", "Sets several keys at once."), parse::mset),
    spec("ping", -1, CONNECTION, NONE, ("1.0.0", "Answers that the server lives."), parse::ping),
    spec("del", -2, REMOVE, ALL, ("1.0.0", "Removes keys."), parse::del),
    spec("exists", -2, KEYS, ALL, ("1.0.0", "Counts which of the keys are there."), parse::exists),
    spec("incrby", 3, COUNT, ONE, ("1.0.0", "Adds to a number."), parse::incrby),
    spec("decr", 2, COUNT, ONE, ("1.0.0", "Subtracts one from a number."), parse::decr),
    spec("decrby", 3, COUNT, ONE, ("1.0.0", "Subtracts from a number."), parse::decrby),
    spec("append", 3, COUNT, ONE, ("2.0.0", "Appends to a value."), parse::append),
    spec("getset", 3, COUNT, ONE, ("1.0.0", "Sets a key, returns its former value."), parse::getset),
    spec("strlen", 2, READ, ONE, ("2.2.0", "Returns the length of a value."), parse::strlen),
    spec("scan", -2, KEYS, NONE, ("2.8.0", "Walks over the keys, a page at a time."), parse::scan),
    spec("dbsize", 1, SIZE, NONE, ("1.0.0", "Returns the number of keys."), parse::dbsize),
    spec("flushall", -1, CLEAR, NONE, ("1.0.0", "Removes all keys."), parse::flushall),
    spec("echo", 2, CONNECTION, NONE, ("1.0.0", "Returns its argument."), parse::echo),
    spec("hello", -1, CONNECTION, NONE, ("6.0.0", "Chooses the protocol's version."), parse::hello),
    spec("auth", -2, CONNECTION, NONE, ("1.0.0", "Is refused: there is no password."), parse::auth),
    spec(
        "client",
        -2,
        CONNECTION,
        NONE,
        ("2.4.0", "Tells and sets what belongs to a connection."),
        parse::client,
    ),
    spec("command", -1, SERVER, NONE, ("2.8.13", "Tells of the commands."), parse::command),
    spec("config", -2, SERVER, NONE, ("2.0.0", "Tells the settings."), parse::config),
    spec("info", -1, SERVER, NONE, ("1.0.0", "Tells of the server."), parse::info),
    spec("select", 2, CONNECTION, NONE, ("1.0.0", "Chooses the database: there is only 0."), parse::select),
    spec("reset", 1, CONNECTION, NONE, ("6.2.0", "Makes the connection as new."), parse::reset),
    spec("quit", -1, CONNECTION, NONE, ("1.0.0", "Closes the connection."), parse::quit),
];
