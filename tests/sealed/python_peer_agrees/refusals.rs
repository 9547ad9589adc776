//! Each side refuses the other for the same reasons.

use vpn_test_needs::needs;

use super::{
    AES256, FINITE, HYBRID, Suite, TheirServer, Trust, our_client, our_server, their_client,
    their_server,
};
use crate::support::python::{peer, python};
use crate::support::{Keys, finish};

#[needs(python)]
#[test]
fn our_server_refuses_the_python_client_that_is_not_welcome() {
    let python = python();
    let keys = &Keys::new();
    let server = our_server(keys, &[AES256], Trust::Keys, &[]);
    let texts = ["hello".to_owned()];
    let path = |name| keys.path(name);
    let refused = |args: &[&str], code: i32, said: &str, logged: &str| {
        let mut command = their_client(keys, &python, server.port, Trust::FirstContact, &texts);
        command.args(args);
        let ended = finish(command, b"");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{}", ended.stderr);
        assert_eq!(ended.stderr, format!("sealed_peer: {said}\n"));
        server.log.until(logged);
    };
    // A client without a key and without a PSK.
    let at = server.port.to_string();
    let args = ["client", "--port", &at, "--text", "hello"];
    let ended = finish(peer(&python, "sealed_peer.py", &args), b"");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(5), ""), "{}", ended.stderr);
    server.log.until("authentication failed");
    let pin = path("server.pub");
    let stranger = path("stranger");
    let unknown = "authentication failed: its key is unknown";
    refused(&["--identity", &stranger], 5, "alert access_denied", unknown);
    refused(&["--identity", &stranger, "--server-key", &pin], 5, "alert access_denied", unknown);
    let other = path("stranger.pub");
    let ended = "the peer ended the session: access_denied";
    refused(&["--server-key", &other], 6, "the server has another key", ended);
    refused(&["--psk", &path("psk")], 4, "PSK not accepted", "");
    let lists = format!("kex {:?}, suites ['aes-256-cbc']", [&[HYBRID][..], &FINITE].concat());
    let said = format!("no_common_suite: {}", lists.replace('"', "'"));
    refused(&["--suite", "aes-128-cbc"], 4, &said, "");
    // Who knows neither key nor PSK is not answered, if that is asked for.
    let server = our_server(keys, &[AES256], Trust::Both, &["--gate", "required"]);
    for args in [&[][..], &["--psk", &path("other")], &["--server-key", &other]] {
        let mut command = their_client(keys, &python, server.port, Trust::FirstContact, &texts);
        command.args(args);
        let ended = finish(command, b"");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{}", ended.stderr);
        assert!(ended.stderr.starts_with("sealed_peer: closed without an answer"));
        server.log.until("the gate does not match");
    }
}

#[needs(python)]
#[test]
fn our_client_is_refused_by_the_python_server_and_refuses_it() {
    let python = python();
    let keys = &Keys::new();
    let texts = ["hello".to_owned()];
    let ended_with = |server: &TheirServer, args: &[&str], suites: &[Suite]| {
        let known = keys.path(&format!("known-{}", server.port));
        let ended = our_client(
            server.port,
            suites,
            &[&["-q", "--known-servers", &known], args].concat(),
            &texts,
        );
        assert_eq!(ended.stdout, "");
        ended
    };
    let serve = |more: &[&str]| their_server(keys, &python, "aes-256-cbc", Trust::Keys, more);
    let failed = |mut server: TheirServer, kind: &str| {
        assert_eq!(server.event("failed")["kind"], kind);
        assert_eq!(server.process.code(), Some(1));
    };
    let (client, stranger) = (keys.path("client"), keys.path("stranger"));
    let (psk, other) = (keys.path("psk"), keys.path("other"));
    let server = serve(&[]);
    let ended = ended_with(&server, &["--identity", &stranger, "--accept-new"], &[AES256]);
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    failed(server, "Denied");
    // Another server than the one that is meant.
    let server = serve(&[]);
    let pin = keys.fingerprint("stranger.pub");
    let ended = ended_with(&server, &["--identity", &client, "--server-key", &pin], &[AES256]);
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    failed(server, "Alerted");
    // A PSK that it does not have, where that is no reason to be silent, and where it is.
    let server = serve(&["--psk", &psk]);
    let args = ["--identity", &client, "--psk", &other, "--accept-new"];
    let ended = ended_with(&server, &args, &[AES256]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("does the server have the same PSK?"), "{}", ended.stderr);
    failed(server, "Truncated");
    let server = serve(&["--psk", &psk, "--gate", "required"]);
    let ended = ended_with(&server, &args, &[AES256]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    failed(server, "Silent");
    let server = serve(&[]);
    let ended = ended_with(&server, &["--identity", &client, "--accept-new"], &[("AES", 128)]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("aes-256-cbc"), "{}", ended.stderr);
    assert!(server.event("rejected")["reason"].as_str().unwrap().starts_with("no_common_suite"));
}
