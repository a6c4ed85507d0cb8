//! Laws of bodies, statuses and the codec.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::Outcome;
use quorate_transport::{Body, Lane, Status, StatusCode};

proptest! {
    #[test]
    fn a_body_is_its_chunks_in_a_row(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..8)) {
        let all: Vec<u8> = chunks.concat();
        let mut body = Body::new();
        for chunk in &chunks {
            body.push(Bytes::from(chunk.clone()));
        }
        prop_assert_eq!(body.len(), all.len());
        prop_assert_eq!(body.is_empty(), all.is_empty());
        prop_assert!(body.chunks().all(|chunk| !chunk.is_empty()));
        prop_assert_eq!(&body.to_bytes()[..], &all[..]);
        prop_assert_eq!(&body, &Body::from(all.clone()));
        prop_assert_eq!(&body.into_bytes()[..], &all[..]);
    }

    #[test]
    fn a_status_text_is_cut_at_a_character(text in "\\PC{0,1200}") {
        let status = Status::new(StatusCode::Failed, text.clone());
        prop_assert!(status.text().len() <= Status::TEXT_MAX);
        prop_assert!(text.starts_with(status.text()));
        prop_assert!(text.len() > Status::TEXT_MAX || status.text() == text);
        prop_assert!(status.text().len() + 4 > text.len().min(Status::TEXT_MAX));
    }
}

#[test]
fn only_what_did_nothing_says_so() {
    let outcome = |code| Status::new(code, "").outcome();
    assert_eq!(outcome(StatusCode::Failed), Outcome::Unknown);
    for code in [StatusCode::Rejected, StatusCode::Overloaded, StatusCode::Unsupported] {
        assert_eq!(outcome(code), Outcome::NotDone);
        assert_eq!(StatusCode::from_wire(code as u8), code);
    }
    assert_eq!(StatusCode::from_wire(200), StatusCode::Failed);
}

#[test]
fn lanes_are_numbered_by_urgency() {
    for (index, lane) in Lane::ALL.into_iter().enumerate() {
        assert_eq!(lane.index(), index);
        assert_eq!(Lane::from_index(index), Some(lane));
    }
    assert_eq!(Lane::from_index(3), None);
}

#[cfg(feature = "bincode")]
mod codec {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use quorate_transport::{Bincode, Codec, CodecError};

    type Sample = (u64, Option<String>, Vec<u16>, BTreeMap<u8, i32>, bool);

    #[test]
    fn the_encoding_is_frozen() {
        let value = (7u16, "seven", Some(-1i64), vec![1u32, 2]);
        let bytes = Bincode::default().encode(&value).expect("it can be encoded");
        let expected = [
            &[7, 0][..],
            &[5, 0, 0, 0, 0, 0, 0, 0],
            b"seven",
            &[1],
            &[255; 8],
            &[2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0],
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn limits_hold_in_both_directions() {
        let small = Bincode { limit: 16 };
        assert_eq!(small.encode("0123456789"), Err(CodecError::TooLarge { len: 18, max: 16 }));
        assert!(matches!(small.decode::<String>(&[0; 17]), Err(CodecError::TooLarge { len: 17, max: 16 })));
        // A claimed length far beyond the input.
        let claim = [u64::MAX / 2, 0].map(u64::to_le_bytes).concat();
        assert!(matches!(Bincode::default().decode::<Vec<u64>>(&claim), Err(CodecError::Decode(_))));
    }

    proptest! {
        #[test]
        fn values_come_back_and_nothing_may_follow(value in any::<Sample>(), extra in 1..9usize) {
            let codec = Bincode::default();
            let bytes = codec.encode(&value).expect("it can be encoded");
            prop_assert_eq!(codec.decode::<Sample>(&bytes), Ok(value));
            let longer = [&bytes[..], &vec![0; extra]].concat();
            prop_assert_eq!(codec.decode::<Sample>(&longer), Err(CodecError::Trailing { count: extra }));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let codec = Bincode::default();
            if let Ok(value) = codec.decode::<Sample>(&bytes) {
                // Canonical up to the order and repetition of map entries, which serde maps don't check.
                prop_assert!(codec.encode(&value).expect("it was decoded").len() <= bytes.len());
            }
        }
    }
}
