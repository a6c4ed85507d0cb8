//! Patterns for keys, as Redis matches them.

/// Whether `text` matches `pattern`: `*` stands for any bytes, `?` for one, `[a-z]` and `[^a-z]` for one in
/// or outside of a class, and a backslash takes the next byte literally.
///
/// Takes at most the product of both lengths in steps: after a mismatch only the newest star is widened,
/// since an earlier one could gain nothing that the newest can't.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        if pattern.get(from) == Some(&b'*') {
            from += 1;
            star = Some((from, at));
            continue;
        }
        match step(&pattern[from..], text[at]) {
            Some(used) => {
                from += used;
                at += 1;
            }
            None => match &mut star {
                Some((after, begin)) => {
                    *begin += 1;
                    (from, at) = (*after, *begin);
                }
                None => return false,
            },
        }
    }
    pattern[from..].iter().all(|byte| *byte == b'*')
}

/// How many bytes of the pattern stand for `byte`; none if they don't.
fn step(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (inside, used) = class_contains(class, byte);
            inside.then_some(used + 1)
        }
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

/// Whether a class, from behind its bracket on, contains `byte`, and how long it is. Without a closing
/// bracket it reaches to the end, as it does in Redis.
fn class_contains(class: &[u8], byte: u8) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', literal, ..] => {
                found |= *literal == byte;
                at += 2;
            }
            [low, b'-', high, ..] => {
                found |= (*low.min(high)..=*low.max(high)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                at += 1;
            }
        }
    }
    (found != negated, at)
}
