use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::hash::Hasher;
use std::rc::Rc;

use quorate_core::{Fingerprint, Time};

/// What happened: a running hash of every event, and the last events as lines.
///
/// The hash is always kept and costs some nanoseconds an event. Lines cost a thousand times that, so they are
/// written only when asked for: a failing seed is simply run again with them, since it replays exactly.
///
/// A clone is another handle of the same trace.
#[derive(Clone)]
pub struct Trace(Rc<RefCell<Inner>>);

struct Inner {
    hash: Fingerprint,
    events: u64,
    now: Time,
    lines: VecDeque<String>,
    lines_max: usize,
}

impl Trace {
    /// A trace that keeps the last `lines_max` lines; zero for none.
    pub fn new(lines_max: usize) -> Self {
        let inner = Inner {
            hash: Fingerprint::default(),
            events: 0,
            now: Time::ZERO,
            lines: VecDeque::new(),
            lines_max,
        };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Counts an event at `now` and mixes it into the hash.
    pub(crate) fn event(&self, now: Time, what: u64, who: u64) {
        let mut inner = self.0.borrow_mut();
        inner.events += 1;
        inner.now = now;
        inner.hash.write_u64(now.as_nanos());
        inner.hash.write_u64(what);
        inner.hash.write_u64(who);
    }

    /// Mixes something that the test computed into the hash, so that two runs of a seed are compared by it
    /// too.
    pub fn mix(&self, number: u64) {
        self.0.borrow_mut().hash.write_u64(number);
    }

    /// Adds a line, with the time in front. `line` is called only if lines are kept.
    pub fn line(&self, line: impl FnOnce() -> String) {
        let (lines_max, now) = {
            let inner = self.0.borrow();
            (inner.lines_max, inner.now)
        };
        if lines_max == 0 {
            return;
        }
        let text = line();
        let cut = text.char_indices().nth(LINE_CHARS_MAX).map_or(text.len(), |(at, _)| at);
        let mut inner = self.0.borrow_mut();
        if inner.lines.len() == lines_max {
            inner.lines.pop_front();
        }
        inner.lines.push_back(format!("{:>12}  {}", now.to_string(), &text[..cut]));
    }

    /// Whether lines are kept.
    pub fn is_verbose(&self) -> bool {
        self.0.borrow().lines_max > 0
    }

    /// The hash of all so far. Two runs of one seed have the same.
    pub fn hash(&self) -> u64 {
        self.0.borrow().hash.finish()
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.0.borrow().events
    }

    /// The last lines, oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.0.borrow().lines.iter().cloned().collect()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.0.borrow();
        f.debug_struct("Trace")
            .field("events", &inner.events)
            .field("now", &inner.now)
            .finish_non_exhaustive()
    }
}

const LINE_CHARS_MAX: usize = 160;
