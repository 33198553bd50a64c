//! Server-sent events, as far as a wake-up needs them: pure, and bounded.

use serde_json::Value;

/// The longest line that is read: a wake has some hundred bytes, also with a list of streams.
const LINE_BYTES_MAX: usize = 16 << 10;

/// A line that no wake stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of more than {LINE_BYTES_MAX} bytes")]
pub(super) struct LineTooLong;

/// What has been read of a stream since its last whole event.
#[derive(Debug, Default)]
pub(super) struct Frames {
    line: Vec<u8>,
    event: String,
    data: String,
    after_return: bool,
}

impl Frames {
    /// Reads on: how many of the events that ended here are wake-ups.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<usize, LineTooLong> {
        let mut wakes = 0;
        for byte in bytes {
            let returned = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                // The second half of one end of a line.
                b'\n' if returned => {}
                b'\n' | b'\r' => wakes += usize::from(self.end_line()?),
                _ if self.line.len() >= LINE_BYTES_MAX => return Err(LineTooLong),
                byte => self.line.push(*byte),
            }
        }
        Ok(wakes)
    }

    /// Whether this line ended an event that is a wake-up.
    fn end_line(&mut self) -> Result<bool, LineTooLong> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
            return Ok(is_wake(&event, &data));
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.event),
            "data" if self.data.len() + value.len() > LINE_BYTES_MAX => return Err(LineTooLong),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            // Comments keep the connection alive and say nothing; so do fields that nobody knows.
            _ => {}
        }
        Ok(false)
    }
}

/// All the forms in which deployed relays have said it.
fn is_wake(event: &str, data: &str) -> bool {
    if event == "wake" {
        return true;
    }
    let Ok(data) = serde_json::from_str::<Value>(data) else { return false };
    let says = |name: &str, word: &str| data.get(name).and_then(Value::as_str) == Some(word);
    says("event", "wake") || says("type", "wake") || says("hint", "poll")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WAKE: &str = "event: wake\ndata: {\"hint\":\"poll\",\"streams\":[]}\n\n";

    fn wakes(text: &str) -> usize {
        Frames::default().read(text.as_bytes()).unwrap()
    }

    #[test]
    fn wakes_are_known_by_name_or_by_data() {
        assert_eq!(wakes(": connected\n\n: keepalive 1769947200\n\n"), 0);
        assert_eq!(wakes(WAKE), 1);
        assert_eq!(wakes(&WAKE.replace('\n', "\r\n")), 1);
        assert_eq!(wakes(&WAKE.replace('\n', "\r")), 1);
        assert_eq!(wakes("event:wake\n\n"), 1);
        for data in [r#"{"type":"wake"}"#, r#"{"event":"wake"}"#, r#"{"hint":"poll"}"#] {
            assert_eq!(wakes(&format!("data: {data}\n\n")), 1, "{data}");
        }
        assert_eq!(wakes("data: {\"hint\":\ndata: \"poll\"}\n\n"), 1);
        assert_eq!(wakes("event: other\ndata: {}\n\n"), 0);
        assert_eq!(wakes("event: wake\n"), 0, "an event ends with an empty line");
    }

    #[test]
    fn no_line_grows_without_end() {
        let mut frames = Frames::default();
        assert_eq!(frames.read(&vec![b'x'; LINE_BYTES_MAX]), Ok(0));
        assert_eq!(frames.read(b"x"), Err(LineTooLong));
        let mut frames = Frames::default();
        let line = format!("data: {}\n", "x".repeat(LINE_BYTES_MAX / 2));
        assert_eq!(frames.read(line.as_bytes()), Ok(0));
        assert_eq!(frames.read(line.as_bytes()), Err(LineTooLong));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(cuts in prop::collection::vec(1usize..20, 0..20), count in 0usize..4) {
            let text = format!(": connected\r\n\r\n{}", WAKE.repeat(count));
            let (mut rest, mut frames, mut found) = (text.as_bytes(), Frames::default(), 0);
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                found += frames.read(head).unwrap();
                rest = tail;
            }
            found += frames.read(rest).unwrap();
            prop_assert_eq!(found, count);
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = Frames::default().read(&bytes);
        }
    }
}
