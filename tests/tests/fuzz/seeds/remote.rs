//! What caches say, and what they hold.

use reimage_remote::{PrivateKey, seal};

pub(crate) fn seeds(target: &str) -> Option<Vec<Vec<u8>>> {
    let pack = |contents: &[u8]| zstd::encode_all(contents, 3).expect("it is in memory");
    Some(match target {
        "cache-record" => {
            let key = PrivateKey::generate();
            let digest = reimage_castore::Digest::of(b"a key");
            let said = format!(
                r#"{{"version":1,"kind":"step","key":"{digest}","record":[{{"digest":"sha256:{}","size":3}}]}}"#,
                "ab".repeat(32)
            );
            vec![seal(b"{\"version\":1}", Some(&key)), seal(said.as_bytes(), None)]
        }
        "cache-manifest" => {
            let layer = |kind: &str, byte: &str, size: u64| {
                let digest = byte.repeat(32);
                format!(
                    r#"{{"mediaType":"application/vnd.{kind}","digest":"sha256:{digest}","size":{size}}}"#
                )
            };
            let empty = layer("oci.empty.v1+json", "44", 2);
            let manifest = |layers: &str, more: &str| {
                format!(
                    r#"{{"schemaVersion":2,"mediaType":"{}","artifactType":"application/vnd.reimage.cache.record.v1","config":{empty},"layers":[{layers}]{more}}}"#,
                    reimage_oci::MANIFEST
                )
            };
            let record = layer("reimage.cache.record.v1+json", "12", 70_000);
            let blob = layer("reimage.cache.blob.v1", "34", 5);
            let inline = r#","annotations":{"vnd.reimage.cache.record":"{}"}"#;
            [
                manifest(&blob, inline),
                manifest(&format!("{record},{blob}"), ""),
                manifest(&empty, inline),
            ]
            .map(String::into_bytes)
            .to_vec()
        }
        "cache-pack" => vec![pack(b"onethree"), pack(b"one"), pack(&[0; 1 << 16])],
        _ => return None,
    })
}
