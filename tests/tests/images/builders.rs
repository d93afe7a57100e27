//! Images as other builders push them: each is stood upon, built with a file on top and pushed, and then skopeo and
//! umoci find in it what they find in the image below. What is no image to stand on is refused, and it is said why.

#![expect(clippy::needless_raw_string_hashes, reason = "all scripts are quoted alike")]

use std::{
    path::Path,
    process::{Command, Stdio},
};

use reimage_tests::{Daemon, DockerRegistry, TestEnv, assert_same_files, is_root, tool};
use serde_json::Value;

/// What the scripts call.
const PRELUDE: &str = include_str!("builders/prelude.sh");

/// An image of somebody's: its name, what is odd about it, and the commands that push it.
type Image = (&'static str, &'static str, &'static str);

const IMAGES: [Image; 35] = [
    (
        "buildah_layers",
        "instructions without a layer are in the history, too",
        r#"
        tree tree; printf 'FROM scratch\nCOPY tree /\nENV A=b\nLABEL l=m\nCOPY tree/etc/one /srv/one\n' > Containerfile
        buildah bud --quiet --layers --isolation chroot --tag layers . && buildah push --quiet --tls-verify=false layers "docker://$IMAGE""#,
    ),
    (
        "buildah_docker",
        "docker's media types, whiteouts, a directory that was removed and made again, a link to a file below",
        r#"
        container=$(buildah from layers); change "$(buildah mount $container)"
        buildah commit --quiet --format docker $container changed && buildah push --quiet --tls-verify=false changed "docker://$IMAGE""#,
    ),
    (
        "buildah_squash",
        "all layers in one, with the history of one",
        r#"
        container=$(buildah from changed); echo more > "$(buildah mount $container)/more"
        buildah commit --quiet --squash $container squashed && buildah push --quiet --tls-verify=false squashed "docker://$IMAGE""#,
    ),
    (
        "buildah_timestamp",
        "every time is 1970, and a layer has nothing in it",
        r#"
        container=$(buildah from layers); buildah config --user 1000 $container
        buildah commit --quiet --timestamp 0 $container old && buildah push --quiet --tls-verify=false old "docker://$IMAGE""#,
    ),
    (
        "podman_import",
        "one archive, and a configuration of almost nothing",
        r#"
        tree tree; archive tree.tar tree .
        podman import --quiet tree.tar imported && podman push --quiet --tls-verify=false imported "docker://$IMAGE""#,
    ),
    (
        "podman_commit",
        "the container's environment, docker's schema 2",
        r#"
        container=$(podman create imported /opt); change "$(podman mount $container)"; podman unmount $container
        podman commit --quiet $container committed
        podman push --quiet --tls-verify=false --format v2s2 committed "docker://$IMAGE""#,
    ),
    (
        "podman_save_docker",
        "layers that were an archive of docker's",
        r#"
        podman save --quiet --format docker-archive --output saved.tar committed
        skopeo_copy docker-archive:saved.tar "docker://$IMAGE""#,
    ),
    (
        "podman_save_oci",
        "layers that were an archive of OCI's",
        r#"
        podman save --quiet --format oci-archive --output saved.tar committed
        skopeo_copy oci-archive:saved.tar "docker://$IMAGE""#,
    ),
    (
        "docker_build",
        "docker's own builder and its way to push",
        r#"
        tree tree; printf 'FROM scratch\nCOPY tree /\nENV A=b\nLABEL l=m\nCOPY tree/etc/one /srv/one\n' > Dockerfile
        DOCKER_BUILDKIT=0 docker build --quiet --tag "$IMAGE" . && docker push --quiet "$IMAGE""#,
    ),
    (
        "docker_commit",
        "what was copied into a container",
        r#"
        tree tree; archive tree.tar tree .; docker import tree.tar imported
        container=$(docker create imported /opt); echo new > new; docker cp new $container:/etc/one
        docker commit $container "$IMAGE" && docker push --quiet "$IMAGE""#,
    ),
    (
        "docker_save",
        "a directory for each layer in the archive",
        r#"
        docker save --output saved.tar "${IMAGE/docker_save/docker_build}"
        skopeo_copy docker-archive:saved.tar "docker://$IMAGE""#,
    ),
    (
        "umoci_repack",
        "hard links, whiteouts, no media type in the manifest",
        r#"
        umoci init --layout layout; umoci new --image layout:it; umoci unpack --image layout:it bundle
        tree bundle/rootfs; umoci repack --image layout:it bundle; rm -r bundle
        umoci unpack --image layout:it bundle; change bundle/rootfs; umoci repack --image layout:it bundle
        umoci config --image layout:it --config.user nobody --author somebody; skopeo_copy oci:layout:it "docker://$IMAGE""#,
    ),
    (
        "umoci_insert",
        "a directory marked opaque before what is in it, a whiteout in a layer of its own",
        r#"
        umoci init --layout layout; umoci new --image layout:it; tree tree; umoci insert --image layout:it tree /usr
        mkdir other; echo other > other/file; umoci insert --image layout:it --opaque other /usr/opt
        umoci insert --image layout:it --whiteout /usr/etc/two; skopeo_copy oci:layout:it "docker://$IMAGE""#,
    ),
    (
        "skopeo_zstd",
        "Zstandard",
        r#"
        umoci init --layout expected; umoci new --image expected:it; tree tree; echo zstd > tree/name
        umoci insert --image expected:it tree /; skopeo_copy --dest-decompress oci:expected:it dir:plain
        skopeo_copy --format oci --dest-compress-format zstd dir:plain "docker://$IMAGE""#,
    ),
    (
        "zstd_chunked",
        "a Zstandard frame for each file, a table of contents in a frame that is skipped, annotations that say where",
        r#"
        tree tree; archive tree.tar tree .; gzip --keep tree.tar; index "$(manifest tree.tar.gz)"; skopeo_copy oci:layout oci:expected:it
        rm -r layout; split --bytes 512 --filter 'zstd --quiet' tree.tar > tree.zst
        printf '\x50\x2a\x4d\x18\x08\x00\x00\x00contents' >> tree.zst
        LAYER_TYPE=$oci.layer.v1.tar+zstd annotate '"io.github.containers.zstd-chunked.manifest-position":"1:8:8:1"' tree.zst"#,
    ),
    (
        "skopeo_plain",
        "nothing is compressed",
        r#"
        umoci init --layout layout; umoci new --image layout:it; tree tree; echo plain > tree/name
        umoci insert --image layout:it tree /; skopeo_copy --dest-decompress oci:layout:it dir:plain
        skopeo_copy --dest-oci-accept-uncompressed-layers dir:plain oci:again:it; crane push again "$IMAGE""#,
    ),
    (
        "skopeo_v2s2",
        "docker's schema 2 of an OCI image, by way of docker's archive",
        r#"
        umoci init --layout layout; umoci new --image layout:it; tree tree; echo v2s2 > tree/name
        umoci insert --image layout:it tree /; skopeo_copy oci:layout:it docker-archive:it.tar:it:1
        skopeo_copy --format v2s2 docker-archive:it.tar "docker://$IMAGE""#,
    ),
    (
        "crane_append",
        "no platform, no configuration, made in the year 1",
        r#"
        tree tree; archive tree.tar tree .; crane append --new_layer tree.tar --new_tag "$IMAGE""#,
    ),
    (
        "crane_mutate",
        "a layer, a label, annotations and a platform were put on later",
        r#"
        mkdir tree; echo more > tree/more; archive more.tar tree .
        crane mutate --append more.tar --label l=m --annotation n=o --env A=b --cmd /more --set-platform linux/amd64 \
          --tag "$IMAGE" "${IMAGE/crane_mutate/crane_append}""#,
    ),
    (
        "crane_flatten",
        "one layer of all",
        r#"
        crane flatten --tag "$IMAGE" "${IMAGE/crane_flatten/buildah_docker}""#,
    ),
    (
        "crane_rebase",
        "the layers of an image on those of another, docker's on OCI's in one manifest, which skopeo does not read",
        r#"
        crane rebase --old_base "${IMAGE/crane_rebase/crane_append}" --new_base "${IMAGE/crane_rebase/podman_import}" \
          --tag "$IMAGE" "${IMAGE/crane_rebase/crane_mutate}"
        crane export "$IMAGE" - | gzip > all.tar.gz; index "$(manifest all.tar.gz)"; skopeo_copy oci:layout oci:expected:it"#,
    ),
    (
        "crane_index",
        "docker's list of several platforms",
        r#"
        crane mutate --set-platform linux/arm64 --tag "$IMAGE-arm64" "${IMAGE/crane_index/crane_append}"
        crane index append --docker-empty-base --tag "$IMAGE" --manifest "$IMAGE-arm64" \
          --manifest "${IMAGE/crane_index/crane_mutate}""#,
    ),
    (
        "snapshot_of_all",
        "whole snapshots as each layer, names from `./` or from the root, attributes in PAX",
        r#"
        tree tree; archive one.tar tree --format pax --pax-option globexthdr.name=all,comment:=all .; change tree; mkfifo tree/fifo
        archive two.tar tree --format pax --absolute-names --transform 's,^\.,,S' .; gzip one.tar two.tar; push one.tar.gz two.tar.gz"#,
    ),
    (
        "long_names_of_gnu",
        "names and links of more than 100 bytes, owners beyond octal numbers",
        r#"
        long=$(printf 'directory-%.0s' {1..20}); mkdir -p "tree/$long/$long"; echo long > "tree/$long/$long/$long"
        ln "tree/$long/$long/$long" "tree/$long/again"; ln -s "$long/$long/$long" tree/link; chown 3000000:4000000 tree/link
        tar --create --file tree.tar --directory tree --format gnu .; gzip tree.tar; push tree.tar.gz"#,
    ),
    (
        "twice",
        "members that come again, with other content and other modes",
        r#"
        tree tree; archive tree.tar tree etc srv opt; echo two > tree/etc/one; rm tree/etc/link; echo file > tree/etc/link
        chmod 0700 tree/srv; rm -r tree/opt; echo file > tree/opt
        tar --append --file tree.tar --directory tree --no-recursion etc/one etc/link srv opt; gzip tree.tar; push tree.tar.gz"#,
    ),
    (
        "directories_last",
        "directories after what is in them, and some not at all",
        r#"
        tree tree; mkdir -p tree/a/b/c; echo c > tree/a/b/c/file
        archive tree.tar tree --no-recursion srv/deep/er/file a/b/c/file srv/deep/er srv/deep srv etc/one etc; gzip tree.tar
        push tree.tar.gz"#,
    ),
    (
        "links_instead_of_directories",
        "a link below that becomes a directory, a directory that becomes a link",
        r#"
        mkdir -p tree/usr/bin tree/lib; ln -s usr/bin tree/bin; echo x > tree/usr/bin/x; echo y > tree/lib/y; archive one.tar tree .
        mkdir -p next/bin next/usr/lib; echo z > next/bin/z; ln -s usr/lib next/lib; archive two.tar next .
        gzip one.tar two.tar; push one.tar.gz two.tar.gz"#,
    ),
    (
        "opaque_at_the_end",
        "a mark that a directory is opaque after what is in it; whiteouts of nothing; what aufs notes for itself",
        r#"
        tree tree; archive one.tar tree .; mkdir -p next/{srv/deep,.wh..wh.plnk,etc}; echo new > next/srv/deep/new
        touch next/srv/deep/.wh..wh..opq next/.wh.nothing next/etc/.wh.two next/.wh..wh.aufs
        archive two.tar next srv/deep/new srv/deep/.wh..wh..opq .wh.nothing etc/.wh.two .wh..wh.aufs .wh..wh.plnk
        gzip one.tar two.tar; push one.tar.gz two.tar.gz"#,
    ),
    (
        "many_gzip_members",
        "a gzip member for each file, empty ones, and bytes after the archive's end",
        r#"
        tree tree; archive tree.tar tree .; echo junk >> tree.tar
        split --bytes 512 --filter 'gzip; gzip < /dev/null' tree.tar > tree.tar.gz; push tree.tar.gz"#,
    ),
    (
        "almost_no_configuration",
        "neither time nor history",
        r#"
        tree tree; archive tree.tar tree .; gzip tree.tar; push tree.tar.gz"#,
    ),
    (
        "history_of_something_else",
        "a history of fewer layers, null where others have nothing, the same layer twice",
        r#"
        tree tree; archive tree.tar tree .; gzip tree.tar
        CONFIG='"architecture":"amd64","os":"linux","author":"","created":null,"config":{"Env":null,"Cmd":null,"Labels":null,"ExposedPorts":null,"Volumes":null,"Healthcheck":null,"OnBuild":null},"container":"x","history":[{"created":"2020-01-01T00:00:00Z","created_by":"one"},{"empty_layer":true}],'
        push tree.tar.gz tree.tar.gz"#,
    ),
    (
        "attested",
        "an index with attestations for a platform that is none",
        r#"
        tree tree; archive tree.tar tree .; gzip tree.tar; echo '{"_type":"https://in-toto.io/Statement/v0.1"}' > statement
        image=$(PLATFORM=',"platform":{"architecture":"amd64","os":"linux"}' manifest tree.tar.gz)
        attestation=$(PLATFORM=',"annotations":{"vnd.docker.reference.type":"attestation-manifest"},"platform":{"architecture":"unknown","os":"unknown"}' \
          LAYER_TYPE=application/vnd.in-toto+json CONFIG='"architecture":"unknown","os":"unknown","config":{},' manifest statement)
        index "$attestation" "$image"; crane push --index layout "$IMAGE""#,
    ),
    (
        "nothing_says_what_it_is",
        "no document has a media type",
        r#"
        tree tree; archive tree.tar tree .; gzip tree.tar
        TYPE= index "$(TYPE= PLATFORM=',"platform":{"architecture":"amd64","os":"linux","os.version":"1","features":["sse4"]}' manifest tree.tar.gz)"
        crane push --index layout "$IMAGE""#,
    ),
    (
        "lazily_pulled",
        "a landmark and a table of contents among the files, annotations that say where",
        r#"
        tree tree; touch tree/.prefetch.landmark; echo '{"version":1,"entries":[]}' > tree/stargz.index.json
        archive tree.tar tree .; split --bytes 4096 --filter gzip tree.tar > tree.tar.gz
        annotate '"containerd.io/snapshot/stargz/toc.digest":"sha256:'$(sha256sum < tree/stargz.index.json | cut -c-64)'"' tree.tar.gz"#,
    ),
    (
        "no_layer",
        "nothing but a configuration",
        r#"
        umoci init --layout layout; umoci new --image layout:it; skopeo_copy oci:layout:it "docker://$IMAGE""#,
    ),
];

/// What cannot be stood on, and what is said of it.
const REFUSED: [(Image, &str); 8] = [
    (
        (
            "docker_foreign",
            "a layer that may not be copied, docker's",
            r#"
            mkdir tree; archive tree.tar tree .; gzip tree.tar
            LAYER=',"urls":["https://layers.example/1"]' LAYER_TYPE=application/vnd.docker.image.rootfs.foreign.diff.tar.gzip \
              push tree.tar.gz"#,
        ),
        "has a layer of the media type `application/vnd.docker.image.rootfs.foreign.diff.tar.gzip`",
    ),
    (
        (
            "foreign",
            "a layer that may not be copied, OCI's",
            r#"
            mkdir tree; archive tree.tar tree .; gzip tree.tar
            LAYER=',"urls":["https://layers.example/1"]' LAYER_TYPE=$oci.layer.nondistributable.v1.tar+gzip push tree.tar.gz"#,
        ),
        "has a layer of the media type `application/vnd.oci.image.layer.nondistributable.v1.tar+gzip`",
    ),
    (
        (
            "artifact",
            "an artifact with an empty configuration",
            r#"
            echo data > data; printf '{}' > empty
            LAYER_TYPE=application/x-data CONFIG_FILE=empty CONFIG_TYPE=application/vnd.oci.empty.v1+json push data"#,
        ),
        "is no image: its configuration is of the media type `application/vnd.oci.empty.v1+json`",
    ),
    (
        (
            "windows",
            "an image for another system",
            r#"
            mkdir tree; archive tree.tar tree .; gzip tree.tar; CONFIG='"architecture":"amd64","os":"windows",' push tree.tar.gz"#,
        ),
        "is for windows/amd64",
    ),
    (
        (
            "index_in_an_index",
            "an index of an index",
            r#"
            mkdir tree; archive tree.tar tree .; gzip tree.tar; index "$(manifest tree.tar.gz)"; cp layout/index.json inner
            index "$(blob inner "$oci.index.v1+json" ',"platform":{"architecture":"amd64","os":"linux"}')"
            crane push --index layout "$IMAGE""#,
        ),
        "indexes within indexes are not taken",
    ),
    (
        (
            "garbage",
            "bytes after the last gzip member",
            r#"
            mkdir tree; archive tree.tar tree .; gzip tree.tar; echo more than a header of garbage >> tree.tar.gz; push tree.tar.gz"#,
        ),
        "invalid gzip header",
    ),
    (
        (
            "sparse",
            "a file of which only the parts with data are there",
            r#"
            mkdir tree; truncate --size 1M tree/file; echo end >> tree/file
            archive tree.tar tree --format pax --sparse .; gzip tree.tar; push tree.tar.gz"#,
        ),
        "a sparse file, which layers do not have",
    ),
    (
        (
            "xz",
            "an encoding that OCI does not have",
            r#"
            mkdir tree; archive tree.tar tree .; xz tree.tar; push tree.tar.xz"#,
        ),
        "it is compressed with xz, which OCI does not have",
    ),
];

/// Images that umoci cannot read, for they have layers that are encoded with Zstandard.
const ZSTD: [&str; 2] = ["skopeo_zstd", "zstd_chunked"];

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have UTF-8 names")
}

/// Has somebody's tools push an image, in a directory of its own.
fn push(env: &TestEnv, host: &str, docker: Option<&Daemon>, image: &Image) {
    let (name, odd, script) = image;
    let directory = env.path(name);
    fs_err::create_dir(&directory).expect("each has another name");
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{PRELUDE}\n{script}")]).current_dir(directory);
    command.env("IMAGE", format!("{host}/{name}:1")).env("ROOT", env.root());
    command.env("LC_ALL", "C.UTF-8").env("HOME", env.root().join("home")).stdin(Stdio::null());
    if let Some(docker) = docker {
        command.env("DOCKER_HOST", format!("unix://{}", docker.socket()));
    }
    let output = command.output().expect("bash is there");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}, {odd}: {error}");
}

/// What umoci unpacks of an image in the registry.
fn unpacked(env: &TestEnv, image: &str, to: &str) {
    let layout = format!("oci:{}:it", text(&env.path(format!("{to}.layout"))));
    let remote = format!("docker://{image}");
    let copy = ["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"];
    tool("skopeo", [&copy[..], &[&remote, &layout]].concat());
    umoci(env, &layout["oci:".len()..], to);
}

fn umoci(env: &TestEnv, image: &str, to: &str) {
    tool("umoci", ["raw", "unpack", "--image", image, text(&env.path(to))]);
}

/// The manifest for this platform.
fn manifest(image: &str) -> Value {
    let arguments = ["manifest", "--platform", "linux/amd64", image];
    let mut found: Value = serde_json::from_str(&tool("crane", arguments)).expect("JSON");
    if let Some(manifests) = found["manifests"].as_array() {
        let is_ours = |m: &&Value| m["platform"]["architecture"] == "amd64";
        let digest = manifests.iter().find(is_ours).expect("one is")["digest"].clone();
        let (name, _) = image.rsplit_once(':').expect("it has a tag");
        let one = format!("{name}@{}", digest.as_str().expect("text"));
        found = serde_json::from_str(&tool("crane", ["manifest", &one])).expect("JSON");
    }
    found
}

/// A spec with these images, each with a file on top.
fn spec(host: &str, names: &[&str]) -> String {
    let step = |name: &&str| format!("    {name} | re.Oci = {{ image = \"{host}/{name}:1\" }},\n");
    let image = |name: &&str| {
        format!("  images.{name} | re.Image = {{ layers = [steps.{name}, steps.app] }},\n")
    };
    let steps: String = names.iter().map(step).collect();
    let images: String = names.iter().map(image).collect();
    format!(
        "let re = import \"reimage.ncl\" in\n{{\n  steps = {{\n    app | re.Files = {{ files.\"/app\" = \"app\\n\" }},\n{steps}  }},\n{images}}} | re.Spec\n"
    )
}

#[test]
fn images_of_others_are_stood_on() {
    if !is_root() {
        // Without subordinate ids the tools keep no owners; the user who runs the tests may have none.
        return;
    }
    let (registry, docker, env) = (DockerRegistry::open(), Daemon::docker(), TestEnv::new());
    let host = registry.host();
    let here = IMAGES.iter().filter(|(name, ..)| docker.is_some() || !name.starts_with("docker_"));
    let here: Vec<_> = here.collect();
    for image in &here {
        push(&env, &host, docker.as_ref(), image);
    }
    let names: Vec<_> = here.iter().map(|(name, ..)| *name).collect();
    env.file("spec.ncl", spec(&host, &names));
    let _ = env.reimage(["build"]).expect(0);
    for (name, odd, _) in here {
        let (below, above) = (format!("{host}/{name}:1"), format!("{host}/app/{name}:1"));
        let target = format!("images.{name}");
        let _ = env.reimage(["push", &target, &above]).expect(0);
        // Layers of theirs and of ours; all of each crane reads only if it is gzip and names nothing twice.
        tool("crane", ["validate", "--fast", "--remote", &above]);
        let (lower, upper) = (manifest(&below), manifest(&above));
        let layers = |manifest: &Value| manifest["layers"].as_array().expect("a list").clone();
        let (lower, upper) = (layers(&lower), layers(&upper));
        assert_eq!(upper.len(), lower.len() + 1, "{name}, {odd}");
        for (lower, upper) in lower.iter().zip(&upper) {
            for field in ["digest", "size", "annotations"] {
                assert_eq!(lower[field], upper[field], "{name}, {odd}");
            }
        }
        let [expected, ours, theirs] =
            ["expected", "ours", "theirs"].map(|what| format!("{name}/files-{what}"));
        let same = env.path(format!("{name}/expected"));
        if same.exists() {
            umoci(&env, &format!("{}:it", text(&same)), &expected);
        } else {
            unpacked(&env, &below, &expected);
        }
        if ZSTD.contains(name) {
            let archive = env.path(format!("{name}/all.tar"));
            tool("crane", ["export", &above, text(&archive)]);
            fs_err::create_dir(env.path(&theirs)).expect("it is new");
            let keep = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "-p", "-xf"];
            tool("tar", [&["-C", text(&env.path(&theirs))], &keep[..], &[text(&archive)]].concat());
        } else {
            unpacked(&env, &above, &theirs);
        }
        let app = env.path(format!("{expected}/app"));
        fs_err::write(&app, "app\n").expect("root may");
        tool("touch", ["-d", "2026-11-01T00:00:00Z", text(&app)]);
        let _ = env.reimage(["save", &target, "--format", "rootfs-dir", "-o", &ours]).expect(0);
        for found in [ours, theirs] {
            let same = || assert_same_files(&env.path(&found), &env.path(&expected));
            let same = std::panic::catch_unwind(std::panic::AssertUnwindSafe(same));
            assert!(same.is_ok(), "{name}, {odd}: {found}");
        }
    }
}

#[test]
fn what_is_no_image_is_refused() {
    let (registry, env) = (DockerRegistry::open(), TestEnv::new());
    let host = registry.host();
    for (image, says) in &REFUSED {
        let (name, odd, _) = image;
        push(&env, &host, None, image);
        env.file("spec.ncl", spec(&host, &[name]));
        let error = env.reimage(["build"]).expect(1).err();
        assert!(error.contains(says) && error.contains(&format!("steps.{name}")), "{odd}: {error}");
        fs_err::remove_file(env.path("reimage.lock")).unwrap_or_default();
    }
}
