//! The project that the images come from.

use std::os::unix::fs::{PermissionsExt, symlink};

use reimage_tests::{TestEnv, tool};

/// Sets what busybox cannot: a capability and an attribute of a file.
const ATTRIBUTES: &str = r#"#include <sys/xattr.h>
int main(int count, char **arguments) {
    static const unsigned char net_bind_service[20] = {1, 0, 0, 2, 0, 4};
    if (count != 2) return 2;
    if (setxattr(arguments[1], "security.capability", net_bind_service, 20, 0)) return 1;
    return setxattr(arguments[1], "user.note", "kept", 4, 0) != 0;
}
"#;

/// A machine with the project; `reversed` makes its files in the other order.
pub(crate) fn everything(reversed: bool) -> TestEnv {
    let env = TestEnv::new();
    let mut files =
        [("one.txt", "one\n"), ("run.sh", "#!/bin/sh\n"), ("sub/deep.txt", "deep"), ("x.log", "")];
    if reversed {
        files.reverse();
    }
    for (path, content) in files {
        env.file(format!("files/{path}"), content);
    }
    fs_err::set_permissions(env.path("files/run.sh"), PermissionsExt::from_mode(0o755))
        .expect("ours");
    symlink("one.txt", env.path("files/link")).expect("it is new");
    env.file("spec.ncl", include_str!("everything.ncl")).file("attributes.c", ATTRIBUTES);
    fs_err::create_dir(env.path("tools")).expect("it is new");
    fs_err::copy("/usr/bin/busybox", env.path("tools/busybox")).expect("busybox-static is there");
    let tools = env.path("tools/attributes");
    tool(
        "cc",
        [
            "-static".as_ref(),
            "-o".as_ref(),
            tools.as_os_str(),
            env.path("attributes.c").as_os_str(),
        ],
    );
    env
}

/// The digest of a target, from what `build` printed.
pub(crate) fn digest(built: &str, target: &str) -> String {
    let line = built.lines().find_map(|line| line.strip_prefix(target)?.strip_prefix(' '));
    line.expect("it was built").to_owned()
}
