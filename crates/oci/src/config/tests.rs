//! Configuration: what comes down, what is taken away, what is written.

use super::*;

#[expect(clippy::unnecessary_wraps, reason = "every field that takes words is an option")]
fn words(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(|w| (*w).to_owned()).collect())
}

fn base() -> Config {
    let own = OwnConfig {
        entrypoint: words(&["/entry"]),
        cmd: words(&["serve"]),
        env: BTreeMap::from([
            ("PATH".into(), Some("/bin".into())),
            ("DEBUG".into(), Some("a=b".into())),
        ]),
        labels: BTreeMap::from([("a".into(), Some("1".into())), ("b".into(), Some("2".into()))]),
        workdir: Some("/srv".into()),
        user: Some("33:33".into()),
        expose: vec!["8000".into(), "53/udp".into()],
        volumes: vec!["/data".into()],
        stop_signal: Some("SIGINT".into()),
        shell: words(&["/bin/bash", "-c"]),
        author: Some("somebody".into()),
        healthcheck: Some(OwnHealthcheck {
            cmd: words(&["/healthy"]),
            interval: Some(30_000_000_000),
            retries: Some(3),
            ..OwnHealthcheck::default()
        }),
    };
    Config::inherit(&Config::default(), &own).expect("a good configuration")
}

fn over(own: &OwnConfig) -> Config {
    Config::inherit(&base(), own).expect("a good configuration")
}

#[test]
fn golden_document() {
    let json = serde_json::to_string(&base()).expect("it is written");
    assert_eq!(
        json,
        concat!(
            r#"{"User":"33:33","ExposedPorts":{"53/udp":{},"8000/tcp":{}},"Env":["DEBUG=a=b","PATH=/bin"],"#,
            r#""Entrypoint":["/entry"],"Cmd":["serve"],"Volumes":{"/data":{}},"WorkingDir":"/srv","#,
            r#""Labels":{"a":"1","b":"2"},"StopSignal":"SIGINT","#,
            r#""Healthcheck":{"Test":["CMD","/healthy"],"Interval":30000000000,"Retries":3},"#,
            r#""Shell":["/bin/bash","-c"]}"#,
        )
    );
    let read: Config = serde_json::from_str(&json).expect("it is read");
    assert_eq!(Config { author: Some("somebody".into()), ..read }, base());
    assert_eq!(serde_json::to_string(&Config::default()).expect("it is written"), "{}");
}

#[test]
fn nothing_own_is_the_base() {
    assert_eq!(over(&OwnConfig::default()), base());
}

#[test]
fn an_entrypoint_drops_an_inherited_cmd() {
    let config = over(&OwnConfig { entrypoint: words(&["/new"]), ..OwnConfig::default() });
    assert_eq!((config.entrypoint, config.cmd), (words(&["/new"]), None));
    let both =
        OwnConfig { entrypoint: words(&["/new"]), cmd: words(&["x"]), ..OwnConfig::default() };
    assert_eq!(over(&both).cmd, words(&["x"]));
    let none = over(&OwnConfig { entrypoint: words(&[]), ..OwnConfig::default() });
    assert_eq!((none.entrypoint, none.cmd), (None, None));
    assert_eq!(
        over(&OwnConfig { cmd: words(&["x"]), ..OwnConfig::default() }).entrypoint,
        words(&["/entry"])
    );
}

#[test]
fn records_merge_by_name_and_null_takes_away() {
    let config = over(&OwnConfig {
        env: BTreeMap::from([
            ("DEBUG".into(), None),
            ("NEW".into(), Some(String::new())),
            ("NONE".into(), None),
        ]),
        labels: BTreeMap::from([("a".into(), Some("3".into())), ("b".into(), None)]),
        expose: vec!["8000/tcp".into(), "9000".into()],
        volumes: vec!["/more".into()],
        ..OwnConfig::default()
    });
    assert_eq!(config.env.keys().collect::<Vec<_>>(), ["NEW", "PATH"]);
    assert_eq!(config.labels, BTreeMap::from([("a".into(), "3".into())]));
    assert_eq!(config.expose.iter().collect::<Vec<_>>(), ["53/udp", "8000/tcp", "9000/tcp"]);
    assert_eq!(config.volumes.iter().collect::<Vec<_>>(), ["/data", "/more"]);
}

#[test]
fn health_checks_merge_by_field() {
    let own = |healthcheck| OwnConfig { healthcheck: Some(healthcheck), ..OwnConfig::default() };
    let slower = over(&own(OwnHealthcheck { interval: Some(1), ..OwnHealthcheck::default() }));
    let merged = slower.healthcheck.expect("there is one");
    assert_eq!((merged.test.len(), merged.interval, merged.retries), (2, Some(1), Some(3)));
    let off = over(&own(OwnHealthcheck { disable: true, ..OwnHealthcheck::default() }));
    assert_eq!(off.healthcheck, None);
    assert_eq!(
        Config::inherit(&Config::default(), &own(OwnHealthcheck::default())),
        Err(ConfigError::Healthcheck)
    );
}

#[test]
fn refuses_what_no_engine_takes() {
    let error = |own: &OwnConfig| Config::inherit(&base(), own).expect_err("refused").to_string();
    let with_port = |port: &str| OwnConfig { expose: vec![port.into()], ..OwnConfig::default() };
    for port in ["0", "65536", "+80", "80/http", "80/tcp/x", "", "/tcp", "8000-8010"] {
        assert_eq!(
            error(&with_port(port)),
            format!("`expose`: `{port}` is no port: write 8000, or \"53/udp\"")
        );
    }
    let env = BTreeMap::from([("A=B".to_owned(), Some(String::new()))]);
    assert_eq!(
        error(&OwnConfig { env, ..OwnConfig::default() }),
        "`env`: `A=B` cannot be the name of a variable"
    );
    assert_eq!(
        error(&OwnConfig { workdir: Some("srv".into()), ..OwnConfig::default() }),
        "`workdir`: `srv` is not an absolute path"
    );
    assert_eq!(
        error(&OwnConfig { cmd: words(&["a\0"]), ..OwnConfig::default() }),
        "`cmd` holds a NUL byte"
    );
}

#[test]
fn reads_what_docker_writes() {
    let docker = r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"Tty":false,
        "Env":["PATH=/bin","A=1","A=2","NOVALUE"],"Cmd":["bash"],"Image":"","Volumes":null,"WorkingDir":"",
        "Entrypoint":null,"OnBuild":null,"Labels":null,"ExposedPorts":{"80/tcp":{}}}"#;
    let config: Config = serde_json::from_str(docker).expect("it is read");
    assert_eq!(config.env["A"], "2");
    assert_eq!(config.env["NOVALUE"], "");
    assert_eq!((config.user, config.entrypoint, config.workdir), (None, None, None));
    assert_eq!(config.cmd, words(&["bash"]));
    assert!(config.expose.contains("80/tcp"));
}
