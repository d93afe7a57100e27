//! Every field of an image's configuration, where engines look for it.

use insta::assert_snapshot;
use reimage_tests::{TestEnv, tool};

const SPEC: &str = r#"let re = import "reimage.ncl" in
{
  steps = {
    low | re.Files = { files."/low" = "low\n" },
    high | re.Copy = { from = low, path = "/low", to = "/high" },
  },
  images = {
    base | re.Image = {
      layers = [steps.low],
      env = { LANG = "C.UTF-8", GONE = "x", PATH = "/bin" },
      labels = { kept = "1", gone = "1" },
      expose = [80, "53/udp"],
      volumes = ["/data"],
      entrypoint = ["/bin/base"],
      cmd = ["dropped with the entrypoint"],
      user = "1000:1000",
    },
    full | re.Image = {
      layers = [base, steps.high],
      entrypoint = ["/bin/full", "--flag"],
      cmd = ["one", "two words"],
      env = { GONE = null, PATH = "/usr/bin:/bin", EMPTY = "" },
      workdir = "/work",
      user = "web",
      expose = [8000, 443],
      volumes = ["/cache"],
      labels = { gone = null, "org.example.label" = "ü \"quoted\"" },
      stop_signal = "SIGQUIT",
      shell = ["/bin/bash", "-c"],
      healthcheck = {
        cmd = ["/bin/check"],
        interval = "30s",
        timeout = "1500ms",
        start_period = "1m30s",
        start_interval = "2s",
        retries = 4,
      },
      author = "The makers",
      tags = ["full:1", "registry.example/team/full:latest"],
      annotations = { "org.opencontainers.image.source" = "https://example.org/full" },
      created = "2024-02-29T12:34:56Z",
    },
  },
} | re.Spec
"#;

#[test]
fn every_field_is_where_engines_look() {
    let env = TestEnv::new();
    env.file("spec.ncl", SPEC);
    let _ = env.reimage(["build"]).expect(0);
    let _ = env.reimage(["save", "full:1", "--format", "oci-dir", "-o", "layout"]).expect(0);
    let layout = env.path("layout");
    let layout = layout.to_str().expect("temporary directories have UTF-8 names");
    let image = format!("oci:{layout}:full:1");
    let pretty = |arguments: &[&str]| {
        let json = tool("skopeo", arguments);
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        serde_json::to_string_pretty(&value).expect("JSON")
    };
    assert_snapshot!(pretty(&["inspect", "--config", "--raw", &image]), @r#"
    {
      "architecture": "amd64",
      "author": "The makers",
      "config": {
        "Cmd": [
          "one",
          "two words"
        ],
        "Entrypoint": [
          "/bin/full",
          "--flag"
        ],
        "Env": [
          "EMPTY=",
          "LANG=C.UTF-8",
          "PATH=/usr/bin:/bin"
        ],
        "ExposedPorts": {
          "443/tcp": {},
          "53/udp": {},
          "80/tcp": {},
          "8000/tcp": {}
        },
        "Healthcheck": {
          "Interval": 30000000000,
          "Retries": 4,
          "StartInterval": 2000000000,
          "StartPeriod": 90000000000,
          "Test": [
            "CMD",
            "/bin/check"
          ],
          "Timeout": 1500000000
        },
        "Labels": {
          "kept": "1",
          "org.example.label": "ü \"quoted\""
        },
        "Shell": [
          "/bin/bash",
          "-c"
        ],
        "StopSignal": "SIGQUIT",
        "User": "web",
        "Volumes": {
          "/cache": {},
          "/data": {}
        },
        "WorkingDir": "/work"
      },
      "created": "2024-02-29T12:34:56Z",
      "history": [
        {
          "created": "2024-02-29T12:34:56Z",
          "created_by": "FILES /low"
        },
        {
          "created": "2024-02-29T12:34:56Z",
          "created_by": "COPY /low /high"
        }
      ],
      "os": "linux",
      "rootfs": {
        "diff_ids": [
          "sha256:736ffe06d5ae91c6996b52380a143198194800647e8bcc3002084230db30b46f",
          "sha256:185552a6962580081de1b1e1c9c48634ae25022d7acfe62fb2d08abf4edb88bf"
        ],
        "type": "layers"
      }
    }
    "#);
    let manifest: serde_json::Value =
        serde_json::from_str(&tool("skopeo", ["inspect", "--raw", &image])).expect("JSON");
    assert_snapshot!(manifest["annotations"], @r#"{"org.opencontainers.image.source":"https://example.org/full"}"#);
    let stat = tool("umoci", ["stat", "--json", "--image", &format!("{layout}:full:1")]);
    let stat: serde_json::Value = serde_json::from_str(&stat).expect("JSON");
    let made: Vec<&str> = stat["history"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|layer| layer["created_by"].as_str().expect("text"))
        .collect();
    assert_snapshot!(made.join("\n"), @"
    FILES /low
    COPY /low /high
    ");
}
