//! `reimage verify`: honest images, images that somebody changed in every way, and sources that are gone.

use std::{
    fmt::Write as _,
    io::{Read, Write as _},
    path::Path,
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use insta::assert_snapshot;
use reimage_tests::{
    TestEnv,
    loopback::{Reply, Server},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::lock::http;

/// Two steps, an image of them, another one beside it.
fn project() -> TestEnv {
    let env = TestEnv::new();
    env.programs(&["sh", "cat", "mkdir", "chmod"]).file(
        "spec.ncl",
        r#"let re = import "reimage.ncl" in
{
  steps = {
    root | re.Copy = { from = re.local { path = "root" } },
    app | re.Run = { from = [root], script = "mkdir /app; echo some text > /app/text; echo more > /app/tool; chmod 755 /app/tool" },
  },
  images = {
    app | re.Image = { layers = [steps.app], cmd = ["/app/tool"], tags = ["app:1"] },
    other | re.Image = { layers = [steps.root], tags = ["other:1"] },
  },
} | re.Spec
"#,
    );
    let _ = env.reimage(["build", "-q"]).expect(0);
    env
}

#[test]
fn an_honest_image() {
    let env = project();
    let ran = env.reimage(["verify", "-q", "app:1"]).expect(0);
    let digest = env.reimage(["build", "images.app"]).expect(0).out();
    let digest = digest.rsplit(' ').next().expect("a digest");
    assert_eq!(ran.out(), format!("identical images.app {digest}"));
    // By its digest, an archive of either kind and a layout: of two images it is told by the tag, or said.
    let by_digest = env.reimage(["verify", "-q", digest, "images.app"]).expect(0);
    assert_eq!(by_digest.out(), ran.out());
    for (format, to) in [("oci", "app.tar"), ("oci-dir", "layout"), ("docker", "docker.tar")] {
        let _ = env.reimage(["save", "app:1", "--format", format, "-o", to]).expect(0);
        let ran = env.reimage(["verify", "-q", to]).expect(0);
        assert_eq!(ran.out(), format!("identical images.app {digest}"), "{format}");
    }
    let value = env.reimage(["verify", "-q", "app.tar", "--format", "json"]).expect(0).out();
    let value: Value = serde_json::from_str(&value).expect("JSON");
    assert_eq!((&value["verdict"], &value["digest"]), (&json!("identical"), &json!(digest)));
    // As a plain user, whose store is another.
    assert_eq!(env.as_plain_user(["verify", "-q", "app.tar", "--store", "mine"]).expect(0).out(), ran.out());
}

#[test]
fn what_cannot_be_told() {
    let env = project();
    assert_snapshot!(env.reimage(["verify", "-q", "none:1"]).expect(64), @r"
    ------- stderr -------
    error: No image `none:1`
    hint: `reimage images` lists what is here
    hint: an archive or the directory of a layout is named by its path
    [exit status: 64]
    ");
    // Of a name that no image of the spec has.
    let _ = env.reimage(["save", "app:1", "--format", "oci-dir", "-o", "layout"]).expect(0);
    env.file("layout/index.json", env.read("layout/index.json").replace("app:1", "third:1"));
    assert_snapshot!(env.reimage(["verify", "-q", "layout"]).expect(64), @r"
    ------- stderr -------
    error: Of which image of the spec it is, its tags do not say
    hint: name one of images.app, images.other
    [exit status: 64]
    ");
    let _ = env.reimage(["verify", "-q", "layout", "images.app"]).expect(0);
    env.file("broken.tar", "no archive");
    assert!(env.reimage(["verify", "-q", "broken.tar"]).expect(64).err().contains("no archive"));
}

/// A step that writes what differs from run to run, and says so.
#[test]
fn an_image_that_is_not_reproducible() {
    let env = project();
    let unique = "entropy = 'real, script = \"cat /proc/sys/kernel/random/uuid > /unique; mkdir";
    env.file("spec.ncl", env.read("spec.ncl").replace("script = \"mkdir", unique));
    let _ = env.reimage(["build", "-q", "images.app"]).expect(0);
    let ran = env.reimage(["verify", "-q", "app:1"]).expect(4);
    let out = ran.out();
    assert!(out.starts_with("different images.app sha256:"), "{ran}");
    assert!(out.contains(": layer 2: `/unique`: from byte "), "{ran}");
    assert!(out.ends_with(" (made by steps.app)"), "{ran}");
}

/// An image of an older spec.
#[test]
fn an_older_spec() {
    let env = project();
    let spec = env.read("spec.ncl");
    let check = |from: &str, to: &str, expected: &str| {
        assert!(spec.contains(from), "{from}");
        env.file("spec.ncl", spec.replace(from, to));
        let ran = env.reimage(["verify", "-q", "app:1"]).expect(4);
        let out = ran.out();
        let (_, found) = out.split_once(": ").expect("it differs");
        assert_eq!(found, expected);
    };
    check("some text", "some test", "layer 2: `/app/text`: from byte 7 on `xt\\n`, then `st\\n` (made by steps.app)");
    check("chmod 755", "chmod 750", "layer 2: `/app/tool`: mode 0755, then 0750 (made by steps.app)");
    check("; chmod", "; echo > /app/zoo; chmod", "layer 2: `/app/zoo`: only in the second (made by steps.app)");
    check("echo more > /app/tool; chmod 755 /app/tool", "", "layer 2: `/app/tool`: only in the first (made by steps.app)");
    check(r#"cmd = ["/app/tool"]"#, r#"cmd = ["/app/text"]"#, "configuration: `/config/Cmd/0` is `\"/app/tool\"`, then `\"/app/text\"`");
    check("cmd =", "annotations.\"a/b\" = \"c\", cmd =", "manifest: `/annotations` is absent, then `{\"a/b\":\"c\"}`");
    check("cmd =", "compression = 'zstd, cmd =", "layer 1: the same content, compressed otherwise (made by steps.root)");
    check("layers = [steps.app], cmd", "layers = [steps.root], cmd", "2 layers, then 1");
}

/// The last layer of the layout at `layout` as somebody else would have it, with all digests right.
fn forge(env: &TestEnv, layout: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let blob = |digest: &Value| {
        let digest = digest.as_str().expect("a digest").replace(':', "/");
        env.path(Path::new(layout).join("blobs").join(digest))
    };
    let read = |digest: &Value| fs_err::read(blob(digest)).expect("it is there");
    let write = |bytes: &[u8]| {
        let digest = Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        });
        let digest = json!(digest);
        fs_err::write(blob(&digest), bytes).expect("writable");
        (digest, json!(bytes.len()))
    };
    let document = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON");
    let mut index = document(&fs_err::read(env.path(layout).join("index.json")).expect("an index"));
    let mut manifest = document(&read(&index["manifests"][0]["digest"]));
    let mut config = document(&read(&manifest["config"]["digest"]));
    let last = manifest["layers"].as_array().expect("layers").len() - 1;
    let mut archive = Vec::new();
    let packed = read(&manifest["layers"][last]["digest"]);
    MultiGzDecoder::new(&*packed).read_to_end(&mut archive).expect("gzip");
    let archive = change(archive);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&archive).expect("in memory");
    config["rootfs"]["diff_ids"][last] = write(&archive).0;
    let put = |at: &mut Value, bytes: &[u8]| (at["digest"], at["size"]) = write(bytes);
    put(&mut manifest["layers"][last], &gzip.finish().expect("in memory"));
    put(&mut manifest["config"], config.to_string().as_bytes());
    put(&mut index["manifests"][0], manifest.to_string().as_bytes());
    env.file(Path::new(layout).join("index.json"), index.to_string());
}

type Members = Vec<(tar::Header, Vec<u8>)>;

fn members(archive: &[u8]) -> Members {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().expect("an archive");
    entries
        .map(|entry| {
            let mut entry = entry.expect("a member");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("in memory");
            (entry.header().clone(), content)
        })
        .collect()
}

fn archive(members: Members) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (mut header, content) in members {
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, &*content).expect("in memory");
    }
    builder.into_inner().expect("in memory")
}

#[test]
fn a_forged_image() {
    let env = project();
    let check = |change: &dyn Fn(&mut Members), expected: &str| {
        let _gone = fs_err::remove_dir_all(env.path("layout"));
        let _ = env.reimage(["save", "app:1", "--format", "oci-dir", "-o", "layout"]).expect(0);
        forge(&env, "layout", |bytes| {
            let mut all = members(&bytes);
            change(&mut all);
            archive(all)
        });
        let ran = env.reimage(["verify", "-q", "layout"]).expect(4);
        let out = ran.out();
        let (_, found) = out.split_once(": ").expect("it differs");
        assert_eq!(found, expected, "{ran}");
    };
    let by = "(made by steps.app)";
    let at = |all: &Members, name: &str| {
        all.iter().position(|(header, _)| header.path().is_ok_and(|path| path.ends_with(name))).expect("it is there")
    };
    check(
        &|all| {
            let at = at(all, "text");
            all[at].1[0] = b'S';
        },
        &format!("layer 2: `/app/text`: from byte 0 on `Some text\\n`, then `some text\\n` {by}"),
    );
    check(
        &|all| {
            let at = at(all, "tool");
            all[at].0.set_uid(1000);
        },
        &format!("layer 2: `/app/tool`: owner 1000:0, then 0:0 {by}"),
    );
    check(
        &|all| {
            let at = at(all, "tool");
            all[at].0.set_mode(0o4755);
        },
        &format!("layer 2: `/app/tool`: mode 4755, then 0755 {by}"),
    );
    check(
        &|all| {
            let (text, tool) = (at(all, "text"), at(all, "tool"));
            all.swap(text, tool);
        },
        &format!("layer 2: `/app/tool`: the same members in another order from here on {by}"),
    );
    check(
        &|all| {
            let at = at(all, "tool");
            all[at].0.set_mtime(5);
        },
        &format!("layer 2: `/app/tool`: time 5, then 1793491200 {by}"),
    );
    check(&|_| {}, &format!("layer 2: the same content, compressed otherwise {by}"));
}

/// Only what is pinned counts, and when it is gone nothing can be said.
#[test]
fn a_source_that_is_gone() {
    // It is there for the lock and for the build, and for one rebuild in another store.
    let server = Server::new(|_, number| {
        if number <= 2 { Reply::ok(b"body") } else { Reply::status(404) }
    });
    let env = TestEnv::new();
    env.file(
        "spec.ncl",
        format!(
            r#"let re = import "reimage.ncl" in
{{
  steps.file | re.Copy = {{ from = {}, to = "/file" }},
  images.app | re.Image = {{ layers = [steps.file], tags = ["app:1"] }},
}} | re.Spec
"#,
            http(&server, "/a")
        ),
    );
    let _ = env.reimage(["build", "-q"]).expect(0);
    let _ = env.reimage(["save", "app:1", "--format", "oci", "-o", "app.tar"]).expect(0);
    // The store has the file, whose digest is checked again.
    let _ = env.reimage(["verify", "-q", "app.tar", "--offline"]).expect(0);
    let _ = env.reimage(["verify", "-q", "app.tar", "--store", "empty"]).expect(0);
    let ran = env.reimage(["verify", "-q", "app.tar", "--store", "another"]).expect(5);
    assert!(ran.out().starts_with("not rebuildable images.app sha256:") && ran.out().contains("/a"), "{ran}");
}

/// A result that somebody put into the store is not believed.
#[test]
fn no_result_counts() {
    let env = project();
    // Everything that was built stays where it was, and is not used: all runs again.
    let err = env.reimage(["verify", "app:1"]).expect(0).err();
    assert!(err.contains("start steps.app"), "{err}");
}
