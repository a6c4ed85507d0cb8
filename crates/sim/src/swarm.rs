use std::fmt;
use std::ops::Range;
use std::time::Duration;

use quorate_core::Rng;

/// Draws a run's options from its seed, and remembers what it drew.
///
/// A run in which every fault happens all the time finds little: most faults stop the very progress in which
/// the rare bug would show. So each run first draws which faults exist at all, and how strong they are
/// (Groce et al., *Swarm Testing*, ISSTA 2012).
///
/// ```
/// use quorate_sim::Swarm;
/// let mut swarm = Swarm::from_seed(7);
/// let nodes = swarm.pick("nodes", &[1u64, 3, 5]);
/// let tiny = swarm.chance("tiny_window", 250_000);
/// assert_eq!(swarm.to_string(), format!("nodes={nodes} tiny_window={}", if tiny { "yes" } else { "no" }));
/// ```
#[derive(Clone, Debug)]
pub struct Swarm {
    rng: Rng,
    drawn: Vec<(&'static str, String)>,
}

impl Swarm {
    /// Everything is determined by `seed` and the order of the draws.
    pub fn from_seed(seed: u64) -> Self {
        Self { rng: Rng::from_seed(seed), drawn: Vec::new() }
    }

    /// One of the choices; all are equally likely, so one that is listed twice is twice as likely.
    ///
    /// # Panics
    ///
    /// If there is no choice.
    pub fn pick<T: Clone + fmt::Display>(&mut self, name: &'static str, choices: &[T]) -> T {
        assert!(!choices.is_empty(), "{name}: there is nothing to pick from");
        let choice = choices[self.rng.index(choices.len())].clone();
        self.note(name, &choice);
        choice
    }

    /// Yes with a probability of `millionths` in a million.
    pub fn chance(&mut self, name: &'static str, millionths: u32) -> bool {
        let yes = self.rng.chance(millionths);
        self.note(name, if yes { "yes" } else { "no" });
        yes
    }

    /// A number in `range`.
    pub fn number(&mut self, name: &'static str, range: Range<u64>) -> u64 {
        let number = self.rng.range(range);
        self.note(name, number);
        number
    }

    /// A duration in `range`.
    pub fn duration(&mut self, name: &'static str, range: Range<Duration>) -> Duration {
        let duration = self.rng.duration(range);
        self.note(name, format_args!("{:.3}ms", duration.as_secs_f64() * 1e3));
        duration
    }

    /// Remembers an option that was computed from others.
    pub fn note(&mut self, name: &'static str, value: impl fmt::Display) {
        self.drawn.push((name, value.to_string()));
    }

    /// The generator, for draws that need no name.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
}

/// `name=value` for each option, in the order of the draws.
impl fmt::Display for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, value)) in self.drawn.iter().enumerate() {
            let gap = if place == 0 { "" } else { " " };
            write!(f, "{gap}{name}={value}")?;
        }
        Ok(())
    }
}
