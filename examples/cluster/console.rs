//! What the program says.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

/// Lines on the standard output, for people and scripts, and a progress bar on the standard error if that is
/// a terminal. Clones write to the same place.
#[derive(Clone, Debug, Default)]
pub struct Console {
    bar: Arc<Mutex<Option<ProgressBar>>>,
}

impl Console {
    /// Says a line. Nobody may be reading any more, so a failure is no failure of the program.
    pub fn line(&self, line: impl Display) {
        let write = || {
            let mut out = stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        };
        match &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Begins to show progress in thousandths, until the guard is dropped.
    pub fn progress(&self, what: &'static str) -> Progress {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} [{wide_bar}] {percent:>3} % {msg}");
            let bar = ProgressBar::new(STEPS).with_prefix(what);
            style.map(|style| bar.clone().with_style(style.progress_chars("=> "))).unwrap_or(bar)
        });
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = bar;
        Progress { console: self.clone(), what, told: 0 }
    }
}

/// Progress that is being shown: a bar on a terminal, a line at each quarter elsewhere.
#[derive(Debug)]
pub struct Progress {
    console: Console,
    what: &'static str,
    told: u64,
}

impl Progress {
    /// How far it is, from 0 to 1, and what to say of it.
    pub fn set(&mut self, share: f64, message: impl Display) {
        let step = (share.clamp(0.0, 1.0) * STEPS as f64) as u64;
        if let Some(bar) = &*self.console.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.set_position(step);
            bar.set_message(message.to_string());
            return;
        }
        let quarter = step * 4 / STEPS;
        if quarter > self.told {
            self.told = quarter;
            self.console.line(format_args!("{} {} % {message}", self.what, quarter * 25));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let bar = self.console.bar.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
}

const STEPS: u64 = 1000;
