//! The kernel is the fastest one, or the one that is forced. What is forced is global, so this is a
//! program with one test.

use vpn_suite::{CipherSuite, force_kernels, force_portable};
use vpn_suite_aes::Aes;

#[test]
fn the_fastest_kernel_is_used_unless_another_one_is_forced() {
    let kernels = Aes.kernels();
    for key in [[7; 32].as_slice(), &[7; 24], &[7; 16]] {
        let used = || {
            let (encryptor, decryptor) = (Aes.encryptor(key).unwrap(), Aes.decryptor(key).unwrap());
            assert_eq!(encryptor.kernel(), decryptor.kernel());
            encryptor.kernel()
        };
        assert_eq!(used(), kernels[0]);
        for kernel in &kernels {
            force_kernels(&["sha2", kernel]);
            assert_eq!(used(), *kernel);
        }
        force_portable(true);
        assert_eq!(used(), "generic");
        force_kernels(&["sha2"]);
        assert_eq!(used(), kernels[0]);
        force_kernels(&[]);
        assert_eq!(used(), kernels[0]);
    }
}
