//! What a connection answers by itself: greetings, and what clients ask about the server.

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::Bytes;

use super::backend::Backend;
use super::command::SYNTAX;
use super::info::{self, settings};
use super::reply::{Protocol, Token};
use super::server::Shared;
use super::table::{Admin, COMMANDS, Spec, find, wrong_arity};
use crate::store::{integer, matches};

/// What belongs to one connection.
#[derive(Debug)]
pub(super) struct Session {
    id: u64,
    address: SocketAddr,
    name: Bytes,
    pub(super) protocol: Protocol,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Go,
    Close,
}

type Tokens = Vec<Token>;

impl Session {
    pub(super) const fn new(id: u64, address: SocketAddr) -> Self {
        Self { id, address, name: Bytes::new(), protocol: Protocol::Resp2 }
    }

    pub(super) async fn answer<B: Backend>(
        &mut self,
        kind: Admin,
        args: &[Bytes],
        shared: &Shared<B>,
    ) -> (Tokens, Flow) {
        let tokens = match kind {
            Admin::Ping => match args {
                [_, text] => vec![Token::Bulk(text.clone())],
                _ => error(wrong_arity("ping")),
            },
            Admin::Echo => vec![Token::Bulk(args[1].clone())],
            Admin::Hello => self.hello(args),
            Admin::Auth => error(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ),
            Admin::Client => self.client(args),
            Admin::Command => command(args),
            Admin::Config => config(args),
            Admin::Info => {
                let report = shared.backend().report().await;
                vec![Token::Text(info::text(&args[1..], &report, shared.statistics()))]
            }
            Admin::Select => match integer(&args[1]) {
                Some(0) => ok(),
                Some(_) => error("ERR DB index is out of range"),
                None => error("ERR invalid DB index"),
            },
            Admin::Reset => {
                *self = Self::new(self.id, self.address);
                vec![Token::Simple("RESET")]
            }
            Admin::Quit => return (ok(), Flow::Close),
        };
        (tokens, Flow::Go)
    }

    /// Takes nothing over unless the whole request is right.
    fn hello(&mut self, args: &[Bytes]) -> Tokens {
        let mut protocol = self.protocol;
        if let Some(version) = args.get(1) {
            protocol = match integer(version) {
                Some(2) => Protocol::Resp2,
                Some(3) => Protocol::Resp3,
                Some(_) => return error("NOPROTO unsupported protocol version"),
                None => return error("ERR Protocol version is not an integer or out of range"),
            };
        }
        let mut name = self.name.clone();
        let mut rest = args.get(2..).unwrap_or_default();
        while let [option, tail @ ..] = rest {
            rest = match tail {
                // There are no passwords: the default user comes in with any, as in Redis, nobody else does.
                [user, _, tail @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                    if &user[..] != b"default" {
                        return error("WRONGPASS invalid username-password pair or user is disabled.");
                    }
                    tail
                }
                [wanted, tail @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                    match client_name(wanted) {
                        Ok(wanted) => name = wanted,
                        Err(text) => return error(text),
                    }
                    tail
                }
                _ => {
                    let option = String::from_utf8_lossy(option);
                    return error(format!("ERR Syntax error in HELLO option '{option:.128}'"));
                }
            };
        }
        (self.protocol, self.name) = (protocol, name);
        let version = if protocol == Protocol::Resp2 { 2 } else { 3 };
        let pairs = [
            ("server", Token::word("redis")),
            ("version", Token::word(info::REDIS_VERSION)),
            ("proto", Token::Integer(version)),
            ("id", Token::Integer(self.id as i64)),
            ("mode", Token::word("standalone")),
            ("role", Token::word("master")),
            ("modules", Token::Array(0)),
        ];
        let head = [Token::Map(pairs.len())];
        head.into_iter()
            .chain(pairs.into_iter().flat_map(|(name, value)| [Token::word(name), value]))
            .collect()
    }

    fn client(&mut self, args: &[Bytes]) -> Tokens {
        let (subcommand, rest) = (&args[1], &args[2..]);
        match (&subcommand.to_ascii_lowercase()[..], rest) {
            (b"id", []) => vec![Token::Integer(self.id as i64)],
            (b"getname", []) if self.name.is_empty() => vec![Token::Null],
            (b"getname", []) => vec![Token::Bulk(self.name.clone())],
            (b"setname", [name]) => match client_name(name) {
                Ok(name) => {
                    self.name = name;
                    ok()
                }
                Err(text) => error(text),
            },
            (b"setinfo", [option, value]) => {
                let known =
                    [&b"lib-name"[..], b"lib-ver"].iter().any(|name| option.eq_ignore_ascii_case(name));
                match client_name(value) {
                    Ok(_) if known => ok(),
                    Ok(_) => {
                        let option = String::from_utf8_lossy(option);
                        error(format!("ERR Unrecognized option '{option:.128}'"))
                    }
                    Err(text) => error(text),
                }
            }
            (b"no-evict" | b"no-touch", [mode]) => {
                let known = mode.eq_ignore_ascii_case(b"on") || mode.eq_ignore_ascii_case(b"off");
                if known { ok() } else { error(SYNTAX) }
            }
            (b"info", []) => {
                let protocol = if self.protocol == Protocol::Resp2 { 2 } else { 3 };
                let name = String::from_utf8_lossy(&self.name);
                let Self { id, address, .. } = self;
                vec![Token::Text(format!("id={id} addr={address} name={name} db=0 resp={protocol}\n"))]
            }
            (
                known @ (b"id" | b"getname" | b"setname" | b"setinfo" | b"no-evict" | b"no-touch" | b"info"),
                _,
            ) => error(wrong_arity(&format!("client|{}", String::from_utf8_lossy(known)))),
            _ => unknown_subcommand("CLIENT", subcommand),
        }
    }
}

fn command(args: &[Bytes]) -> Tokens {
    let Some(subcommand) = args.get(1) else {
        return described(COMMANDS.iter().map(Some), COMMANDS.len());
    };
    let names = &args[2..];
    match &subcommand.to_ascii_lowercase()[..] {
        b"count" if names.is_empty() => vec![Token::Integer(COMMANDS.len() as i64)],
        b"count" => error(wrong_arity("command|count")),
        b"list" if names.is_empty() => {
            let head = [Token::Array(COMMANDS.len())];
            head.into_iter().chain(COMMANDS.iter().map(|spec| Token::word(spec.name))).collect()
        }
        b"info" if names.is_empty() => described(COMMANDS.iter().map(Some), COMMANDS.len()),
        b"info" => described(names.iter().map(|name| find(name)), names.len()),
        b"docs" => {
            let known: Vec<&Spec> = match names {
                [] => COMMANDS.iter().collect(),
                names => names.iter().filter_map(|name| find(name)).collect(),
            };
            let mut tokens = vec![Token::Map(known.len())];
            for spec in known {
                tokens.extend([Token::word(spec.name), Token::Map(3)]);
                for (name, value) in [("summary", spec.summary), ("since", spec.since), ("group", spec.group)]
                {
                    tokens.extend([Token::word(name), Token::word(value)]);
                }
            }
            tokens
        }
        _ => unknown_subcommand("COMMAND", subcommand),
    }
}

/// Name, arity, flags, first key, last key, step; then what Redis 7 adds: categories, tips, key
/// specifications and subcommands, of which there are none to tell.
fn described(specs: impl Iterator<Item = Option<&'static Spec>>, count: usize) -> Tokens {
    let mut tokens = vec![Token::Array(count)];
    for spec in specs {
        let Some(spec) = spec else {
            tokens.push(Token::Null);
            continue;
        };
        tokens.extend([Token::Array(10), Token::word(spec.name), Token::Integer(spec.arity)]);
        tokens.push(Token::Set(spec.flags.len()));
        tokens.extend(spec.flags.iter().map(|flag| Token::Simple(flag)));
        tokens.extend(spec.keys.map(Token::Integer));
        tokens.extend([Token::Set(0), Token::Array(0), Token::Array(0), Token::Array(0)]);
    }
    tokens
}

fn config(args: &[Bytes]) -> Tokens {
    let (subcommand, patterns) = (&args[1], &args[2..]);
    match &subcommand.to_ascii_lowercase()[..] {
        b"get" if patterns.is_empty() => error(wrong_arity("config|get")),
        b"get" => {
            // Settings are few, but a pattern is the client's: what is too long to be a name names nothing.
            let patterns: Vec<Vec<u8>> = patterns
                .iter()
                .filter(|one| one.len() <= 64)
                .take(64)
                .map(|one| one.to_ascii_lowercase())
                .collect();
            let wanted = |name: &str| patterns.iter().any(|pattern| matches(pattern, name.as_bytes()));
            let shown: Vec<_> = settings().into_iter().filter(|(name, _)| wanted(name)).collect();
            let head = [Token::Map(shown.len())];
            let pairs =
                shown.into_iter().flat_map(|(name, value)| [Token::word(name), Token::Bulk(value.into())]);
            head.into_iter().chain(pairs).collect()
        }
        b"set" => error("ERR the settings can't be changed while the server runs"),
        _ => unknown_subcommand("CONFIG", subcommand),
    }
}

/// Names show up in lists, so Redis allows neither spaces nor what can't be seen.
fn client_name(name: &Bytes) -> Result<Bytes, Cow<'static, str>> {
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("ERR Client names are limited to {NAME_BYTES_MAX} bytes").into());
    }
    if !name.iter().all(u8::is_ascii_graphic) {
        return Err("ERR Client names cannot contain spaces, newlines or special characters.".into());
    }
    Ok(Bytes::copy_from_slice(name))
}

fn unknown_subcommand(command: &str, subcommand: &Bytes) -> Tokens {
    let subcommand = String::from_utf8_lossy(subcommand);
    error(format!("ERR unknown subcommand '{subcommand:.128}'. Try {command} HELP."))
}

fn ok() -> Tokens {
    vec![Token::Simple("OK")]
}

fn error(text: impl Into<Cow<'static, str>>) -> Tokens {
    vec![Token::Error(text.into())]
}

const NAME_BYTES_MAX: usize = 256;
