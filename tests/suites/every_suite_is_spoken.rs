//! Two programs can talk with every linked suite, in both profiles.

use vpn_suite::{KeySize, Registry};

use crate::support::{Keys, TempDir, run};

fn config(name: &str, size: KeySize) -> String {
    format!("[[supported_cipher]]\nname = '{name}'\nkeys = [{}]\n", size.bits())
}

#[test]
fn every_suite_is_spoken_in_both_profiles() {
    let registry = Registry::linked().unwrap();
    let (keys, folder) = (Keys::new(), TempDir::new());
    let mut spoken = 0;
    for suite in registry.iter() {
        let mut sizes: Vec<KeySize> = suite.key_sizes().iter().collect();
        // The shortest and the longest; what is between is tested in the suite.
        sizes.drain(1..sizes.len().max(2) - 1);
        sizes.dedup();
        for size in sizes {
            let text = config(suite.name(), size);
            let server = keys.server_with(&text, &["--allow-64bit", "--classic"]);
            let file = folder.file("client.toml", &text);
            let args = ["--config", file.to_str().unwrap(), "-m", "hello"];
            let chosen = format!("We are going to use {}{}", suite.name(), size.bits());
            let classic = server.client(&args, b"");
            let more = ["--allow-64bit", "--accept-new"];
            let sealed = keys.client(&server, "client", &[&args[..], &more].concat());
            for ended in [classic, sealed] {
                assert_eq!(ended.code, Some(0), "{chosen}: {}", ended.stderr);
                assert!(ended.lines().contains(&chosen.as_str()), "{chosen}: {}", ended.stdout);
                assert!(ended.lines().contains(&"Server says: olleh"), "{chosen}");
                spoken += 1;
            }
        }
    }
    assert!(spoken >= 2 * registry.len(), "{spoken} conversations");
}

#[test]
fn small_blocks_are_known_by_their_size() {
    let registry = Registry::linked().unwrap();
    let (keys, folder) = (Keys::new(), TempDir::new());
    let mut refused = Vec::new();
    for suite in registry.iter() {
        let size = suite.key_sizes().iter().last().unwrap();
        let file = folder.file("one.toml", config(suite.name(), size));
        let identity = keys.path("client");
        // Nobody listens there; a suite that may be used gets as far as finding that out.
        let args = ["client", "--sealed", "--host", "127.0.0.1", "--port", "1", "-m", "x"];
        let known = keys.path("known");
        let files = ["--identity", &identity, "--known-servers", &known, "--config"];
        let ended = run(&[&args[..], &files, &[file.to_str().unwrap()]].concat(), b"");
        if ended.code == Some(2) {
            assert!(ended.stderr.contains("64-bit blocks"), "{}", ended.stderr);
            refused.push(suite.name());
        } else {
            assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        }
        assert_eq!(ended.code == Some(2), suite.block_size() == 8, "{}", suite.name());
    }
    assert!(refused.contains(&"CAST5") && refused.contains(&"IDEA"), "{refused:?}");
}
