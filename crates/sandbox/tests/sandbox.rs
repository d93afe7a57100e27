use std::ffi::OsString;
use std::os::fd::AsFd;

fn main() {
    let zygote = reimage_sandbox::start(reimage_sandbox::IdsSetting::Auto);
    println!("{:?} {:?}", zygote.ids(), zygote.unavailable());
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("lower");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
    for i in 0..3 {
        let own = scratch.path().join(format!("s{i}"));
        std::fs::create_dir(&own).unwrap();
        let mut c = reimage_sandbox::Command::new(&own, args.clone());
        c.lowers = vec![root.clone()];
        if i == 2 {
            c.upper = reimage_sandbox::UpperOn::Memory;
        }
        c.env.insert("PATH".into(), "/bin".into());
        let t = std::time::Instant::now();
        let stdin = std::io::stdin();
        let stdout = std::io::stdout();
        let stderr = std::io::stderr();
        let out = zygote.run(
            &c,
            reimage_sandbox::Streams {
                input: stdin.as_fd(),
                output: stdout.as_fd(),
                error: stderr.as_fd(),
            },
        );
        println!("{:?} {out:?}", t.elapsed());
    }
}
