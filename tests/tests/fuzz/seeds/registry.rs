//! What registries, token servers and files of credentials say.

use super::texts;

pub(crate) fn seeds(target: &str) -> Option<Vec<Vec<u8>>> {
    Some(match target {
        "registry-index" => {
            let entry = |byte: &str, platform: &str| {
                format!(
                    r#"{{"mediaType":"{}","digest":"sha256:{}","size":500,"platform":{{"os":"linux",{platform}}}}}"#,
                    reimage_oci::MANIFEST,
                    byte.repeat(32)
                )
            };
            let amd64 = entry("ab", r#""architecture":"amd64""#);
            let arm64 = entry("cd", r#""architecture":"arm64","variant":"v8""#);
            let nested = entry("ef", r#""architecture":"amd64""#).replace("manifest", "index");
            let index = |entries: &[&str]| {
                let entries = entries.join(",");
                format!(
                    r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{entries}],"annotations":{{"a":"b"}}}}"#,
                    reimage_oci::INDEX
                )
            };
            [index(&[&amd64, &arm64]), index(&[&nested, &amd64]), index(&[])]
                .map(String::into_bytes)
                .to_vec()
        }
        "registry-challenge" => texts(&[
            "Bearer realm=\"https://auth.example/token\",service=\"registry.example\",scope=\"repository:a/b:pull,push\"",
            "Basic realm=\"a \\\"quoted\\\" one\", charset=\"UTF-8\"",
            "Bearer realm=\"https://user@://auth.example/token\"",
            "Negotiate\nBasic realm=x\nbearer realm=/token",
            "Digest nonce=\"x\", Bearer realm=\"//host/t?a=b\"",
        ]),
        "registry-token" => texts(&[
            "{\"token\":\"abc\",\"expires_in\":300,\"issued_at\":\"2023-01-01T00:00:00Z\"}",
            "{\"access_token\":\"abc\",\"refresh_token\":\"def\"}",
        ]),
        "registry-error" => texts(&[
            "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no\",\"detail\":{}},{\"code\":\"X\"}]}",
            "<html>nginx</html>",
            "plain\nwords",
        ]),
        "docker-config" => texts(&[
            "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"Y2k6c2VjcmV0\"},\"registry.example/team\":{\"identitytoken\":\"t\"}},\"credsStore\":\"secretservice\"}",
            "{\"auths\":{\"registry.example\":{\"username\":\"u\",\"password\":\"p\"},\"docker.io\":{\"registrytoken\":\"r\"}},\"credHelpers\":{\"registry.example\":\"ecr-login\"},\"HttpHeaders\":{}}",
        ]),
        _ => return None,
    })
}
