//! `reimage doctor` and `reimage cache`

use reimage_tests::TestEnv;

#[test]
fn this_machine_can_build() {
    let ran = TestEnv::new().reimage(["doctor"]).expect(0);
    assert!(ran.out().lines().all(|line| line.starts_with("ok  ")), "{ran}");
    assert!(ran.out().contains("owners and modes as real root has them"), "{ran}");
}

#[test]
fn for_programs() {
    let ran = TestEnv::new().reimage(["doctor", "--format", "json"]).expect(0);
    assert!(ran.out().starts_with(r#"[{"name":"architecture","good":true"#), "{ran}");
}

#[test]
fn an_empty_store_is_good() {
    let ran = TestEnv::new().reimage(["cache", "verify"]).expect(0);
    assert_eq!(ran.out(), "0 blobs (0 B) and 0 results checked: all good");
}
