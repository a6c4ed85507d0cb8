//! A naive log in memory, and random changes applied to it and to the real one alike.

use std::collections::BTreeMap;
use std::fmt;

use quorate_core::Rng;
use quorate_wal::{Disk, Error, Log, StreamId};

#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) first: Option<u64>,
    pub(crate) records: Vec<Vec<u8>>,
    pub(crate) state: Option<Vec<u8>>,
}

/// Payloads by their lengths and first bytes: a failure prints whole models.
impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let brief = |bytes: &Vec<u8>| (bytes.len(), bytes.first().copied());
        let records: Vec<_> = self.records.iter().map(brief).collect();
        write!(f, "{:?}: {records:?} state {:?}", self.first, self.state.as_ref().map(brief))
    }
}

impl Stream {
    pub(crate) fn next(&self) -> u64 {
        self.first.unwrap_or(0) + self.records.len() as u64
    }
}

pub(crate) type Model = BTreeMap<u64, Stream>;

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Append(u64, u64, Vec<u8>),
    Truncate(u64, u64),
    RemovePrefix(u64, u64),
    State(u64, Vec<u8>),
    Reset(u64, u64),
    Remove(u64),
}

impl Change {
    /// A change that `model` allows.
    pub(crate) fn draw(rng: &mut Rng, model: &Model, streams: u64, bytes_max: usize) -> Self {
        let id = rng.range(0..streams);
        let empty = Stream::default();
        let stream = model.get(&id).unwrap_or(&empty);
        let payload = |rng: &mut Rng| {
            let length = rng.index(bytes_max + 1);
            (0..length).map(|_| rng.next_u64() as u8).collect::<Vec<u8>>()
        };
        let (first, next) = (stream.first.unwrap_or(0), stream.next());
        match rng.index(100) {
            0..60 => Self::Append(id, if stream.first.is_some() { next } else { 1 }, payload(rng)),
            60..70 if stream.first.is_some() => {
                Self::Truncate(id, next - rng.index(4).min(stream.records.len()) as u64)
            }
            70..90 if stream.first.is_some() => {
                Self::RemovePrefix(id, first + rng.range(0..next - first + 1))
            }
            90..96 => Self::State(id, payload(rng)[..].iter().take(40).copied().collect()),
            96..99 => Self::Reset(id, rng.range(1..100)),
            99 => Self::Remove(id),
            _ => Self::Append(id, if stream.first.is_some() { next } else { 1 }, payload(rng)),
        }
    }

    /// The states that the model passes through: more than one where the log stages several records.
    pub(crate) fn apply(&self, model: &Model) -> Vec<Model> {
        let mut model = model.clone();
        let mut steps = Vec::new();
        match self {
            Self::Append(id, index, payload) => {
                let stream = model.entry(*id).or_default();
                if stream.first.is_none() {
                    stream.first = Some(*index);
                    steps.push(model.clone());
                }
                model.entry(*id).or_default().records.push(payload.clone());
            }
            Self::Truncate(id, from) => {
                if let Some(stream) = model.get_mut(id) {
                    stream.records.truncate((from - stream.first.unwrap_or(0)) as usize);
                }
            }
            Self::RemovePrefix(id, before) => {
                if let Some(stream) = model.get_mut(id) {
                    let first = stream.first.unwrap_or(0);
                    stream.records.drain(..(before - first) as usize);
                    stream.first = Some(*before);
                }
            }
            Self::State(id, state) => model.entry(*id).or_default().state = Some(state.clone()),
            Self::Reset(id, next) => {
                let stream = model.entry(*id).or_default();
                (stream.first, stream.records) = (Some(*next), Vec::new());
            }
            Self::Remove(id) => {
                model.remove(id);
            }
        }
        steps.push(model);
        steps
    }

    pub(crate) fn stage<D: Disk>(&self, log: &mut Log<D>) -> Result<(), Error> {
        let id = StreamId::new;
        match self {
            Self::Append(stream, index, payload) => {
                let (head, body) = payload.split_at(payload.len() / 2);
                log.append_parts(id(*stream), *index, &[head, body])
            }
            Self::Truncate(stream, from) => log.truncate(id(*stream), *from),
            Self::RemovePrefix(stream, before) => log.remove_prefix(id(*stream), *before),
            Self::State(stream, state) => log.set_state(id(*stream), state),
            Self::Reset(stream, next) => log.reset(id(*stream), *next),
            Self::Remove(stream) => log.remove_stream(id(*stream)),
        }
    }
}

/// Everything the log holds, read record by record and all at once.
pub(crate) fn contents<D: Disk>(log: &Log<D>) -> Result<Model, Error> {
    let mut model = Model::new();
    for id in log.streams() {
        let range = log.range(id);
        let records = log.read(id, 0, u64::MAX, usize::MAX)?;
        assert!(records.iter().map(|(index, _)| *index).eq(range.clone()), "{id} has a gap in {range:?}");
        let first = if range == (0..0) { None } else { Some(range.start) };
        let records = records.into_iter().map(|(_, payload)| payload.to_vec()).collect();
        let state = log.state(id).map(|state| state.to_vec());
        model.insert(id.get(), Stream { first, records, state });
    }
    Ok(model)
}
