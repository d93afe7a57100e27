//! Who we are: files, helpers, passwords and tokens.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use crate::{Credential, CredentialError, Credentials, Login, RegistryError, Secret};
use reimage_tests::registry::{Access, Options, Registry as Server};

use super::machine::{Images, anonymous, knowing, noise};

fn token(uses: usize) -> Access {
    Access::Token("user".into(), "word".into(), uses)
}

fn files(directory: &Path, text: &str) -> Credentials {
    let file = directory.join("config.json");
    std::fs::write(&file, text).unwrap();
    Credentials { files: vec![file] }
}

fn password(username: &str, password: &str) -> Credential {
    Credential::Password { username: username.into(), password: Secret::new(password) }
}

#[test]
fn passwords_and_tokens() {
    let images = Images::new();
    let image = images.image(&[noise(1, 17_000), noise(2, 20)]);
    let directory = tempfile::tempdir().unwrap();
    let basic = Access::Basic("user".into(), "word".into());
    // A token for one request each: a push asks for another all the time.
    for access in [basic, token(1000), token(2), token(1)] {
        let server = Server::new(Options { access, ..Options::default() });
        let host = server.host();
        let client = |entry: &str| {
            knowing(directory.path(), &format!(r#"{{"auths":{{"{host}":{entry}}}}}"#))
        };
        let right = client(r#"{"auth":"dXNlcjp3b3Jk"}"#);
        let repository = right.repository(&host, "team/app");
        images.push(&image, &repository, &["1"]).unwrap();
        Images::new().pull(&repository, "1").unwrap();

        let wrong = client(r#"{"username":"user","password":"wrong-word"}"#);
        let error = images.push(&image, &wrong.repository(&host, "team/app"), &["1"]).unwrap_err();
        assert!(matches!(error, RegistryError::Denied { known: true, .. }), "{error}");
        let error = anonymous().repository(&host, "team/app").tagged("1").unwrap_err();
        assert!(matches!(error, RegistryError::Denied { known: false, .. }), "{error}");
        let shown = format!("{error:?} {wrong:?} {right:?} {repository:?}");
        let secrets = ["\"word\"", "wrong-word", "dXNlcjp3b3Jk", "token-"];
        assert!(!secrets.iter().any(|secret| shown.contains(secret)), "{shown}");
    }
    // An identity token is exchanged.
    let server = Server::new(Options { access: token(5), ..Options::default() });
    let host = server.host();
    let text = format!(r#"{{"auths":{{"{host}":{{"identitytoken":"word"}}}}}}"#);
    let client = knowing(directory.path(), &text);
    images.push(&image, &client.repository(&host, "app"), &["1"]).unwrap();
    assert!(server.requests().iter().any(|request| request.starts_with("POST /token")));
}

#[test]
fn the_nearest_entry_holds() {
    let directory = tempfile::tempdir().unwrap();
    let text = r#"{"auths":{
        "r.example":{"auth":"YTpi"},
        "r.example/team":{"auth":"YzpkOmU"},
        "https://old.example/v1/":{"auth":"YTpi"},
        "https://index.docker.io/v1/":{"auth":"aHViOng="},
        "empty.example":{},
        "token.example":{"registrytoken":"t"}
    }}"#;
    let credentials = files(directory.path(), text);
    let find = |registry: &str, path: &str| credentials.find(registry, path).unwrap();
    assert_eq!(find("r.example", "app"), Some(password("a", "b")));
    assert_eq!(find("r.example", "team/app"), Some(password("c", "d:e")));
    assert_eq!(find("r.example", "teammate/app"), Some(password("a", "b")));
    assert_eq!(find("old.example", "app"), Some(password("a", "b")));
    assert_eq!(find("docker.io", "library/debian"), Some(password("hub", "x")));
    assert_eq!(find("token.example", "app"), Some(Credential::Bearer(Secret::new("t"))));
    assert_eq!(find("empty.example", "app"), None);
    assert_eq!(find("r.example:5000", "app"), None);
    assert_eq!(Credentials::default().find("r.example", "app").unwrap(), None);
}

#[test]
fn bad_files_are_named_and_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    for text in [
        r#"{"auths":{"r.example":{"auth":"not base64, but secret"}}}"#,
        r#"{"auths":{"r.example":{"auth":"c2VjcmV0"}}}"#,
        r#"{"auths":"secret"}"#,
        r#"{"auths": secret"#,
    ] {
        let error = files(directory.path(), text).find("r.example", "app").unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("config.json is not valid"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
    assert_eq!(files(directory.path(), "").find("r.example", "app").unwrap(), None);
}

#[test]
fn logins_are_kept_and_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let credentials =
        files(directory.path(), r#"{"auths":{"other":{"auth":"YTpi"}},"psFormat":"x"}"#);
    let login = credentials.store("r.example:5000", "me", &Secret::new("p:w")).unwrap();
    let file = credentials.files[0].clone();
    assert_eq!(login, Login::File(file.clone()));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(credentials.find("r.example:5000", "a/b").unwrap(), Some(password("me", "p:w")));
    let _ = credentials.store("docker.io", "hub", &Secret::new("x")).unwrap();
    assert!(std::fs::read_to_string(&file).unwrap().contains("\"https://index.docker.io/v1/\""));
    assert!(credentials.erase("r.example:5000").unwrap());
    assert!(!credentials.erase("r.example:5000").unwrap());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("psFormat") && text.contains("\"other\""), "{text}");
    assert_eq!(credentials.find("other", "").unwrap(), Some(password("a", "b")));
    let new = Credentials { files: vec![directory.path().join("new/dir/config.json")] };
    new.store("r.example", "me", &Secret::new("pw")).unwrap();
    assert_eq!(new.find("r.example", "").unwrap(), Some(password("me", "pw")));
    let none = Credentials::default().store("r.example", "me", &Secret::new("pw"));
    assert!(matches!(none, Err(CredentialError::NoFile)));
}

#[test]
fn a_helper_without_a_program_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let credentials = files(directory.path(), r#"{"credsStore":"reimage-test-none"}"#);
    let error = credentials.find("r.example", "app").unwrap_err();
    let text = error.to_string();
    let begin = "The credential helper `docker-credential-reimage-test-none` failed: ";
    assert!(text.starts_with(begin), "{text}");
    let credentials = files(directory.path(), r#"{"credHelpers":{"r.example":"../evil"}}"#);
    let error = credentials.find("r.example", "app").unwrap_err();
    assert!(error.to_string().ends_with("its name has a `/`"), "{error}");
    assert_eq!(credentials.find("s.example", "app").unwrap(), None);
}
