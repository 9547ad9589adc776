//! Integration tests of the program and its library, one binary (see `[[test]]` in vpn/Cargo.toml).

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

// rustc links only crates that are named; without this line the registry is empty.
use vpn_suites as _;

mod support;

/// No bytes of a stranger break anything.
mod any_bytes {
    pub(crate) mod checks;
    mod corpora_pass;
    mod properties_hold;
}

/// The classic profile.
mod classic {
    mod bad_peers_are_told;
    mod explain_shows_the_exchange;
    mod known_answers;
    mod python_peer_agrees;
    mod slicing_changes_nothing;
}

/// Configuration, keys and lists on disk.
mod files {
    #[cfg(target_os = "linux")]
    mod bad_files_are_refused;
    mod configuration_is_checked;
    #[cfg(unix)]
    mod key_files_are_handled_with_care;
}

#[cfg(target_os = "linux")]
mod flood;

#[cfg(target_os = "linux")]
mod forward;

/// The library, as other programs use it.
#[cfg(unix)]
mod library {
    mod channels_are_never_cut_silently;
    mod sessions_have_many_channels;
}

/// The service `pipe`.
#[cfg(unix)]
mod pipe {
    mod files_go_through_whole;
    mod last_word_decides;
    mod success_is_a_promise;
}

/// The program as a user sees it.
mod program {
    mod arguments_and_exit_codes;
    #[cfg(unix)]
    mod hosts_are_named_and_probed;
    mod idle_clients_make_room;
    #[cfg(target_os = "linux")]
    mod logs_say_enough;
    #[cfg(target_os = "linux")]
    mod progress_is_shown_at_a_terminal;
    #[cfg(target_os = "linux")]
    mod streams_may_fail;
    #[cfg(target_os = "linux")]
    mod terminal_loses_nothing;
    mod two_programs_talk;
}

/// The sealed profile.
mod sealed {
    mod edits_are_noticed;
    mod fresh_exchanges_are_made_in_time;
    mod keys_change_without_loss;
    #[cfg(target_os = "linux")]
    mod memory_is_bounded;
    mod only_whole_sessions_end_well;
    mod primitives_match_wycheproof;
    #[cfg(unix)]
    mod program_speaks_sealed;
    #[cfg(unix)]
    mod python_peer_agrees;
    mod recorded_channels_replay;
    mod recorded_sessions_replay;
    #[cfg(unix)]
    mod refusals_look_alike;
    mod rule_breakers;
    #[cfg(unix)]
    mod sessions_end_and_begin_in_time;
    #[cfg(unix)]
    mod strangers_are_limited;
}

/// Services besides messages and pipes.
mod service {
    #[cfg(unix)]
    mod echo_sends_every_byte_back;
}

/// The ciphers.
mod suites {
    mod every_suite_is_linked;
    #[cfg(unix)]
    mod every_suite_is_spoken;
    #[cfg(target_os = "linux")]
    mod other_code_agrees;
}

/// Whom the two sides trust.
#[cfg(unix)]
mod trust {
    mod clients_are_let_in_by_their_line;
    mod known_servers_bind_the_client;
    mod sealed_options_are_meant;
}
