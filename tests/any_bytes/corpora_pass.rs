//! Every file of the corpora in fuzz/ passes its check, without a fuzzer.

use std::path::Path;

use crate::any_bytes::checks;
use crate::support::files_in;

#[test]
fn every_corpus_passes_its_check() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, check) in checks::ALL {
        let files = files_in(&corpora.join(name));
        assert!(files.len() >= 5, "{name} has {} files", files.len());
        for file in files {
            let data = std::fs::read(&file).unwrap();
            let run = std::panic::catch_unwind(|| check(&data));
            assert!(run.is_ok(), "{}", file.display());
        }
        let target = corpora.join(format!("../fuzz_targets/{name}.rs"));
        assert!(target.is_file(), "no target for {name}");
    }
}
