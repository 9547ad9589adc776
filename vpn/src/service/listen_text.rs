//! The text of an address to listen at.

/// An address with the port that the system has chosen, if it was to choose one.
pub(super) fn at_port(at: &str, port: u16) -> String {
    match at.strip_suffix(":0") {
        Some(host) => format!("{host}:{port}"),
        None => at.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_port_is_shown_and_no_other() {
        assert_eq!(at_port("localhost:0", 4711), "localhost:4711");
        assert_eq!(at_port("localhost:80", 80), "localhost:80");
        assert_eq!(at_port("/run/s", 0), "/run/s");
    }
}
