//! Arguments into requests. The table has checked the number of arguments before.

use bytes::Bytes;

use super::backend::Query;
use super::table::{Admin, ErrorText, Request, wrong_arity};
use crate::store::{BATCH_HEADER_BYTES, COMMAND_BYTES_MAX, Condition, KEY_BYTES_MAX, Op, Previous};
use crate::store::{VALUE_BYTES_MAX, integer};

type Parsed = Result<Request, ErrorText>;

pub(super) fn get(args: Vec<Bytes>) -> Parsed {
    let [_, key] = exactly(args)?;
    Ok(Request::Read(Query::Value(key)))
}

pub(super) fn mget(args: Vec<Bytes>) -> Parsed {
    Ok(Request::Read(Query::Values(behind_name(args))))
}

pub(super) fn exists(args: Vec<Bytes>) -> Parsed {
    Ok(Request::Read(Query::Present(behind_name(args))))
}

pub(super) fn strlen(args: Vec<Bytes>) -> Parsed {
    let [_, key] = exactly(args)?;
    Ok(Request::Read(Query::Length(key)))
}

pub(super) fn dbsize(_: Vec<Bytes>) -> Parsed {
    Ok(Request::Read(Query::Count))
}

pub(super) fn scan(args: Vec<Bytes>) -> Parsed {
    let cursor = text(&args[1]).and_then(|cursor| cursor.parse().ok()).ok_or("ERR invalid cursor")?;
    let (mut count, mut pattern, mut strings) = (10, None, true);
    for option in args[2..].chunks(2) {
        let [name, value] = option else { return Err(SYNTAX.into()) };
        if name.eq_ignore_ascii_case(b"match") {
            if value.len() > PATTERN_BYTES_MAX {
                return Err(format!("ERR pattern is larger than {PATTERN_BYTES_MAX} bytes").into());
            }
            pattern = Some(value.clone()).filter(|pattern| &pattern[..] != b"*");
        } else if name.eq_ignore_ascii_case(b"count") {
            let wanted = integer(value).ok_or(NOT_INTEGER)?;
            count = usize::try_from(wanted).ok().filter(|wanted| *wanted > 0).ok_or(SYNTAX)?;
        } else if name.eq_ignore_ascii_case(b"type") {
            strings = value.eq_ignore_ascii_case(b"string");
        } else {
            return Err(SYNTAX.into());
        }
    }
    // Everything is a string here, so of another type there is nothing: the empty class matches no key.
    let pattern = if strings { pattern } else { Some(Bytes::from_static(b"[]")) };
    Ok(Request::Read(Query::Scan { cursor, count, pattern }))
}

pub(super) fn set(args: Vec<Bytes>) -> Parsed {
    let (mut condition, mut previous) = (Condition::Always, Previous::Keep);
    for option in &args[3..] {
        let once = condition == Condition::Always;
        if option.eq_ignore_ascii_case(b"nx") && (once || condition == Condition::Absent) {
            condition = Condition::Absent;
        } else if option.eq_ignore_ascii_case(b"xx") && (once || condition == Condition::Present) {
            condition = Condition::Present;
        } else if option.eq_ignore_ascii_case(b"get") {
            previous = Previous::Tell;
        } else if [&b"ex"[..], b"px", b"exat", b"pxat"].iter().any(|name| option.eq_ignore_ascii_case(name)) {
            return Err("ERR keys that expire are not supported".into());
        } else if !option.eq_ignore_ascii_case(b"keepttl") {
            return Err(SYNTAX.into());
        }
    }
    let mut args = args.into_iter().skip(1);
    let (Some(key), Some(value)) = (args.next(), args.next()) else { return Err(SYNTAX.into()) };
    write(Op::Set { key, value, condition, previous })
}

pub(super) fn getset(args: Vec<Bytes>) -> Parsed {
    let [_, key, value] = exactly(args)?;
    write(Op::Set { key, value, condition: Condition::Always, previous: Previous::Tell })
}

pub(super) fn mset(args: Vec<Bytes>) -> Parsed {
    if args.len() % 2 == 0 {
        return Err(wrong_arity("mset"));
    }
    let mut args = args.into_iter().skip(1);
    let mut pairs = Vec::with_capacity(args.len() / 2);
    while let (Some(key), Some(value)) = (args.next(), args.next()) {
        pairs.push((key, value));
    }
    write(Op::SetMany(pairs))
}

pub(super) fn del(args: Vec<Bytes>) -> Parsed {
    write(Op::Delete(behind_name(args)))
}

pub(super) fn incr(args: Vec<Bytes>) -> Parsed {
    let [_, key] = exactly(args)?;
    write(Op::Add { key, delta: 1 })
}

pub(super) fn decr(args: Vec<Bytes>) -> Parsed {
    let [_, key] = exactly(args)?;
    write(Op::Add { key, delta: -1 })
}

pub(super) fn incrby(args: Vec<Bytes>) -> Parsed {
    let [_, key, delta] = exactly(args)?;
    write(Op::Add { key, delta: integer(&delta).ok_or(NOT_INTEGER)? })
}

pub(super) fn decrby(args: Vec<Bytes>) -> Parsed {
    let [_, key, delta] = exactly(args)?;
    let delta = integer(&delta).ok_or(NOT_INTEGER)?;
    write(Op::Add { key, delta: delta.checked_neg().ok_or("ERR decrement would overflow")? })
}

pub(super) fn append(args: Vec<Bytes>) -> Parsed {
    let [_, key, value] = exactly(args)?;
    write(Op::Append { key, value })
}

pub(super) fn flushall(args: Vec<Bytes>) -> Parsed {
    let known = |mode: &Bytes| mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync");
    if args.len() > 2 || !args[1..].iter().all(known) {
        return Err(SYNTAX.into());
    }
    write(Op::Clear)
}

macro_rules! admin {
    ($($name:ident $kind:ident)*) => {$(
        pub(super) fn $name(args: Vec<Bytes>) -> Parsed {
            Ok(Request::Admin(Admin::$kind, args))
        }
    )*};
}

admin! {
    ping Ping echo Echo hello Hello auth Auth client Client command Command config Config info Info
    select Select reset Reset quit Quit
}

/// Checks what the log and the store can take.
fn write(op: Op) -> Parsed {
    let fits = |key: &Bytes, value: &Bytes| {
        if key.len() > KEY_BYTES_MAX {
            return Err(ErrorText::from(format!("ERR key is larger than {KEY_BYTES_MAX} bytes")));
        }
        if value.len() > VALUE_BYTES_MAX { Err(TOO_LONG.into()) } else { Ok(()) }
    };
    match &op {
        Op::Set { key, value, .. } | Op::Append { key, value } => fits(key, value)?,
        Op::SetMany(pairs) => pairs.iter().try_for_each(|(key, value)| fits(key, value))?,
        Op::Add { key, .. } => fits(key, &Bytes::new())?,
        Op::Delete(_) | Op::Clear => {}
    }
    if BATCH_HEADER_BYTES + op.encoded_len() > COMMAND_BYTES_MAX {
        return Err(format!("ERR the command takes more than {COMMAND_BYTES_MAX} bytes in the log").into());
    }
    Ok(Request::Write(op))
}

// The table's arity makes the error impossible; it is still one rather than a panic.
fn exactly<const N: usize>(args: Vec<Bytes>) -> Result<[Bytes; N], ErrorText> {
    args.try_into().map_err(|_| ErrorText::from(SYNTAX))
}

fn behind_name(mut args: Vec<Bytes>) -> Vec<Bytes> {
    args.remove(0);
    args
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

pub(super) const SYNTAX: &str = "ERR syntax error";
pub(super) const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
pub(super) const OVERFLOW: &str = "ERR increment or decrement would overflow";
pub(super) const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
pub(super) const FULL: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const PATTERN_BYTES_MAX: usize = 1024;
